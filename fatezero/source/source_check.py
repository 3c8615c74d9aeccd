"""Whether a source run fits the model and the prompts that are to use it."""

from ..network.model_identity import fingerprint
from ..network.unet_inflation import inflation_of

NODE = "Attention Blend"


def check_model(model, source, node: str = NODE) -> None:
    """The model must be the one of the inversion: checkpoint, LoRAs and inflation; node: the name of the node that
    asks."""
    if fingerprint(model) != source.fingerprint:
        raise ValueError(
            f"{node}: 'model' is not the one the source was inverted with (another checkpoint, other "
            "LoRAs or another model sampling); connect that model, or invert again with this one."
        )
    inflation = inflation_of(model)
    if inflation != source.inflation:
        raise ValueError(
            f"{node}: the model is inflated with [{inflation or 'nothing'}] but the source was inverted "
            f"with [{source.inflation or 'nothing'}]; use one Inflate UNet node for both, or the same "
            "settings in each."
        )


def check_edit(edit, source, node: str = NODE) -> None:
    """The edit must start from the prompt that was inverted; node: the name of the node that asks."""
    if source.tokens is not None and source.tokens.ids != edit.source.ids:
        raise ValueError(
            f'{node}: \'edit\' starts from "{edit.source.text}" but "{source.tokens.text}" was inverted; '
            "use the source conditioning of the same Edit Prompts node for DDIM Invert."
        )
    length = source.conditioning[0][0].shape[1]
    if length != edit.source.length:
        raise ValueError(
            f"{node}: the inverted prompt has {length} tokens but the source prompt of 'edit' has "
            f"{edit.source.length}; use the source conditioning of the same Edit Prompts node."
        )
