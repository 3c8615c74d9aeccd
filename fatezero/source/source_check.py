"""Whether a source run fits the model and the prompts that are to use it."""

from ..network.inspection.model_identity import has_fingerprint
from ..network.unet.inflation import Inflation, inflation_of
from ..refusal import Refusal, shortened


def check_model(model, source) -> None:
    """The model must be the one of the inversion: checkpoint, LoRAs and inflation."""
    if not has_fingerprint(model, source.fingerprint):
        raise Refusal(
            "'model' is not the one the source was inverted with (another checkpoint or the same in another precision, "
            "other LoRAs or another model sampling); connect that model, or invert again with this one."
        )
    check_inflation(inflation_of(model), source.inflation)


def check_inflation(edited: Inflation | None, inverted: Inflation | None) -> None:
    """A model must edit with the key frames with which the clip was inverted."""
    if edited != inverted:
        raise Refusal(
            f"the model is inflated with [{edited or 'nothing'}] but the source was inverted "
            f"with [{inverted or 'nothing'}]; use one Inflate UNet node for both, or the same "
            "settings in each."
        )


def check_models(model, low_noise_model, source) -> None:
    """The models must be those of the inversion; low_noise_model: ModelPatcher, or None for none."""
    if source.low_noise is None:
        if low_noise_model is not None:
            raise Refusal(
                "'low noise model' is connected, but the source was inverted with one model; disconnect it, or invert "
                "the clip with both."
            )
        return check_model(model, source)
    if low_noise_model is None:
        raise Refusal(
            "the source was inverted with two models, but 'low noise model' is not connected; connect the model for "
            "low noise."
        )
    known = source.fingerprint, source.low_noise.fingerprint
    fits, fits_swapped = (
        [has_fingerprint(each, its) for each, its in zip(pair, known)]
        for pair in ((model, low_noise_model), (low_noise_model, model))
    )
    if all(fits_swapped) and not all(fits):
        raise Refusal(
            "'model' is the one that the source was inverted with for low noise; swap it with 'low noise model'."
        )
    check_model(model, source)
    check_low_noise_model(low_noise_model, source)
    return None


def check_low_noise_model(low_noise_model, source) -> None:
    """The model for low noise must be the one of the inversion."""
    if not has_fingerprint(low_noise_model, source.low_noise.fingerprint):
        raise Refusal(
            "'low noise model' is not the one the source was inverted with (another checkpoint or the same in another "
            "precision, other LoRAs or another model sampling); connect that model, or invert again with this one."
        )


def check_edit(edit, source) -> None:
    """The edit must start from the prompt that was inverted."""
    if source.tokens is not None and source.tokens.ids != edit.source.ids:
        if source.tokens.text == edit.source.text:
            raise Refusal(
                "'edit' was made with another text encoder than the inverted prompt; use the Edit Prompts node whose "
                "source conditioning DDIM Invert has."
            )
        raise Refusal(
            f'\'edit\' starts from "{shortened(edit.source.text)}" but "{shortened(source.tokens.text)}" was inverted; '
            "write that in 'source prompt' of Edit Prompts, or connect its source conditioning to DDIM Invert."
        )
    length = source.conditioning[0][0].shape[1]
    if length != edit.source.length:
        raise Refusal(
            f"the inverted prompt has {length} tokens but the source prompt of 'edit' has "
            f"{edit.source.length}; use the source conditioning of the same Edit Prompts node."
        )
