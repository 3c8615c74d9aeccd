"""The place where an edit acts, shown in the blend nodes before they edit, and beside the edit while it forms."""

from collections.abc import Callable
from functools import partial

import comfy.utils
import latent_preview
import numpy as np
import torch
from PIL import Image

from ...fatezero.compat import io, ui
from ...fatezero.report.edit_place import FRAMES, edit_place

LONGEST = 1024  # pixels of a live preview's longer side


def show_place(node: type[io.ComfyNode], model, source, edit, settings) -> dict:
    """The `ui` of a NodeOutput that shows where an edit acts; empty for an edit without a mask."""
    return show_picture(node, edit_place(source, edit, settings, model.model.latent_format))


def show_picture(node: type[io.ComfyNode], picture: torch.Tensor | None) -> dict:
    """The `ui` of a NodeOutput that shows a picture [1, H, W, 3]; empty for None."""
    try:
        return {} if picture is None else ui.PreviewImage(picture, cls=node).as_dict()
    except OSError:  # a preview is a courtesy
        return {}


def preview_callback(model, source, edit, settings) -> Callable:
    """ComfyUI's sampler callback, whose live preview also shows where the edit acts."""
    place = partial(edit_place, source, edit, settings, model.model.latent_format)
    return callback_beside(model, source.steps, place)


def callback_beside(model, steps: int, place_of: Callable[[int], torch.Tensor | None]) -> Callable:
    """ComfyUI's sampler callback, whose live preview has a picture beside it.

    That picture is shown at once. Where live previews are on, it stays beside them.

    Args:
        model: ModelPatcher.
        steps: Of the run.
        place_of: The picture, IMAGE [1, H, W, 3], with at most so many frames; None for none.
    """
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    picture = place_of(1 if previewer else FRAMES)
    if picture is None:
        return latent_preview.prepare_callback(model, steps)
    place, bar = _image(picture), comfy.utils.ProgressBar(steps)
    bar.update_absolute(0, steps, ("JPEG", place, LONGEST))

    def callback(step: int, x0: torch.Tensor, x: torch.Tensor, total_steps: int) -> None:
        preview = None
        if previewer is not None:
            _, image, _ = previewer.decode_latent_to_preview_image("JPEG", x0)
            preview = ("JPEG", _beside(place, image), LONGEST)
        bar.update_absolute(step + 1, total_steps, preview)

    return callback


def _image(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray((picture[0].numpy() * 255).round().astype(np.uint8))


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures of one aspect in one, at the left one's size."""
    joined = Image.new("RGB", (2 * left.width, left.height))
    joined.paste(left)
    joined.paste(right.resize(left.size), (left.width, 0))
    return joined
