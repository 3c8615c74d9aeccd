"""What became of the rows: a table for a spreadsheet, and a page with each clip beside its edit."""

import csv
import html
import os
from pathlib import Path
from urllib.parse import quote

from .results import PAGE, TABLE, about
from .table import BatchError
from .tasks import Job

DONE, FAILED, LEFT = "done", "failed", "not run"
BEGINNINGS = {
    TABLE: "name,state,seconds,problem",
    PAGE: '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Edits',
}
STYLE = """body { font: 16px system-ui, sans-serif; margin: 2em; background: #111; color: #ddd }
article { border-top: 1px solid #444; padding: 1em 0 } h2 { margin: 0 0 .3em; font-size: 1.1em }
video, img { height: 240px; background: #000; display: block } .failed { color: #f88 } dl { margin: .5em 0 }
figure { display: inline-block; margin: 0 8px 0 0 } figcaption { color: #999; font-size: .9em }
dt { float: left; clear: left; width: 12em; color: #999 } dd { margin-left: 12em } pre { white-space: pre-wrap }"""
# The clip and its edit are compared while they run side by side.
PLAY = "for (const video of this.closest('article').querySelectorAll('video')) { video.currentTime = 0; video.play() }"


def check_place(out: Path) -> None:
    """Refuses a folder with a summary.csv or index.html that no batch has written."""
    for name, beginning in BEGINNINGS.items():
        path = out / name
        if path.exists() and not path.read_text(encoding="utf-8-sig", errors="replace").startswith(beginning):
            raise BatchError(f"{path} is there already, and no batch has written it; name another folder by --out.")


def write_summary(out: Path, jobs: list[Job], failures: dict[str, str]) -> None:
    """Writes summary.csv and index.html.

    Args:
        out: The folder of all results.
        jobs: The rows.
        failures: {name of a row: why it failed}.
    """
    told = [(job, (about(job.folder) or {}) if job.done else {}, failures.get(job.row.name)) for job in jobs]
    _write_table(out / TABLE, told)
    articles = "\n".join(_article(out, *row) for row in told)
    page = (
        f"{BEGINNINGS[PAGE]}</title><style>{STYLE}</style>\n"
        f"<h1>{sum(state(*row[1:]) == DONE for row in told)} of {len(told)} edits</h1>\n{articles}\n</html>\n"
    )
    _replace(out / PAGE, page)


def state(done: dict, failure: str | None) -> str:
    """What became of a row."""
    return FAILED if failure else DONE if done else LEFT


def _write_table(path: Path, told: list[tuple[Job, dict, str | None]]) -> None:
    columns = list(dict.fromkeys(column for job, _, _ in told for column in job.row.fields))
    measures = list(dict.fromkeys(name for _, done, _ in told for name in done.get("numbers", {})))
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "w", encoding="utf-8-sig", newline="") as file:  # the mark tells spreadsheets the encoding
        writer = csv.writer(file)
        writer.writerow([*BEGINNINGS[TABLE].split(","), *columns, *measures, "note"])
        for job, done, failure in told:
            numbers = done.get("numbers", {})
            writer.writerow(
                [job.row.name, state(done, failure), done.get("seconds", ""), failure or ""]
                + [job.row.fields.get(column, "") for column in columns]
                + [numbers.get(name, "") for name in measures]
                + [job.note]
            )
    unfinished.replace(path)


def _article(out: Path, job: Job, done: dict, failure: str | None) -> str:
    clips = [path for task in job.tasks[:1] for path in task.graph.uploads.values()]
    shown = [_shown(os.path.relpath(clip, out), "the clip") for clip in clips]
    shown += [_shown(f"{job.row.name}/{name}", name) for name in done.get("files", ())[:8]]
    facts = {**job.row.fields, **done.get("numbers", {})}
    terms = "".join(
        f"<dt>{html.escape(str(key))}</dt><dd>{html.escape(str(value))}</dd>" for key, value in facts.items()
    )
    problem = f'<p class="failed">{html.escape(failure)}</p>' if failure else ""
    problem += f"<p>{html.escape(job.note)}</p>" if job.note else ""
    play = f'<button onclick="{PLAY}">play together</button>' if len(shown) > 1 and "<video" in shown[0] else ""
    return (
        f"<article><h2>{html.escape(job.row.name)}: {state(done, failure)}</h2>{problem}"
        f"<div>{''.join(shown)}</div>{play}<dl>{terms}</dl>{_reports(done.get('texts', {}))}</article>"
    )


def _reports(texts: dict[str, str]) -> str:
    """What the nodes have said, folded away."""
    told = "".join(f"<h3>{html.escape(node)}</h3><pre>{html.escape(text)}</pre>" for node, text in texts.items())
    return f"<details><summary>what the nodes said</summary>{told}</details>" if told else ""


def _shown(path: str, name: str) -> str:
    source, title = quote(Path(path).as_posix()), html.escape(name, quote=True)
    if path.lower().endswith((".png", ".gif", ".webp", ".jpg", ".jpeg")):
        picture = f'<img src="{source}" alt="{title}" loading="lazy">'
    else:
        picture = f'<video src="{source}" title="{title}" controls loop muted preload="metadata"></video>'
    return f"<figure>{picture}<figcaption>{title}</figcaption></figure>"


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
