"""Video Load: the frames of a clip that are to be edited, on the model's grid."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ..fatezero.compat import io, schema
from ..fatezero.refusal import Refusal, counted, shortened, speaking
from ..fatezero.video.clip import FPS_RANGE, STILL_FPS, Clip, Color, Selection, led_by
from ..fatezero.video.frames import FITS, Placement, check_images, is_much, placement, smaller, what_is_lost
from ..fatezero.video.read import read_images, read_video
from ..fatezero.video.sizes import FAMILIES, size_of_family
from ..fatezero.video.write_limits import MOST_PIXELS
from .shared.checked import checked
from .shared.clip_file import UPLOAD_BUTTON, clip_names, find_clip
from .shared.clip_preview import show_clip
from .shared.foresight import what_encoding_drops, what_saving_changes
from .shared.wire_types import ClipFitType

NODE = "Video Load"
GRIDS = ("8", "16", "32", "64")
SHOWN, SHOWN_SIDE = 48, 512  # frames and pixels of a preview, at most
TYPED = "width and height"
KEY_FRAME_FIRST = "Before them stands frame {}, as the key frame of all batches."


class VideoLoad(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        number = partial(io.Int.Input, min=0, max=1_000_000)
        side = partial(io.Int.Input, default=0, min=0, max=16384, step=8)
        return schema(
            node_id="FateZeroVideoLoad",
            display_name=NODE,
            category="FateZero/clips",
            essentials_category="Video Tools",
            description="Reads the frames to edit from a video, an animation or a picture, fitted to a size that the "
            "model can take, and shows the first of them. Only the chosen frames are kept in memory, "
            "however long the clip is.",
            search_aliases=[
                "edit video",
                "load video",
                "upload video",
                "video to frames",
                "vhs load video",
                "import video",
                "video to images",
                "gif",
            ],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=clip_names(),
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
                io.Combo.Input(
                    "size_for",
                    options=[TYPED, *FAMILIES],
                    default=TYPED,
                    optional=True,
                    tooltip="A family of models, for about as many pixels as it was trained with, in the clip's own "
                    "aspect; width and height are then not used.",
                ),
                io.String.Input(
                    "path",
                    default="",
                    optional=True,
                    tooltip="A file within ComfyUI's input folder, such as shots/take 1.mov, or a folder of numbered "
                    "pictures; instead of 'file'.",
                ),
                io.Float.Input(
                    "force_rate",
                    default=0.0,
                    min=0.0,
                    max=FPS_RANGE[1],
                    step=0.001,
                    optional=True,
                    tooltip="Frames per second to play the clip at before frames are counted: leaves some out or "
                    "repeats some, at the same speed. 0 keeps its own. Pictures without a rate play at it.",
                ),
                number(
                    "batch",
                    default=0,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    optional=True,
                    tooltip="For clips longer than memory: 0 takes the first 'count' frames from 'start' on, 1 the "
                    "next 'count', and so on. On increment, each run takes the next part.",
                ),
                io.Boolean.Input(
                    "key_frame_first",
                    default=False,
                    optional=True,
                    tooltip="Puts the frame at 'start' before every batch. With the key frames 'first + current' all "
                    "batches are then edited as one clip; 'skip first' of Video Save leaves the frame out again.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames, in order."),
                io.Float.Output(display_name="fps", tooltip="Frames per second that keep the clip's speed."),
                io.Audio.Output(
                    display_name="audio", tooltip="The clip's sound during these frames; nothing if it has none."
                ),
                io.Mask.Output(
                    display_name="mask", tooltip="The opacity: 1 where the clip is solid, 0 where it is transparent."
                ),
                ClipFitType.Output(display_name="fit", tooltip="How the frames came out of the clip, for Fit Mask."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, file=None, video=False, images=False, background="#000000", size_for=TYPED, path="", batch=0, count=8
    ):
        # A connected input arrives as None, here and in fingerprint_inputs.
        try:
            if background is not None:
                _color(background)
            if size_for is not None:
                _family(size_for)
            if None not in (batch, count):
                _check_batch(batch, count)
            if None not in (file, video, images, path):
                find_clip(file, path)
        except Refusal as refusal:
            return f"{NODE}: {refusal}"
        return True

    @classmethod
    def fingerprint_inputs(cls, file=None, video=False, images=False, path="", **settings):
        if not file or None in (video, images, path):
            return ""
        try:
            return find_clip(file, path).state()
        except (Refusal, OSError):
            return ""

    @classmethod
    @checked
    def execute(
        cls,
        file,
        start,
        count,
        every_nth,
        width,
        height,
        fit,
        grid,
        video=None,
        images=None,
        background="#000000",
        size_for=TYPED,
        path="",
        force_rate=0.0,
        batch=0,
        key_frame_first=False,
    ) -> io.NodeOutput:
        color, family = _color(background), _family(size_for)
        _check_batch(batch, count)
        selection = Selection(start, count, every_nth, force_rate, batch)
        place_of = partial(place_for, size=(width, height), family=family, fit=fit, grid=int(grid))
        name, read = _reader(file, path, video, images, force_rate)
        clip = read(selection, place_of, background=color)
        if key_frame_first:
            clip = led_by(read(Selection(start, 1, 1, force_rate), place_of, background=color), clip)
        opaque = torch.ones(1, 1, 1).expand(clip.images.shape[:3])
        mask = opaque if clip.alpha is None else clip.alpha
        text = summary(name, selection, clip, key_frame_first)
        if cls.hidden is not None:
            here = cls.hidden.prompt, cls.hidden.unique_id
            text = "\n".join([text, *what_encoding_drops(*here, len(clip.images)), *what_saving_changes(*here, clip)])
        shown = show_clip(clip.images, text, clip.fps, clip.audio)
        return io.NodeOutput(clip.images, clip.fps, clip.audio, mask, clip.fit, ui=shown)


def _reader(
    file: str, path: str, video: Any, images: torch.Tensor | None, force_rate: float
) -> tuple[str, Callable[..., Clip]]:
    """What the clip is called in messages, and what reads its frames: of a selection, a fit and a background."""
    if video is not None and images is not None:
        raise Refusal("both 'video' and 'images' are connected; disconnect one of them.")
    if images is not None:
        check_images(images, "images")
        return "'images'", partial(read_images, images, "'images'", fps=force_rate or STILL_FPS)
    if video is not None:
        return "'video'", partial(read_video, video, "'video'")
    chosen = find_clip(file, path)
    return chosen.name, chosen.read


def preview(values: dict[str, Any]) -> dict[str, Any]:
    """What the node shows as soon as its widgets hold these values: the first of the frames that it would take, small.

    Args:
        values: By the widgets' ids; what is missing has its default.

    Raises:
        Refusal: There is no such clip, or it cannot be read.
    """
    widgets = {item.id: item.default for item in VideoLoad.define_schema().inputs if hasattr(item, "default")} | values
    with speaking(NODE):
        chosen = find_clip(widgets["file"], widgets["path"])
        asked = Selection(*(widgets[name] for name in ("start", "count", "every_nth", "force_rate", "batch")))
        is_whole = 0 < asked.count <= SHOWN
        shown = asked if is_whole else Selection(asked.first, SHOWN, asked.every_nth, asked.rate)
        place_of = partial(
            place_for,
            size=(widgets["width"], widgets["height"]),
            family=_family(widgets["size_for"]),
            fit=widgets["fit"],
            grid=int(widgets["grid"]),
        )
        clip = chosen.read(shown, lambda size: smaller(place_of(size), SHOWN_SIDE), _color(widgets["background"]))
    fit = replace(clip.fit, where=place_of(clip.source_size))
    count = asked.count if is_whole else len(clip.images)
    text = summary(chosen.name, replace(shown, count=count), replace(clip, fit=fit))
    if widgets["key_frame_first"]:
        text += f"\n{KEY_FRAME_FIRST.format(asked.start)}"
    if not is_whole and count == SHOWN:
        text += f"\nThis preview ends after {SHOWN} frames; the run goes on."
    return show_clip(clip.images, text, clip.fps, clip.audio)


def place_for(source: tuple[int, int], size: tuple[int, int], family: str | None, fit: str, grid: int) -> Placement:
    """Where a clip of a size goes, by what the widgets say."""
    return placement(source, size_of_family(source, family, grid) if family else size, fit, grid)


def _family(size_for: str) -> str | None:
    """The family of models whose size is wanted; None: the one that is typed."""
    if size_for in (TYPED, UPLOAD_BUTTON):
        return None
    if size_for not in FAMILIES:
        raise Refusal(f"'size for' is {shortened(size_for)}; choose {', '.join((TYPED, *FAMILIES))}.")
    return size_for


def _check_batch(batch: int, count: int) -> None:
    if batch and not count:
        raise Refusal("'batch' counts parts of 'count' frames, but 'count' is 0, which takes all; set a 'count'.")


def _color(text: str) -> Color:
    """Red, green and blue of 0..1 from '#rrggbb' or '#rgb'."""
    digits = "000" if text == UPLOAD_BUTTON else str(text).strip().removeprefix("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    if len(digits) != 6 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise Refusal(f"'background' is '{shortened(text)}'; write a colour such as #ffffff.")
    red, green, blue = bytes.fromhex(digits)
    return red / 255, green / 255, blue / 255


def summary(name: str, selection: Selection, clip: Clip, is_led: bool = False) -> str:
    """What the node says about the clip that it gives out; is_led: whether its key frame stands before it."""
    count = len(clip.images) - is_led
    last = selection.first + (count - 1) * selection.every_nth
    source, where = clip.source_size, clip.fit.where
    width, height = where.target
    lines = [
        f"{counted(count, 'frame')} ({selection.first} to {last}) of {name}",
        f"{source[0]}x{source[1]} -> {width}x{height}, {what_is_lost(source, where)}",
        f"{counted(clip.fps, 'frame')} per second, {'with sound' if clip.audio else 'no sound'}",
    ]
    if is_led:
        lines.append(KEY_FRAME_FIRST.format(selection.start))
    if is_much(source, where):
        lines.append(
            "To keep more: set only one of 'width' and 'height' and try another size, choose a smaller 'grid', or set "
            "'fit' to pad."
        )
    if count < selection.count:
        lines.append(f"The clip ends there: {selection.count} frames were asked for.")
    if max(width, height) > MOST_PIXELS["mp4"]:
        lines.append(
            f"mp4 and webm hold at most {MOST_PIXELS['mp4']} pixels a side, so Video Save will make it smaller; png "
            "keeps every size."
        )
    lines += clip.notes
    return "\n".join(lines)
