"""Video Load: the frames of a clip that are to be edited, on the model's grid."""

import os
from functools import partial
from pathlib import Path

import folder_paths
import torch

from ..fatezero.compat import io, schema
from ..fatezero.refusal import Refusal
from ..fatezero.video.clip import STILL_FPS, Clip, Color, Selection
from ..fatezero.video.formats import is_readable_name
from ..fatezero.video.frames import FITS, check_images, placement
from ..fatezero.video.read import read_file, read_images, read_video
from ..fatezero.video.write_limits import MOST_PIXELS
from .shared.checked import checked
from .shared.clip_preview import show_clip
from .shared.input_file import files_inside, input_path

NODE = "Video Load"
GRIDS = ("8", "16", "32", "64")

# Workflows of 0.1.0 end with what the upload button holds; the frontend now gives that to 'background'.
_UPLOAD_BUTTON = "image"
_DEMO = "demo/"
_DEMO_CLIPS = Path(__file__).resolve().parent.parent / "demo" / "clips"


class VideoLoad(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        number = partial(io.Int.Input, min=0, max=1_000_000)
        side = partial(io.Int.Input, default=0, min=0, max=16384, step=8)
        return schema(
            node_id="FateZeroVideoLoad",
            display_name=NODE,
            category="FateZero",
            description="Reads the frames to edit from a video, an animation or a picture, fitted to a size that the "
            "model can take, and shows the first of them. Only the chosen frames are kept in memory, "
            "however long the clip is.",
            search_aliases=["load video", "import video", "video to images", "gif"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=_files(),
                    upload=io.UploadType.video,
                    tooltip="A video, animation or picture in ComfyUI's input folder, or one of the pack's "
                    "demo clips. Not used while 'video' or 'images' is connected.",
                ),
                number("start", default=0, tooltip="The first frame to take, counted from 0."),
                number("count", default=8, tooltip="How many frames to take at most; 0 takes all the rest."),
                number(
                    "every_nth",
                    default=1,
                    min=1,
                    tooltip="Takes every nth frame: 2 halves the frame rate and keeps the clip's speed.",
                ),
                side(
                    "width",
                    tooltip="Width in pixels; 0 follows from the height and the clip's aspect. With both at "
                    "0 the clip keeps its size.",
                ),
                side("height", tooltip="Height in pixels; 0 follows from the width and the clip's aspect."),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How a clip of another aspect fits: crop cuts off its edges, pad adds black "
                    "bars, stretch distorts it.",
                ),
                io.Combo.Input(
                    "grid",
                    options=list(GRIDS),
                    default="8",
                    tooltip="Width and height become multiples of this. Latents need 8; 64 suits every "
                    "layer of the UNet.",
                ),
                io.Video.Input("video", optional=True, tooltip="A VIDEO to read instead of the file."),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Images to take instead of the file: a batch is a clip, one image is a clip of "
                    f"one frame. They play at {STILL_FPS:g} frames per second.",
                ),
                io.Color.Input(
                    "background",
                    default="#000000",
                    optional=True,
                    tooltip="The colour behind transparent places. 'mask' tells where they are.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames, in order."),
                io.Float.Output(display_name="fps", tooltip="Frames per second that keep the clip's speed."),
                io.Audio.Output(
                    display_name="audio", tooltip="The clip's sound during these frames; nothing if it has none."
                ),
                io.Mask.Output(
                    display_name="mask", tooltip="The opacity: 1 where the clip is solid, 0 where it is transparent."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, file=None, video=False, images=False, background="#000000"):
        # A connected input arrives as None, here and in fingerprint_inputs.
        if background is not None and _color(background) is None:
            return f"{NODE}: {_no_color(background)}"
        if file is None or video is None or images is None or _path(file) is not None:
            return True
        return f"{NODE}: {_missing(file)}"

    @classmethod
    def fingerprint_inputs(cls, file=None, video=False, images=False, **settings):
        path = _path(file) if file and video is not None and images is not None else None
        if path is None:
            return ""
        facts = os.stat(path)
        return f"{path} {facts.st_mtime_ns} {facts.st_size}"

    @classmethod
    @checked
    def execute(
        cls, file, start, count, every_nth, width, height, fit, grid, video=None, images=None, background="#000000"
    ) -> io.NodeOutput:
        numbers = {"start": start, "count": count, "every nth": every_nth, "width": width, "height": height}
        _check_settings(numbers, fit, grid)
        color = _color(background)
        if color is None:
            raise Refusal(_no_color(background))
        selection = Selection(start, count, every_nth)
        name, clip = _read(
            file, video, images, selection, partial(placement, size=(width, height), fit=fit, grid=int(grid)), color
        )
        opaque = torch.ones(1, 1, 1).expand(clip.images.shape[:3])
        mask = opaque if clip.alpha is None else clip.alpha
        shown = show_clip(clip.images, _summary(name, selection, clip), clip.fps)
        return io.NodeOutput(clip.images, clip.fps, clip.audio, mask, ui=shown)


