"""Other nodes that remember one call of the model for the next, and so need the whole clip in each."""

SAG, EASYCACHE = "Self-Attention Guidance", "EasyCache"


def remembering_node(model) -> str | None:
    """The name of such a node on a ModelPatcher, or None."""
    if any("easycache" in held for held in model.wrappers.values()):
        return EASYCACHE
    options = model.model_options
    replacements = options.get("transformer_options", {}).get("patches_replace", {}).get("attn1", {})
    guided = options.get("sampler_post_cfg_function")  # an inversion has no guidance, and then nobody asks for it
    if guided and any(getattr(patch, "__module__", "").endswith("nodes_sag") for patch in replacements.values()):
        return SAG
    return None
