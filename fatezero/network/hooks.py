"""Hooks of conditionings (a LoRA for one prompt) in a run that brings conditionings of its own."""

import comfy.hooks
import comfy.samplers
from comfy.sampler_helpers import get_hooks_from_cond


def has_hooks(conds) -> bool:
    """Whether one of some conditionings, as ComfyUI's guiders hold them, has hooks, or its ControlNet has."""
    return any(
        cond.get("hooks") is not None or (cond.get("control") is not None and cond["control"].get_extra_hooks())
        for cond in conds
    )


def register_hooks(guider) -> None:
    """Registers the hooks of all conditionings that a guider now holds.

    ComfyUI does this before it hands a run to us, and would ignore the hooks of a conditioning that is added after
    that. It takes them back when the run ends.
    """
    if not any(has_hooks(conds) for conds in guider.conds.values()):
        return
    for cond in [cond for conds in guider.conds.values() for cond in conds if cond.get("hooks", True) is None]:
        del cond["hooks"]  # so ComfyUI leaves what none of the hooks of a conditioning could be registered of
    comfy.samplers.preprocess_conds_hooks(guider.conds)
    hooks = comfy.hooks.HookGroup()
    for conds in guider.conds.values():
        get_hooks_from_cond(conds, hooks)
    model, options = guider.model_patcher, guider.model_options
    registered = options.setdefault("registered_hooks", comfy.hooks.HookGroup())
    target = comfy.hooks.create_target_dict(comfy.hooks.EnumWeightTarget.Model)
    for kind in (comfy.hooks.EnumHookType.TransformerOptions, comfy.hooks.EnumHookType.AdditionalModels):
        for hook in hooks.get_type(kind):
            if not registered.contains(hook):
                hook.add_hook_patches(model, options, target, registered)
    model.register_all_hook_patches(hooks, target, options, registered)
    comfy.samplers.filter_registered_hooks_on_conds(guider.conds, options)
