"""Verdicts of the cells, and the page that shows them."""

from pathlib import Path

from .cells import Cell

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
WORKS, REFUSED, WRONG, BREAKS, FOREIGN = "works", "refused", "wrong", "breaks", "breaks without the pack"


def verdict(cell: Cell) -> str:
    """One of the words above: the worst of what was seen."""
    if "without the pack" in cell.broken:
        return FOREIGN
    if cell.broken:
        return BREAKS
    if cell.wrong:
        return WRONG
    if "inversion" in cell.refused or "edit" in cell.refused:
        return REFUSED
    return WORKS


def detail(cell: Cell) -> str:
    """What a person needs to know beside the verdict."""
    in_place = "it changes the checkpoint's own layers, for every other node too; " if cell.in_place else ""
    return in_place + _what_was_seen(cell)


def _what_was_seen(cell: Cell) -> str:
    if "without the pack" in cell.broken:
        return f"without the pack: {cell.broken['without the pack']}"
    if cell.broken:
        return "; ".join(f"{stage}: {error}" for stage, error in cell.broken.items())
    if cell.wrong:
        return "; ".join(f"{name}: {cell.numbers[name]:.2g}" for name in cell.wrong)
    sentences = dict.fromkeys(cell.refused[stage] for stage in ("inversion", "edit") if stage in cell.refused)
    if sentences:
        return " / ".join(sentences)
    parts = {"edit in chunks": "in chunks", "edit alone": "on the edit alone"}
    return "; ".join(
        f"{words} it is refused: {cell.refused[stage]}" for stage, words in parts.items() if stage in cell.refused
    )


def as_table(found: dict[str, Cell], kind: str) -> list[str]:
    """The table of the nodes of one kind in Markdown, a node a line."""
    return ["", f"| {kind} | verdict | moves the inversion | moves the edit | |", "|---|---|---|---|---|"] + [
        as_row(name, cell) for name, cell in found.items()
    ]


def as_row(name: str, cell: Cell) -> str:
    """A node's line of the table."""
    effects = " | ".join(
        f"{cell.effects[stage]:.2g}" if stage in cell.effects else "" for stage in ("inversion", "edit")
    )
    text = detail(cell).replace("|", "/").replace("\n", " ")
    return f"| {name} | {verdict(cell)} | {effects} | {text} |"


def write_section(heading: str, lines: list[str]) -> None:
    """Puts a section into docs/compatibility.md, in place of the one with its heading."""
    title, *sections = PAGE.read_text(encoding="utf-8").split("\n## ") if PAGE.exists() else ["# Beside other nodes\n"]
    sections = {section.split("\n")[0]: section.rstrip() + "\n" for section in sections}
    sections[heading] = "\n".join([heading, *lines]) + "\n"
    PAGE.write_text("\n## ".join([title.rstrip() + "\n", *sections.values()]), encoding="utf-8")
