"""A clip of any size and length as a small video in a node."""

import os

import folder_paths
import torch

from ...fatezero.compat import io, ui
from ...fatezero.video.frames import place, placement
from ...fatezero.video.read import STILL_FPS
from ...fatezero.video.write import write_clip

FRAMES, SIDE = 96, 1024  # at most; pixels at most


def preview_clip(images: torch.Tensor, fps: float = STILL_FPS) -> ui.PreviewVideo:
    """The first frames of a clip [n, H, W, 3], made smaller where they are large, as a video in a node."""
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
