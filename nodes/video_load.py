"""Video Load: the frames of a clip that are to be edited, on the model's grid."""

import os
from functools import partial
from pathlib import Path

import folder_paths

from ..fatezero.compat import io, schema, ui
from ..fatezero.refusal import speaking
from ..fatezero.video.frames import FITS, check_images, placement
from ..fatezero.video.read import STILL_FPS, Clip, Selection, read_file, read_images, read_video
from .shared.clip_preview import preview_clip

NODE = "Video Load"
GRIDS = ("8", "16", "32", "64")

_DEMO = "demo/"
_DEMO_CLIPS = Path(__file__).resolve().parent.parent / "demo" / "clips"
_MORE_VIDEOS = (".flv", ".mkv", ".mts", ".ogv", ".ts", ".wmv")  # unknown to many systems' lists of file types


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
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames, in order."),
                io.Float.Output(display_name="fps", tooltip="Frames per second that keep the clip's speed."),
                io.Audio.Output(
                    display_name="audio", tooltip="The clip's sound during these frames; nothing if it has none."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, file=None, video=False, images=False):
        # A connected input arrives as None, here and in fingerprint_inputs.
        if file is None or video is None or images is None or _path(file) is not None:
            return True
        return _missing(file)

    @classmethod
    def fingerprint_inputs(cls, file=None, video=False, images=False, **settings):
        path = _path(file) if file and video is not None and images is not None else None
        if path is None:
            return ""
        facts = os.stat(path)
        return f"{path} {facts.st_mtime_ns} {facts.st_size}"

    @classmethod
    @speaking(NODE)
    def execute(cls, file, start, count, every_nth, width, height, fit, grid, video=None, images=None) -> io.NodeOutput:
        for name, value, least in (
            ("start", start, 0),
            ("count", count, 0),
            ("every nth", every_nth, 1),
            ("width", width, 0),
            ("height", height, 0),
        ):
            if value < least:
                raise ValueError(f"{NODE}: '{name}' is {value}; expected a whole number of {least} or more.")
        if video is not None and images is not None:
            raise ValueError(f"{NODE}: both 'video' and 'images' are connected; disconnect one of them.")
        selection = Selection(start, count, every_nth)
        place = partial(placement, size=(width, height), fit=fit, grid=int(grid))
        if images is not None:
            name = "'images'"
            check_images(images, "images")
            clip = read_images(images, name, selection, place)
        elif video is not None:
            name = "'video'"
            clip = read_video(video, name, selection, place)
        else:
            name, path = os.path.basename(file), _path(file)
            if path is None:
                raise ValueError(_missing(file))
            clip = read_file(path, name, selection, place)
        shown = (
            preview_clip(clip.images, clip.fps).as_dict() | ui.PreviewText(_summary(name, selection, clip)).as_dict()
        )
        return io.NodeOutput(clip.images, clip.fps, clip.audio, ui=shown)


def _files() -> list[str]:
    return _demo_clips() + _playable(folder_paths.get_input_directory())


def _demo_clips() -> list[str]:
    return [_DEMO + name for name in _playable(_DEMO_CLIPS)]


def _playable(folder) -> list[str]:
    """The videos and pictures in a folder, by their names' endings."""
    names = sorted(name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name)))
    known = folder_paths.filter_files_content_types(names, ["video", "image"])
    return [name for name in names if name in known or name.lower().endswith(_MORE_VIDEOS)]


def _path(file: str) -> str | None:
    """Where the clip lies that `file` names, with ComfyUI's ending such as [output] or not; None if it is not there."""
    if file in _demo_clips():
        return str(_DEMO_CLIPS / file.removeprefix(_DEMO))
    try:
        path = folder_paths.get_annotated_filepath(file)
    except ValueError:  # it leads out of ComfyUI's folders
        return None
    return path if os.path.isfile(path) else None


def _missing(file: str) -> str:
    return f"{NODE}: 'file' is {file}, which is not in ComfyUI's input folder; upload it or choose another one."


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
    return "\n".join(lines)
