"""What the study of coupled edits says in ../RESULTS.md."""

from fatezero_pack.fatezero.refusal import counted

from ..quality.figure_tables import COLUMNS, Figures, as_table, column, difference, differences, paired
from ..quality.intervals import excludes_zero, in_words, interval

SHOWN = ("located", "success", "kept", "psnr_inside", "psnr_outside", "perceptual_inside", "flicker")
IN_TABLE = ("success", "psnr_inside", "psnr_outside")
COMPARED = ("success", "kept", "psnr_inside", "psnr_outside", "flicker")


def text_of(kept: dict, base: str, groups: dict[str, list], pairs: list[tuple[str, str]]) -> str:
    """The section of the page.

    Args:
        kept: As of `coupled_edits.read_kept`.
        base: The setting that others are compared with.
        groups: All settings.
        pairs: A setting, and another one than the base to compare it with.
    """
    text = [
        f"`python -m benchmarks.studies.coupled_edits`, {kept['date']}, on: {kept['machine']}. Demo video model, "
        f"weights of digest {kept['weights']}. Cells: success in % / PSNR inside the edit / PSNR "
        "outside it, in dB to the drawn truth, as in [quality/RESULTS.md](quality/RESULTS.md); of a new background "
        "outside is the thing, which should stay, and of a style there is no outside. Seconds: of one core, an edit."
    ]
    order = [str(setting) for group in groups.values() for setting in group]
    for title, figures in kept["runs"].items():
        kinds = list(dict.fromkeys(map(kind_of, figures)))
        rows = sorted({name for rows in figures.values() for name in rows}, key=order.index)
        count = len(figures) // len(kinds)
        text += ["", f"**{title}**, {counted(count, 'clip')} of each kind", "", means(figures, kinds, rows)]
        text += ["", f"What differs from *{base}* on the same clips, where a 95 % interval excludes zero (bold):", ""]
        text.append(differing(figures, kinds, [row for row in rows if row != base], base))
        made = [pair for pair in pairs if {*pair} <= {*rows}]
        if made:
            text += ["", "Guidance that ends early beside guidance in every step:", ""]
            text.append(differences(figures, made, COMPARED))
    return "\n".join(text)


def kind_of(case: str) -> str:
    """The kind that a case's name begins with.

    >>> kind_of("one of two 3")
    'one of two'
    """
    return case.rpartition(" ")[0]


def of_kind(figures: Figures, kind: str) -> Figures:
    return {case: rows for case, rows in figures.items() if kind_of(case) == kind}


def means(figures: Figures, kinds: list[str], rows: list[str]) -> str:
    """Each setting's means, kind by kind."""
    lines = [["setting", *kinds, "seconds"]]
    for row in rows:
        cells = [" / ".join(mean(of_kind(figures, kind), row, name) for name in IN_TABLE) for kind in kinds]
        lines.append([row, *cells, f"{interval(column(figures, row, 'seconds'))[0]:.1f}"])
    return as_table(lines)


def mean(figures: Figures, row: str, measure: str) -> str:
    values = column(figures, row, measure)
    return in_words(interval(values)[0], float("nan"), COLUMNS[measure][1]) if values else "–"


def differing(figures: Figures, kinds: list[str], rows: list[str], base: str) -> str:
    """The settings that differ from the base in the measures of a kind, or of all, with all of COMPARED."""
    lines = [["kind: setting", "clips", *(COLUMNS[name][0] for name in COMPARED)]]
    for kind, these in {**{kind: of_kind(figures, kind) for kind in kinds}, "all kinds": figures}.items():
        for row in rows:
            found = [paired(these, row, base, name) for name in COMPARED]
            if any(excludes_zero(*interval(values)) for values in found):
                cells = [difference(values, COLUMNS[name][1]) for values, name in zip(found, COMPARED)]
                lines.append([f"{kind}: {row}", str(max(map(len, found))), *cells])
    return as_table(lines)
