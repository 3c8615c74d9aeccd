"""The place where an edit acts, shown in the blend nodes before they edit."""

import comfy.utils
import numpy as np
from PIL import Image

from ...fatezero.compat import io, ui
from ...fatezero.report.edit_place import edit_place

LONGEST = 1024  # pixels of a live preview's longer side


def show_place(node: type[io.ComfyNode], model, source, edit, settings) -> dict:
    """Shows at once, as a live preview, where an edit acts.

    Returns:
        The same as the `ui` of a NodeOutput, for when the node is done; empty for an edit without a mask.
    """
    picture = edit_place(source, edit, settings, model.model.latent_format)
    if picture is None:
        return {}
    image = Image.fromarray((picture[0].numpy() * 255).round().astype(np.uint8))
    comfy.utils.ProgressBar(source.steps).update_absolute(0, source.steps, ("JPEG", image, LONGEST))
    try:
        return ui.PreviewImage(picture, cls=node).as_dict()
    except OSError:  # a preview is a courtesy
        return {}
