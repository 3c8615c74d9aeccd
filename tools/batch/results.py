"""What a task gives, kept in a folder that is there whole or not at all."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

ABOUT = "row.json"
UNFINISHED = ".unfinished"
PAGE, TABLE = "index.html", "summary.csv"  # beside the folders of the rows


@dataclass(frozen=True)
class Result:
    """The files, texts and numbers of a task that succeeded.

    files: {name: content}, "/" in the name makes a folder; texts: {node's title: what it shows}; numbers: {measure:
    value}, of Edit Report.
    """

    files: dict[str, bytes]
    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def is_foreign(folder: Path) -> bool:
    """Whether there is something in the place of a result that no batch has put there."""
    if not folder.is_dir():
        return folder.exists()
    return about(folder) is None and any(folder.iterdir())


def keep(result: Result, folder: Path, key: str) -> None:
    """Writes a result as `folder`; an earlier result goes.

    Raises:
        FileExistsError: Something else is there.
    """
    if is_foreign(folder):
        raise FileExistsError(f"{folder} holds something else than a result, and is left as it is.")
    unfinished = folder.with_name(UNFINISHED + folder.name)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, content in result.files.items():
        path = unfinished / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    about = {
        "key": key,
        "seconds": result.seconds,
        "files": list(result.files),
        "texts": result.texts,
        "numbers": result.numbers,
    }
    (unfinished / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.replace(folder)


def about(folder: Path) -> dict | None:
    """What row.json in a result's folder says; None where there is no result."""
    try:
        told = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and "key" in told else None


def is_done(folder: Path, key: str) -> bool:
    """Whether the folder holds the result of just this task."""
    return (about(folder) or {}).get("key") == key
