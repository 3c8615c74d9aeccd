"""Video Save: writes a clip with the workflow inside and shows it in the node."""

import os
from typing import Any

import torch

from ..fatezero.compat import io, schema, ui
from ..fatezero.disk import explained_disk_errors
from ..fatezero.refusal import Refusal, counted, shortened
from ..fatezero.video.clip import FPS_RANGE, Selection
from ..fatezero.video.encoding import AUTO, encodings, pixel_formats, require_options
from ..fatezero.video.frames import Placement, check_images, check_same_size, smaller, without_lost_frames
from ..fatezero.video.read import read_file
from ..fatezero.video.sound import MOST_SAMPLES
from ..fatezero.video.write import SaveOptions, endings, formats, write_clip
from ..fatezero.video.write_limits import GIF_FPS
from .shared.checked import checked, typed_problem
from .shared.clip_preview import FRAMES, SIDE, show_clip, with_text
from .shared.demo_sizes import refuse_mixed_sizes
from .shared.output_name import output_place, prefix_problem
from .shared.workflow_tags import workflow_tags

NODE = "Video Save"


class VideoSave(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroVideoSave",
            display_name=NODE,
            category="FateZero/clips",
            essentials_category="Video Tools",
            description="Saves frames as a video, an animation or numbered pictures in ComfyUI's output folder and "
            "shows the result. Dropping the file on ComfyUI opens the workflow that made it (not gif and mkv).",
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
                    options=formats(),
                    default="mp4",
                    tooltip="mp4 (H.264) and webm (VP9) play everywhere; where the width or height is odd, "
                    "they repeat the last column or row. gif has 256 colours. png makes a folder of "
                    "exact frames. ProRes and DNxHR (mov) and ffv1 (mkv, exact) are for editing programs. nvenc is "
                    "the encoder of an NVIDIA card, offered where there is one.",
                ),
                io.Int.Input(
                    "quality",
                    default=70,
                    min=0,
                    max=100,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="Of films with a loss and of webp: 100 is nearly exact and large, 50 is common on the web.",
                ),
                io.Audio.Input(
                    "audio", optional=True, tooltip="Sound for films, cut where the frames end; connect Video Load's."
                ),
                io.Image.Input(
                    "compare_with",
                    optional=True,
                    tooltip="Shown to the left of 'images', such as the clip before the edit.",
                ),
                io.Int.Input(
                    "crf",
                    default=-1,
                    min=-1,
                    max=63,
                    optional=True,
                    advanced=True,
                    tooltip="The codec's own quality number in place of 'quality': 0 is best, 18 to 28 is common; -1 "
                    "is off. Of mp4 and h265 up to 51, of webm and av1 up to 63.",
                ),
                io.Combo.Input(
                    "pixel_format",
                    options=[AUTO, *pixel_formats()],
                    default=AUTO,
                    optional=True,
                    advanced=True,
                    tooltip="How colours are kept: 420 halves their resolution, 444 keeps it; 10le has 1024 levels. "
                    "auto is the one that plays everywhere.",
                ),
                io.Boolean.Input(
                    "preview_only",
                    default=False,
                    optional=True,
                    tooltip="Saves to ComfyUI's temp folder, which it empties when it starts.",
                ),
                io.Boolean.Input(
                    "ping_pong", default=False, optional=True, tooltip="Plays the frames to the end and back again."
                ),
                io.Int.Input(
                    "loops",
                    default=0,
                    min=0,
                    max=65535,
                    optional=True,
                    advanced=True,
                    tooltip="How often a gif, webp or animated png plays; 0 is for ever.",
                ),
                io.Int.Input(
                    "skip_first",
                    default=0,
                    min=0,
                    max=1_000_000,
                    optional=True,
                    advanced=True,
                    tooltip="Leaves out so many frames at the beginning: 1 for the frame of Video Load's 'key frame "
                    "first'.",
                ),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="The file, or the folder of png files.")],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None, format=None, crf=None, pixel_format=None):
        # Before the edit runs, not after it. A connected input arrives as None; execute checks that one.
        problem = None if filename_prefix is None else prefix_problem(filename_prefix)
        problem = problem or _format_problem(format, crf, pixel_format)
        return f"{NODE}: {problem}" if problem else True

    @classmethod
    @checked
    def execute(
        cls,
        images,
        fps,
        filename_prefix,
        format,
        quality,
        audio=None,
        compare_with=None,
        crf=-1,
        pixel_format=AUTO,
        preview_only=False,
        ping_pong=False,
        loops=0,
        skip_first=0,
    ) -> io.NodeOutput:
        _require(format)
        if cls.hidden is not None:
            refuse_mixed_sizes(cls.hidden.prompt)
        images, compare_with, told = _checked_images(images, compare_with, skip_first)
        options = SaveOptions(quality, crf, pixel_format, ping_pong, loops)
        audio = _sound(audio) if format in encodings() else audio
        width = images.shape[2] * (1 if compare_with is None else 2)
        root = io.FolderType.temp if preview_only else io.FolderType.output
        place = output_place(filename_prefix, width, images.shape[1], root)
        name = f"{place.name}.{endings()[format]}".removesuffix(".")
        path = os.path.join(place.folder, name)
        with explained_disk_errors(name):
            tags = workflow_tags(cls.hidden)
            notes = write_clip(path, images, fps, compare_with, audio, tags, format=format, options=options)
        return io.NodeOutput(path, ui=_preview(path, place.subfolder, root, format, options, fps, told + notes))


