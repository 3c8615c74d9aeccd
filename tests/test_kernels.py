"""How many operators an edit gives a GPU in a call of the UNet, beside guided sampling of the same inflated model.

Where pictures are small or a GPU is fast, it waits for Python to name the next one. Counted on the CPU: those that
compute or copy, without views.
"""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edit_cases import clip_latent, edited, inverted, prompt_edit, sampled, small_model
from fatezero_pack.fatezero.edit.settings import WORDS, BlendSettings
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.window import Window

FRAMES, STEPS, LAYERS = 5, 2, 7  # layers of each kind in the small UNet
EVERY_STEP = {"self_window": Window(0, 1), "cross_window": Window(0, 1)}
SWAP = prompt_edit(mask_words="jeep")
REFINE = prompt_edit("a silver jeep on a road", "a watercolor of a silver jeep on a road")
ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"


class Computing(TorchDispatchMode):
    """Counts the operators that make or change a tensor's values, and the calls of a network, while one runs."""

    def __init__(self, network):
        super().__init__()
        self.found, self.calls, self.is_within = Counter(), 0, False
        network.register_forward_pre_hook(lambda *_: self.begin())
        network.register_forward_hook(lambda *_: self.end())

    def begin(self):
        self.is_within, self.calls = True, self.calls + 1

    def end(self):
        self.is_within = False

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        if self.is_within and not (operator.is_view or any(name in operator.__name__ for name in ("empty", "view"))):
            self.found[operator.__name__.split(".")[0]] += 1
        return result


def counted(model, work) -> Counter:
    """Operators of a call of the UNet, the mean over a work's calls."""
    with torch.inference_mode(False), torch.no_grad(), Computing(model.model.diffusion_model) as computing:
        work()
    return Counter({name: count / computing.calls for name, count in computing.found.items()})


@pytest.fixture(scope="module")
def clip():
    """An inflated model, a clip inverted with it, and what guided sampling takes."""
    model = sampled_in_chunks(inflate(small_model(), Inflation(("current", "middle"))), FRAMES)
    source = inverted(model, SWAP, clip_latent(FRAMES), steps=STEPS)
    return model, source, counted(model, lambda: sampled(model, source, SWAP))


@pytest.mark.parametrize(
    "edit, settings, attentions, others",
    [
        (SWAP, BlendSettings(Window(0, 0), Window(0, 0)), 0, 0),
        (SWAP, BlendSettings(**EVERY_STEP), 1, 4),
        (REFINE, BlendSettings(**EVERY_STEP), 1, 7),  # some words see as in the source, others as in the edit
        (SWAP, BlendSettings(**EVERY_STEP, mask_from=WORDS, threshold=0.3), 2, 4),
    ],
    ids=["nothing fused", "swap", "refine", "in a mask"],
)
def test_an_edit_asks_for_few_more(clip, edit, settings, attentions, others):
    """attentions, others: operators more for each pair of a self- and a cross-attention layer."""
    model, source, plain = clip
    more = counted(model, lambda: edited(model, source, edit, settings))
    more.subtract(plain)
    assert more.pop(ATTENTION) == attentions * LAYERS
    assert sum(more.values()) <= (others + 0.5) * LAYERS, {name: count for name, count in more.items() if count}
