"""With which settings an edit was made: a mark on what the blend nodes give out, for Edit Report."""

from ...fatezero.network.option_keys import MADE_BY


def mark(settings, cfg: float | None = None) -> dict:
    """What a LATENT, or the options of a MODEL, carry along; other nodes pass it on and VAE Decode drops it."""
    return {MADE_BY: {"settings": settings, "cfg": cfg}}


def read_mark(made_by) -> tuple:
    """The BlendSettings and the guidance with which a LATENT or MODEL was made; None for each that it does not tell."""
    if made_by is None:
        return None, None
    carrier = made_by if isinstance(made_by, dict) else made_by.model_options
    found = carrier.get(MADE_BY, {})
    return found.get("settings"), found.get("cfg")
