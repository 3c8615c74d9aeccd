"""Whether a clip has about the size that a model was trained on."""

import comfy.supported_models

TRAINED_ON = "trained_on"  # of a model's config: the side of its pictures in pixels, where ours says it
SIDES = {comfy.supported_models.SD15: 512, comfy.supported_models.SDXL: 1024}
LEAST, MOST = 0.3, 3.0  # of the pixels of a picture: from half the sides to less than twice


def size_note(model, width: int, height: int) -> str | None:
    """What to say of a clip of a size that a model draws badly, or None.

    Args:
        model: ModelPatcher.
        width, height: Of the clip, in pixels.
    """
    config = model.model.model_config
    # Asked for what it does not have, ComfyUI's config writes a warning into the log.
    said = vars(config).get(TRAINED_ON) or getattr(type(config), TRAINED_ON, None)
    side = said or SIDES.get(type(config))
    if side is None or LEAST <= width * height / side**2 < MOST:
        return None
    return (
        f"! the clip is {width}x{height}, but 'model' was trained on {side}x{side} and draws other sizes badly; set "
        "the size of Video Load nearer to it"
    )
