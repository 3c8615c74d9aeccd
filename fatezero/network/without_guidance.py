"""A model as an inversion needs it: one conditioning in, one prediction out, at every step."""

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

    An inversion has a positive and no guidance: with these functions the trajectory would not be the source's.
    """
    model = model.clone()
    for name in GUIDANCE:
        model.model_options.pop(name, None)
    for key in SKIPPING:
        for kind in [kind for kind, held in model.wrappers.items() if key in held]:
            model.remove_wrappers_with_key(kind, key)
        model.model_options["transformer_options"].pop(key, None)
    return model
