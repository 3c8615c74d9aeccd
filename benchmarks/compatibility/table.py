"""Verdicts of the cells, and the page that shows them."""

from .cells import Cell

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
    if cell.broken:
        return "; ".join(f"{stage}: {error}" for stage, error in cell.broken.items())
    if cell.wrong:
        return "; ".join(f"{name}: {cell.numbers[name]:.2g}" for name in cell.wrong)
    sentences = dict.fromkeys(cell.refused[stage] for stage in ("inversion", "edit") if stage in cell.refused)
    if sentences:
        return " / ".join(sentences)
    if "edit alone" in cell.refused:
        return f"on the edit alone it is refused: {cell.refused['edit alone']}"
    return ""


def as_rows(found: dict[str, Cell]) -> list[str]:
    """The table in Markdown, a node a line."""
    rows = ["| node | verdict | moves the inversion | moves the edit | |", "|---|---|---|---|---|"]
    for name, cell in found.items():
        effects = " | ".join(
            f"{cell.effects[stage]:.2g}" if stage in cell.effects else "" for stage in ("inversion", "edit")
        )
        text = detail(cell).replace("|", "/").replace("\n", " ")
        rows.append(f"| {name} | {verdict(cell)} | {effects} | {text} |")
    return rows
