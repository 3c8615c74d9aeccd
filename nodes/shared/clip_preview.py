"""Clips and pictures in a node, as a courtesy: where they cannot be written, a text says so and the node goes on."""

import os
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import folder_paths
import torch

from ...fatezero.compat import io, ui
from ...fatezero.refusal import Refusal
from ...fatezero.video.clip import STILL_FPS
from ...fatezero.video.frames import place, placement
from ...fatezero.video.write import png_name, write_clip
from .workflow_tags import workflow_tags

FRAMES, SIDE = 96, 1024  # of a clip at most; pixels at most


def show_clip(
    images: torch.Tensor, text: str = "", fps: float = STILL_FPS, audio: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a node shows: the first frames of a clip, made smaller where they are large, as a video, and a text.

    Args:
        images: [n, H, W, 3] of 0..1.
        text: Shown below; several lines if need be.
        fps: Frames per second.
        audio: Its sound.

    Returns:
        The `ui` of a NodeOutput.
    """
    return _shown(lambda: _clip(images, fps, audio), text)


def show_pictures(node: type[io.ComfyNode], images: torch.Tensor, text: str = "") -> dict[str, Any]:
    """What a node shows: pictures as they are, with the workflow inside, and a text.

    Args:
        node: The running one.
        images: [n, H, W, 3] of 0..1.
        text: Shown below; several lines if need be.

    Returns:
        The `ui` of a NodeOutput.
    """
    return _shown(lambda: _pictures(images, workflow_tags(node.hidden)), text)


def with_text(shown: dict[str, Any], text: str) -> dict[str, Any]:
    """What a node shows, with a text below unless it is empty."""
    return shown | ui.PreviewText(text).as_dict() if text else shown


def _shown(write: Callable[[], Any], text: str) -> dict[str, Any]:
    try:
        return with_text(write().as_dict(), text)
    except OSError as error:
        note = f"No preview: ComfyUI's temp folder is not writable ({error.strerror or error})."
    except Refusal as refusal:
        note = f"No preview: {refusal}"
    return with_text({}, "\n".join(filter(None, (text, note))))


def _clip(images: torch.Tensor, fps: float, audio: dict[str, Any] | None) -> ui.PreviewVideo:
    height, width = images.shape[1:3]
    images = images[:FRAMES]
    if max(width, height) > SIDE:
        where = placement((width, height), (SIDE, 0) if width >= height else (0, SIDE), "stretch", 2)
        images = torch.stack([place(image, where) for image in images])
    path, name = _new_preview(".mp4")
    write_clip(path, images, fps, audio=audio, quality=60)
    return ui.PreviewVideo([ui.SavedResult(name, "", io.FolderType.temp)])


def _pictures(images: torch.Tensor, tags: dict[str, str]) -> ui.SavedImages:
    path, name = _new_preview()
    write_clip(path, images, STILL_FPS, metadata=tags)
    return ui.SavedImages([ui.SavedResult(png_name(index), name, io.FolderType.temp) for index in range(len(images))])


def _new_preview(ending: str = "") -> tuple[str, str]:
    """A new preview's path, and its name in ComfyUI's temp folder.

    The name is nobody else's: Video Load's page is shown previews while a run writes its own.
    """
    name = f"FateZero_preview_{uuid4().hex}{ending}"
    os.makedirs(folder_paths.get_temp_directory(), exist_ok=True)
    return os.path.join(folder_paths.get_temp_directory(), name), name
