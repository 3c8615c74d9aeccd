"""No attention layer makes a GPU wait: nothing is sent to it or read from it there. Counted on the device `meta`, whose
tensors have no values, so no GPU need be there."""

from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edit_cases import prompt_edit
from fatezero_pack.fatezero.edit.fusion import cross_weights, fuse_cross, fuse_self, see_alone
from fatezero_pack.fatezero.edit.unet.places import ClipMask
from fatezero_pack.fatezero.network.frame_chunks import ActiveChunk, plan_chunks
from fatezero_pack.fatezero.network.model_call import ModelCall
from fatezero_pack.fatezero.network.unet.inflation import gather_chunk
from fatezero_pack.fatezero.network.word_maps import cross_attention_map
from fatezero_pack.fatezero.prompts.window import Window

GPU, FRAMES = torch.device("meta"), 12


class Waits(TorchDispatchMode):
    """Keeps the operators that move a tensor to or from a GPU, or read a number of one."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        before, after = devices((args, kwargs)), devices(result)
        if (before and after and before != after) or operator is torch.ops.aten._local_scalar_dense.default:
            self.found.append(str(operator))
        return result


class Lists(TorchFunctionMode):
    """Keeps the calls that make a tensor on a GPU of Python's numbers, which no operator tells."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in (torch.tensor, torch.as_tensor) and devices(result) - devices(args[0]) == {GPU.type}:
            self.found.append(function.__name__)
        return result


def devices(values):
    return {value.device.type for value in tree_leaves(values) if isinstance(value, torch.Tensor)}


@contextmanager
def counted_waits():
    """Yields what would have waited within it."""
    with torch.inference_mode(False), Waits() as waits, Lists(waits.found):
        yield waits.found


def on_gpu(*shape):
    return torch.empty(*shape, device=GPU, dtype=torch.float16)


def attention(query, key, value):
    return torch.nn.functional.scaled_dot_product_attention(query, key, value)


@pytest.mark.parametrize("target", ["a red porsche on a curvy road", "a silver jeep on a snowy curvy road"])
def test_fused_cross_attention(target):
    edit = prompt_edit("a silver jeep on a curvy road", target)
    weights = cross_weights(edit, Window(0, 1), 0, 4, GPU)  # that is once a step
    with counted_waits() as waits:
        query, key, value = (on_gpu(2, count, 32) for count in (64, edit.target.length, edit.target.length))
        source = query, on_gpu(2, edit.source.length, 32)
        fused = fuse_cross(attention, (query, key, value), source, *weights).alone(attention)
        see_alone(attention, (query, key, value), fused, (2, 3, 5), on_gpu(2, 64))
        cross_attention_map(query, key, 4)
    assert not waits


def test_fused_self_attention():
    with counted_waits() as waits:
        query, key, value = (on_gpu(2, 64, 32) for _ in range(3))
        fuse_self(attention, (query, key, value), (query, key), on_gpu(2, 64)).alone(attention)
    assert not waits


def gathered(plan):
    """What the layers of a plan's chunks gather as keys, one after the other."""
    options = {"block": ("input", 1), "block_index": 0, "uuids": ["row"]}
    active = ActiveChunk(plan.chunks, 0, FRAMES, {})
    for number in range(len(plan.chunks)):
        active = active.at(number)
        gather_chunk(on_gpu(1, len(active.frames), 16, 8), active, options, "key")


@pytest.mark.parametrize("key_frames", [("current", "middle"), ("-1", "first"), ("all",)])
def test_key_frames(key_frames):
    plan = plan_chunks(key_frames, FRAMES, 4, 3)
    assert len(plan.chunks) > 2
    with counted_waits() as waits:
        there = plan.to(GPU)
        waits.clear()  # that is once an evaluation
        gathered(there)
        assert not waits
        gathered(plan)
        assert len(waits) >= len(plan.chunks)  # where each layer sends its own, it is seen


@pytest.mark.parametrize("key_frames", [("current", "middle"), ("-1", "first")])
def test_what_a_chunk_takes_of_the_clip_and_gives_back(key_frames):
    plan, clip = plan_chunks(key_frames, FRAMES, 4, 3).to(GPU), on_gpu(FRAMES, 4, 8, 8)
    call = ModelCall(None, None, [], clip, on_gpu(FRAMES), {"transformer_options": {}})
    place = ClipMask(on_gpu(FRAMES, 8, 8), (True,) * FRAMES)

    def evaluate():
        first = ActiveChunk(plan.chunks, 0, FRAMES, {})
        for active in map(first.at, range(len(plan.chunks))):
            place.of(active)
            active.put(call.of_chunk(active).x, None)

    evaluate()  # the indices of the chunks go there once in a run
    with counted_waits() as waits:
        evaluate()
    assert not waits
