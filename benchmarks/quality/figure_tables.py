"""Tables of figures, {case: {method: {measure: value}}}: means and paired differences with their intervals."""

from .intervals import excludes_zero, in_words, interval
from .measures import EVERY_MEASURE

Figures = dict[str, dict[str, dict[str, float | None]]]
# Heading and digits of what tables show.
COLUMNS = {
    "located": ("located %", 0),
    "success": ("success %", 0),
    "kept": ("kept %", 0),
    "iou": ("IoU changed", 2),
    "iou_kept": ("IoU kept", 2),
    "psnr_inside": ("PSNR inside", 1),
    "psnr_outside": ("PSNR outside", 1),
    "psnr": ("PSNR whole", 1),
    "perceptual_inside": ("perceptual inside", 3),
    "perceptual_outside": ("perceptual outside", 3),
    "perceptual": ("perceptual whole", 3),
    "difference_error": ("difference error", 2),
    "flicker": ("flicker", 2),
    "area_change": ("area change", 1),
    "outline_change": ("outline change", 1),
    "tem_con": ("Tem-Con %", 1),
    "frame_acc": ("Frame-Acc %", 0),
    "time": ("time", 1),
}


def column(figures: Figures, row: str, measure: str) -> list[float]:
    """A row's values of a measure over the cases that have it."""
    values = [rows[row].get(measure) for rows in figures.values() if row in rows]
    return [value for value in values if value is not None]


def paired(figures: Figures, row: str, other: str, measure: str) -> list[float]:
    """One row minus another, over the cases that have both."""
    both = [(rows[row].get(measure), rows[other].get(measure)) for rows in figures.values() if {row, other} <= {*rows}]
    return [one - another for one, another in both if one is not None and another is not None]


def means(figures: Figures, rows: list[str], measures) -> str:
    """Each row's means, with the number of its cases."""
    lines = [["method", "cases", *(COLUMNS[name][0] for name in measures)]]
    for row in rows:
        count = sum(row in of_case for of_case in figures.values())
        cells = [in_words(*interval(column(figures, row, name)), COLUMNS[name][1]) for name in measures]
        lines.append([row, str(count), *cells])
    return as_table(lines)


def differences(figures: Figures, pairs: list[tuple[str, str]], measures) -> str:
    """The first row of each pair minus the second; bold where the interval excludes zero."""
    lines = difference_lines(figures, pairs, measures)
    return as_table([["paired", "cases", *(COLUMNS[name][0] for name in measures)], *lines])


def difference_lines(figures: Figures, pairs: list[tuple[str, str]], measures) -> list[list[str]]:
    """The lines of `differences`, without pairs that no case has."""
    lines = []
    for row, other in pairs:
        found = [paired(figures, row, other, name) for name in measures]
        count = max(map(len, found))
        cells = [difference(values, COLUMNS[name][1]) for values, name in zip(found, measures)]
        lines += [[f"{row} − {other}", str(count), *cells]] if count else []
    return lines


def differences_within(figures: Figures, groups: dict[str, str], pairs: list[tuple[str, str]], measures) -> str:
    """`differences` group by group; groups: of each case."""
    lines = [["paired", "cases", *(COLUMNS[name][0] for name in measures)]]
    for group in dict.fromkeys(groups[case] for case in figures):
        of_group = {case: rows for case, rows in figures.items() if groups[case] == group}
        lines += [[f"{group}: {title}", *cells] for title, *cells in difference_lines(of_group, pairs, measures)]
    return as_table(lines)


def difference(values: list[float], digits: int) -> str:
    """The mean of differences, bold where it shows."""
    mean, half_width = interval(values)
    words = in_words(mean, half_width, max(1, digits), "+")
    return f"**{words}**" if excludes_zero(mean, half_width) else words


def by_kind(figures: Figures, rows: list[str], kinds: dict[str, str], measure: str) -> str:
    """Each row's means of one measure, kind by kind; kinds: of each case."""
    lines = [["kind (cases)", *rows]]
    for kind in dict.fromkeys(kinds[case] for case in figures):
        of_kind = {case: rows_ for case, rows_ in figures.items() if kinds[case] == kind}
        cells = [in_words(*interval(column(of_kind, row, measure)), COLUMNS[measure][1]) for row in rows]
        lines.append([f"{kind} ({len(of_kind)})", *cells])
    return as_table(lines)


def as_table(lines: list[list[str]]) -> str:
    head, *body = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def glossary(measures) -> str:
    """What the columns mean."""
    units = {name: EVERY_MEASURE[name][1] for name in measures}
    return "\n".join(
        f"* {COLUMNS[name][0]}: {EVERY_MEASURE[name][0]}" + (f", in {unit}" if unit and unit != "%" else "")
        for name, unit in units.items()
    )
