"""A clip of any size and length as a small video in a node."""

import os
from typing import Any

import folder_paths
import torch

from ...fatezero.compat import io, ui
from ...fatezero.video.clip import STILL_FPS
from ...fatezero.video.frames import place, placement
from ...fatezero.video.write import write_clip

FRAMES, SIDE = 96, 1024  # at most; pixels at most


def show_clip(images: torch.Tensor, text: str = "", fps: float = STILL_FPS) -> dict[str, Any]:
    """What a node shows: the first frames of a clip, made smaller where they are large, as a video, and a text.

    A preview is a courtesy: where it cannot be written, the text says so and the node goes on.

    Args:
        images: [n, H, W, 3] of 0..1.
        text: Shown below; several lines if need be.
        fps: Frames per second.

    Returns:
        The `ui` of a NodeOutput.
    """
    try:
        shown = _written(images, fps).as_dict()
    except OSError as error:
        shown = {}
        text = "\n".join(filter(None, (text, f"No preview: ComfyUI's temp folder is not writable ({_reason(error)}).")))
    return with_text(shown, text)


def with_text(shown: dict[str, Any], text: str) -> dict[str, Any]:
    """What a node shows, with a text below unless it is empty."""
    return shown | ui.PreviewText(text).as_dict() if text else shown


def _written(images: torch.Tensor, fps: float) -> ui.PreviewVideo:
    height, width = images.shape[1:3]
    images = images[:FRAMES]
    if max(width, height) > SIDE:
        where = placement((width, height), (SIDE, 0) if width >= height else (0, SIDE), "stretch", 2)
        images = torch.stack([place(image, where) for image in images])
    folder, filename, counter, subfolder, _ = folder_paths.get_save_image_path(
        "FateZero_preview", folder_paths.get_temp_directory()
    )
    name = f"{filename}_{counter:05}_.mp4"
    write_clip(os.path.join(folder, name), images, fps, quality=60)
    return ui.PreviewVideo([ui.SavedResult(name, subfolder, io.FolderType.temp)])


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
