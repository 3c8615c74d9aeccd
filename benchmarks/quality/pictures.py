"""Contact sheets and curves as PNG."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from .cases import Case  # noqa: E402
from .methods import Method  # noqa: E402
from .runs import read_clip  # noqa: E402
from .tables import row  # noqa: E402

WIDTH = 1.35  # of a picture, in inches
TITLE_HEIGHT = 0.28  # of a line's words, in widths of a picture
# What the curves show: measure and label.
AXES = {
    "success": "success, %",
    "kept": "kept, %",
    "psnr_inside": "PSNR inside, dB",
    "psnr_outside": "PSNR outside, dB",
}


def contact_sheet(path: Path, lines: list[tuple[str, list[tuple[str, torch.Tensor]]]]) -> None:
    """A line of pictures [H, W, 3] of 0..1, each with a title, under a sentence for each line."""
    columns = max(len(pictures) for _, pictures in lines)
    heights = [pictures[0][1].shape[0] / pictures[0][1].shape[1] + TITLE_HEIGHT for _, pictures in lines]
    figure = plt.figure(figsize=(WIDTH * columns, WIDTH * sum(heights)))
    bottom = sum(heights)
    for (sentence, pictures), height in zip(lines, heights):
        bottom -= height
        for column, (title, picture) in enumerate(pictures):
            place = figure.add_axes(
                (column / columns, bottom / sum(heights), 0.98 / columns, (height - TITLE_HEIGHT) / sum(heights))
            )
            place.axis("off")
            place.imshow(picture.clamp(0, 1).numpy(), aspect="auto")
            place.set_title(title, fontsize=5.5, pad=2)
        figure.text(
            0.002, (bottom + height - 0.4 * TITLE_HEIGHT) / sum(heights), sentence, fontsize=7, fontweight="bold"
        )
    _save(figure, path)


def methods_sheet(path: Path, cases: list[Case], methods: list[Method]) -> None:
    """The middle frame of every case by every method."""

    def line(case):
        middle = case.frames // 2
        made = [("clip", case.clip(case.source)[middle])]
        made += [
            (method.name.partition(", frame")[0].partition(" (")[0], read_clip(case, method)[middle])
            for method in methods
        ]
        return _sentence(case), [*made, ("truth", case.clip(case.target)[middle])]

    contact_sheet(path, [line(case) for case in cases])


def frames_sheet(path: Path, cases: list[Case], method: Method) -> None:
    """The first, middle and last frame of the clip, of the edit and of the truth."""

    def line(case):
        clips = {"clip": case.clip(case.source), method.name: read_clip(case, method), "truth": case.clip(case.target)}
        shown = sorted({0, case.frames // 2, case.frames - 1})
        return _sentence(case), [
            (f"{name}, frame {frame + 1}", clip[frame]) for name, clip in clips.items() for frame in shown
        ]

    contact_sheet(path, [line(case) for case in cases])


def curves(path: Path, cases: list[Case], of_values: dict[str, list[tuple[float, Method]]]) -> None:
    """For each of AXES, and each setting that was varied, a line of means for each kind of edit."""
    kinds = list(dict.fromkeys(case.kind for case in cases))
    figure, axes = plt.subplots(
        len(AXES),
        len(of_values),
        figsize=(4.2 * len(of_values), 2.2 * len(AXES)),
        squeeze=False,
        sharex="col",
        sharey="row",
    )
    for column, (setting, points) in enumerate(of_values.items()):
        for (measure, label), places in zip(AXES.items(), axes):
            for kind in kinds:
                of_kind = [case for case in cases if case.kind == kind]
                values = [row(of_kind, method)[measure] for _, method in points]
                places[column].plot([value for value, _ in points], values, marker=".", label=kind)
            places[column].grid(alpha=0.3)
            if column == 0:
                places[column].set_ylabel(label)
        axes[-1][column].set_xlabel(setting)
    axes[0][-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1))
    figure.tight_layout()
    _save(figure, path)


def _sentence(case: Case) -> str:
    return f"{case.name}: {case.source_prompt}  →  {case.target_prompt}"


def _save(figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)  # a third of the size