def _checked_images(
    images: torch.Tensor, beside: torch.Tensor | None, skip_first: int
) -> tuple[torch.Tensor, torch.Tensor | None, list[str]]:
    """The images to save and those to show beside them, without the first ones, and what to tell of them."""
    check_images(images, "images")
    told = []
    if beside is not None:
        check_images(beside, "compare with")
        count, beside = len(beside), without_lost_frames(beside, images)
        if count > len(beside):
            told = [
                f"'compare with' has {count} frames; those from frame {len(beside)} on are left out, as in the edit."
            ]
        check_same_size(images, "images", beside, "compare with")
    if skip_first >= len(images):
        raise Refusal(
            f"'skip first' is {skip_first}, which leaves none of {counted(len(images), 'image')}; choose fewer."
        )
    return images[skip_first:], None if beside is None else beside[skip_first:], told


def _format_problem(format: str | None, crf: int | None, pixel_format: str | None) -> str | None:
    """What stands against the typed format and what goes with it; None: nothing, or it is connected."""
    try:
        if format is not None:
            _require(format)
            require_options(format, crf, pixel_format)
    except Refusal as refusal:
        return str(refusal)
    return typed_problem(VideoSave, crf=crf, pixel_format=pixel_format)


def _require(format: str) -> None:
    """Refuses what is no format, and one of another machine that this one cannot write."""
    if format not in endings():
        raise Refusal(f"'format' is {shortened(format)}; choose {', '.join(formats())}.")
    if format in encodings():
        encodings()[format].require_codec()


def _sound(audio: dict | None) -> dict | None:
    """The AUDIO to write; None if there is none or it is empty."""
    if audio is None:
        return None
    try:
        waveform, rate = audio["waveform"], audio["sample_rate"]
        channels, samples = waveform.shape[1:]
    except (TypeError, LookupError, AttributeError, ValueError):
        raise Refusal("'audio' is no AUDIO of ComfyUI; connect Video Load's or that of an audio loader.") from None
    if not (isinstance(rate, int) and 1 <= rate <= MOST_SAMPLES):
        raise Refusal(f"'audio' has {rate} samples a second; expected 1 to {MOST_SAMPLES}.")
    if 0 in (channels, samples):
        return None
    if not torch.isfinite(waveform).all():
        raise Refusal("'audio' has invalid numbers (NaN or infinite); look for the node that made them.")
    return audio


def _preview(path: str, *place: Any) -> dict[str, Any]:
    """What the node shows; a saved clip that cannot be shown is saved all the same."""
    try:
        return _shown(path, *place)
    except (OSError, Refusal) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        note = f"{os.path.basename(path)} is saved, but it cannot be shown here ({reason})."
        return with_text({}, "\n".join([note, *place[-1]]))


def _shown(
    path: str, subfolder: str, root: io.FolderType, format: str, options: SaveOptions, fps: float, notes: list[str]
) -> dict[str, Any]:
    """What the node shows: the file itself, or a small copy of one that browsers do not play."""
    name, text = os.path.basename(path), "\n".join(notes)
    film = encodings().get(format)
    if film is not None and film.pixel_format(options.pixel_format) not in film.browsers_play:
        clip = read_file(path, name, Selection(count=FRAMES), lambda size: smaller(Placement(size, size), SIDE))
        note = f"{name} is saved; browsers do not play it, so a small copy is shown."
        return show_clip(clip.images, "\n".join([note, *notes]), fps, clip.audio)
    if film is not None:
        return with_text(ui.PreviewVideo([ui.SavedResult(name, subfolder, root)]).as_dict(), text)
    pictures = [name]
    if os.path.isdir(path):
        subfolder, pictures = os.path.join(subfolder, name), sorted(os.listdir(path))
    shown = ui.SavedImages([ui.SavedResult(picture, subfolder, root) for picture in pictures])
    return with_text(shown.as_dict(), text)
