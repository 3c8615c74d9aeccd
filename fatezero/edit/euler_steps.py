"""An edit takes Euler steps, as DDIM does, whichever sampler was chosen.

What an edit predicts jumps where a window closes, a mask opens or guidance ends. A sampler that looks at several
levels or remembers earlier steps carries such a jump on, and colours burn (12 steps, remove, by uni_pc, deis, lms and
others: 7 to 14 dB from what Euler steps give, where plain sampling differs by 12 to 33). Nor would another one win
anything: the inversion took DDIM's steps, and Euler steps are the way back.
"""

import comfy.samplers

from ..prompts.prompt_edit import PromptEdit
from ..prompts.window import Window
from .settings import BlendSettings


def euler_steps(sampler, settings: BlendSettings, edit: PromptEdit) -> tuple[object, list[str]]:
    """The SAMPLER that an edit goes by, and what to tell of the one that it takes the place of.

    Args:
        sampler: The run's, which adds no noise.
        settings: How the edit is fused; where nothing is, the sampler stays.
        edit: What changes in the prompt.
    """
    name = sampler_name(sampler)
    if name == "euler" or not _acts(settings, edit):  # "ddim" is "euler" in ComfyUI
        return sampler, []
    return comfy.samplers.ksampler("euler"), [
        f"Euler steps are taken in place of the sampler {name}, which would carry on what an edit changes from step to "
        "step"
    ]


def sampler_name(sampler) -> str:
    """What KSampler's menu calls a SAMPLER, or another node its function or class."""
    function = getattr(sampler, "sampler_function", sampler)
    function = getattr(function, "func", function)  # of a partial
    name = getattr(function, "__name__", type(function).__name__)
    return name.removeprefix("sample_").removesuffix("_function").replace("unipc", "uni_pc")


def _acts(settings: BlendSettings, edit: PromptEdit) -> bool:
    """Whether anything of an edit acts in any step."""
    windows = [settings.self_window, settings.cross_window, settings.temporal_window]
    windows += [Window(0, settings.new_words_until), Window(0, settings.agree_until)]
    windows += [settings.latent_window or Window(0, 0), *(Window(start, end) for _, start, end in edit.windows)]
    return settings.mask_uncovers or any(window.end > window.start for window in windows)
