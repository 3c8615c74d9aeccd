"""With which settings an edit was made: a mark on what the blend nodes give out, for Edit Report."""

from ...fatezero.network.option_keys import MADE_BY
from ...fatezero.voice import Voice


def mark(settings, cfg: float | None = None, voice: Voice | None = None, automatic: str = "") -> dict:
    """What a LATENT, or the options of a MODEL, carry along; other nodes pass it on and VAE Decode drops it.

    Args:
        settings: The BlendSettings of the edit, or its CoupledSettings.
        cfg: Its guidance, where that is known.
        voice: Whose text says how the edit was run; of a MODEL, how it was run last.
        automatic: The preset that *automatic* took, "" where one was chosen.
    """
    return {MADE_BY: {"settings": settings, "cfg": cfg, "voice": voice, "automatic": automatic}}


def read_mark(made_by) -> tuple:
    """The settings and the guidance with which a LATENT or MODEL was made, in words how the edit was run and what was
    told before, and the preset that *automatic* took; None for each that it does not tell."""
    if made_by is None:
        return None, None, None, None
    carrier = made_by if isinstance(made_by, dict) else made_by.model_options
    found = carrier.get(MADE_BY, {})
    voice = found.get("voice")
    told = None if voice is None or not voice.text else "\n".join([voice.text, *voice.notes])
    return found.get("settings"), found.get("cfg"), told, found.get("automatic") or None