def _check_settings(numbers: dict[str, int], fit: str, grid: str) -> None:
    """Linked values, which ComfyUI does not check."""
    for name, value in numbers.items():
        least = 1 if name == "every nth" else 0
        if value < least:
            raise Refusal(f"'{name}' is {value}; expected a whole number of {least} or more.")
    for name, value, choices in (("fit", fit, FITS), ("grid", grid, GRIDS)):
        if value not in choices:
            raise Refusal(f"'{name}' is {value}; choose {', '.join(choices)}.")


def _read(file, video, images, selection: Selection, fit, color: Color) -> tuple[str, Clip]:
    """The clip, and what it is called in messages."""
    if video is not None and images is not None:
        raise Refusal("both 'video' and 'images' are connected; disconnect one of them.")
    if images is not None:
        check_images(images, "images")
        return "'images'", read_images(images, "'images'", selection, fit, background=color)
    if video is not None:
        return "'video'", read_video(video, "'video'", selection, fit, color)
    name, path = os.path.basename(file), _path(file)
    if path is None:
        raise Refusal(_missing(file))
    return name, read_file(path, name, selection, fit, color)


def _color(text: str) -> Color | None:
    """Red, green and blue of 0..1 from '#rrggbb' or '#rgb'; None if it is neither."""
    digits = "000" if text == _UPLOAD_BUTTON else str(text).strip().removeprefix("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    if len(digits) != 6 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        return None
    red, green, blue = bytes.fromhex(digits)
    return red / 255, green / 255, blue / 255


def _no_color(text: str) -> str:
    return f"'background' is '{text}'; write a colour such as #ffffff."


def _files() -> list[str]:
    return _demo_clips() + _playable(folder_paths.get_input_directory())


def _demo_clips() -> list[str]:
    return [_DEMO + name for name in _playable(_DEMO_CLIPS)]


def _playable(folder) -> list[str]:
    """The videos and pictures in a folder, by their names' endings."""
    return [name for name in files_inside(folder) if is_readable_name(name)]


def _path(file: str) -> str | None:
    """Where the clip lies that `file` names; None if it is not there."""
    if file in _demo_clips():
        return str(_DEMO_CLIPS / file.removeprefix(_DEMO))
    return input_path(file)


def _missing(file: str) -> str:
    return f"'file' is {file}, which is not in ComfyUI's input folder; upload it or choose another one."


def _summary(name: str, selection: Selection, clip: Clip) -> str:
    count, height, width, _ = clip.images.shape
    last = selection.start + (count - 1) * selection.every_nth
    lines = [
        f"{count} frame{'s' * (count > 1)} ({selection.start} to {last}) of {name}",
        f"{width}x{height} from {clip.source_size[0]}x{clip.source_size[1]}, {clip.fps:g} frames per second, "
        f"{'with' if clip.audio else 'no'} sound",
    ]
    if count < selection.count:
        lines.append(f"The clip ends there: {selection.count} frames were asked for.")
    if max(width, height) > MOST_PIXELS["mp4"]:
        lines.append(
            f"mp4 and webm hold at most {MOST_PIXELS['mp4']} pixels a side, so Video Save will make it smaller; png "
            "keeps every size."
        )
    lines += clip.notes
    return "\n".join(lines)
