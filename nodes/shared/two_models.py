"""The inputs by which nodes take Wan 2.2 14B's second model."""

from ...fatezero.compat import io


def low_noise_model_input() -> io.Model.Input:
    """Where the second model comes in."""
    return io.Model.Input(
        "low_noise_model", optional=True, tooltip="Wan 2.2 14B's second model; 'model' is then the one for high noise."
    )


def inverted_low_noise_model_input() -> io.Model.Input:
    """Where the second model of an inversion comes in."""
    return io.Model.Input(
        "low_noise_model",
        optional=True,
        tooltip="Wan 2.2 14B's second model, where the clip was inverted with both; 'model' is then the one for high "
        "noise.",
    )


def boundary_input() -> io.Float.Input:
    """From where the second model goes on."""
    return io.Float.Input(
        "boundary",
        default=0.875,
        min=0.0,
        max=1.0,
        step=0.005,
        round=0.001,
        optional=True,
        advanced=True,
        tooltip="The sigma below which 'low noise model' goes on: 0.875 for text to video, 0.9 for image "
        "to video; 0.85 as in ComfyUI's templates, after half of the steps at shift 5. Not used without it.",
    )
