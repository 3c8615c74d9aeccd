"""Video Save: writes a clip with the workflow inside and shows it in the node."""

import math
import os

import torch

from ..fatezero.compat import io, schema, ui
from ..fatezero.disk import explained_disk_errors
from ..fatezero.refusal import Refusal
from ..fatezero.video.clip import FPS_RANGE
from ..fatezero.video.frames import check_images, check_same_size
from ..fatezero.video.write import png_name, write_clip
from ..fatezero.video.write_limits import GIF_FPS
from .shared.checked import checked
from .shared.clip_preview import with_text
from .shared.output_name import output_place, prefix_problem
from .shared.workflow_tags import workflow_tags

NODE = "Video Save"
FORMATS = ("mp4", "webm", "gif", "png")
_MOST_SAMPLES = 768_000  # a second, of sound


class VideoSave(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroVideoSave",
            display_name=NODE,
            category="FateZero/clip",
            essentials_category="Video Tools",
            description="Saves frames as a video, an animation or numbered pictures in ComfyUI's output folder and "
            "shows the result. Dropping the file on ComfyUI opens the workflow that made it (not gif).",
            search_aliases=[
                "save video",
                "video combine",
                "frames to video",
                "export video",
                "mp4",
                "webm",
                "gif",
                "side by side",
            ],
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Image.Input("images", tooltip="The frames to save."),
                io.Float.Input(
                    "fps",
                    default=8.0,
                    min=FPS_RANGE[0],
                    max=FPS_RANGE[1],
                    step=0.001,
                    tooltip="Frames per second; connect Video Load's to keep the clip's speed. Of more "
                    f"than {GIF_FPS:g}, a gif leaves frames out.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="video/FateZero",
                    tooltip="Folder and beginning of the name within ComfyUI's output folder; a number is "
                    "added. May hold %date:yyyy-MM-dd%, %width% and the like.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="mp4",
                    tooltip="mp4 (H.264) and webm (VP9) play everywhere; where the width or height is odd, "
                    "they repeat the last column or row. gif has 256 colours. png makes a folder of "
                    "exact frames.",
                ),
                io.Int.Input(
                    "quality",
                    default=70,
                    min=0,
                    max=100,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="Of mp4 and webm: 100 is nearly exact and large, 50 is common on the web.",
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="Sound for mp4 and webm, cut where the frames end; connect Video Load's.",
                ),
                io.Image.Input(
                    "compare_with",
                    optional=True,
                    tooltip="Shown to the left of 'images', such as the clip before the edit.",
                ),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="The file, or the folder of png files.")],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None):
        # Before the edit runs, not after it. A connected input arrives as None; execute checks that one.
        problem = None if filename_prefix is None else prefix_problem(filename_prefix)
        return f"{NODE}: {problem}" if problem else True

    @classmethod
    @checked
    def execute(cls, images, fps, filename_prefix, format, quality, audio=None, compare_with=None) -> io.NodeOutput:
        check_images(images, "images")
        if compare_with is not None:
            check_images(compare_with, "compare with")
            check_same_size(images, "images", compare_with, "compare with")
        _check_settings(fps, format, quality)
        audio = _sound(audio) if format in ("mp4", "webm") else None
        width = images.shape[2] * (1 if compare_with is None else 2)
        folder, name, subfolder = output_place(filename_prefix, width, images.shape[1])
        name += "" if format == "png" else f".{format}"
        path = os.path.join(folder, name)
        with explained_disk_errors(name):
            notes = write_clip(path, images, fps, compare_with, audio, workflow_tags(cls.hidden), quality)
        shown = _preview(name, subfolder, format, len(images))
        return io.NodeOutput(path, ui=with_text(shown.as_dict(), "\n".join(notes)) if notes else shown)


def _check_settings(fps: float, format: str, quality: int) -> None:
    """Linked values, which ComfyUI does not check."""
    least, most = FPS_RANGE
    if not (math.isfinite(fps) and least <= fps <= most):
        raise Refusal(f"'fps' is {fps:g}; expected {least:g} to {most:g}; connect Video Load's fps or type one.")
    if format not in FORMATS:
        raise Refusal(f"'format' is {format}; choose {', '.join(FORMATS)}.")
    if not 0 <= quality <= 100:
        raise Refusal(f"'quality' is {quality}; choose 0 to 100.")


def _sound(audio: dict | None) -> dict | None:
    """The AUDIO to write; None if there is none or it is empty."""
    if audio is None:
        return None
    try:
        waveform, rate = audio["waveform"], audio["sample_rate"]
        channels, samples = waveform.shape[1:]
    except (TypeError, LookupError, AttributeError, ValueError):
        raise Refusal("'audio' is no AUDIO of ComfyUI; connect Video Load's or that of an audio loader.") from None
    if not (isinstance(rate, int) and 1 <= rate <= _MOST_SAMPLES):
        raise Refusal(f"'audio' has {rate} samples a second; expected 1 to {_MOST_SAMPLES}.")
    if 0 in (channels, samples):
        return None
    if not torch.isfinite(waveform).all():
        raise Refusal("'audio' has invalid numbers (NaN or infinite); look for the node that made them.")
    return audio


def _preview(name: str, subfolder: str, format: str, frames: int):
    if format in ("mp4", "webm"):
        return ui.PreviewVideo([ui.SavedResult(name, subfolder, io.FolderType.output)])
    if format == "gif":
        return ui.SavedImages([ui.SavedResult(name, subfolder, io.FolderType.output)])
    folder = os.path.join(subfolder, name)
    return ui.SavedImages([ui.SavedResult(png_name(index), folder, io.FolderType.output) for index in range(frames)])
