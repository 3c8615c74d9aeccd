"""A model as an inversion needs it: one conditioning in, one prediction out, at every step."""

from comfy.patcher_extension import WrappersMP

from .option_keys import is_ours

# In model_options: what other nodes do with several predictions (PAG, APG, PerpNeg, RescaleCFG ...).
GUIDANCE = (
    "sampler_cfg_function",
    "sampler_pre_cfg_function",
    "sampler_post_cfg_function",
    "sampler_calc_cond_batch_function",
    "disable_cfg1_optimization",
)
# Keys of wrappers that answer some calls from memory. They expect falling sigmas, and an inversion needs every call.
SKIPPING = ("easycache", "lazycache")


def without_guidance(model):
    """A clone of a ModelPatcher without other nodes' guidance and without what skips calls.

    An inversion has a positive and no guidance: with these functions the trajectory would not be the source's. What
    wraps the prediction of a step is guidance too (CFG Override).
    """
    model = model.clone()
    for name in GUIDANCE:
        model.model_options.pop(name, None)
    for kind, held in model.wrappers.items():
        for key in [key for key in held if key in SKIPPING or (kind == WrappersMP.PREDICT_NOISE and not is_ours(key))]:
            del held[key]
    for key in SKIPPING:
        model.model_options["transformer_options"].pop(key, None)
    return model
