"""Gradients through a ComfyUI model with respect to a conditioning, for one evaluation at a time.

Nodes run in PyTorch's inference mode, where nothing can be differentiated, not even the weights' copies. Within
`gradients` it can; afterwards the model is as it was.
"""

import math
import weakref
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import comfy.ops
import comfy.samplers
import torch
from comfy.ldm.modules.attention import attention_pytorch

from ...refusal import Refusal, bytes_in_words
from ..frame_chunks import ActiveChunk
from ..model_call import conds_of_frames, with_chunk
from .chunk_size import automatic_frames_at_once, is_out_of_memory
from .chunked_sampling import ChunkedRun

# What a frame's graph holds, as a multiple of what ComfyUI reckons for its evaluation (measured with SD 1.5: 2.1).
GRADIENT_BYTES = 2.5


@contextmanager
def gradients(*networks):
    """Within it, operations on normal tensors are recorded, and so are those of these loaded networks.

    Each layer works on a copy of its weights: the weights themselves are inference tensors, which autograd refuses, and
    ComfyUI may move or overwrite what it has cast or offloaded. The graph does not keep the copies; it asks the layer
    for its weights again when it comes back to it.
    """
    copies = WeightCopies()
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as undo:
        for module in {module for network in networks for module in network.modules()}:
            if isinstance(module, comfy.ops.CastWeightBiasOp):
                for place, name in enumerate(("weight_function", "bias_function")):
                    _set_until(undo, module, name, [*getattr(module, name), copies.function(module, place)])
        undo.enter_context(torch.autograd.graph.saved_tensors_hooks(copies.pack, copies.unpack))
        yield


class WeightCopies:
    """The weights that layers work on, known by their memory for as long as they exist.

    Two hooks for autograd's saved tensors: pack keeps where a weight comes from instead of the weight. With hooks,
    autograd no longer notices when a saved tensor is overwritten, so they do.
    """

    def __init__(self):
        self.copies = {}  # address: (weak reference to the copy, layer, 0 for its weight or 1 for its bias)

    def function(self, module, place: int):
        """A weight function of ComfyUI's, after all others (LoRA); place: 0 for the weight, 1 for the bias."""

        def copied(weight):
            if weight.requires_grad:  # what is tuned, already a tensor of its own
                return weight
            copy = weight.detach().clone()
            self.copies[copy.data_ptr()] = weakref.ref(copy), module, place
            return copy

        return copied

    def pack(self, saved: torch.Tensor):
        copy, module, place = self.copies.get(saved.untyped_storage().data_ptr(), (lambda: None, None, None))
        if copy() is None:
            return saved.detach(), saved._version  # itself, it would keep the graph that keeps it
        return module, place, saved.dtype, saved.device, saved.shape, saved.stride(), saved.storage_offset()

    def unpack(self, packed):
        if isinstance(packed[0], torch.Tensor):
            saved, version = packed
            if saved._version != version:
                raise RuntimeError("a tensor that its gradient needs was changed by an inplace operation")
            return saved
        module, place, dtype, device, *view = packed
        weights = comfy.ops.cast_bias_weight(module, dtype=dtype, device=device, bias_dtype=dtype, offloadable=True)
        comfy.ops.uncast_bias_weight(module, *weights)
        return weights[place].as_strided(*view)


def _set_until(undo: ExitStack, module, name: str, value) -> None:
    """Sets an attribute of a module's own until the stack is unwound."""
    own = vars(module)
    undo.callback(own.__setitem__, name, own[name]) if name in own else undo.callback(own.pop, name)
    own[name] = value


@contextmanager
def explained(refusal: Refusal):
    """Within it, what PyTorch says where it cannot differentiate is raised as a refusal."""
    try:
        yield
    except RuntimeError as error:
        words = ("nference tensor", "require grad", "requires_grad", "derivative", "inplace")
        if is_out_of_memory(error) or not any(word in str(error) for word in words):
            raise
        raise refusal from error


def networks_of(model, cond: dict):
    """The networks that a conditioning of `guider.conds` goes through: the UNet of a BaseModel and its ControlNets."""
    yield model.diffusion_model
    control = cond.get("control")
    while control is not None:
        if isinstance(getattr(control, "control_model", None), torch.nn.Module):
            yield control.control_model
        control = control.previous_controlnet


def make_differentiable(transformer_options: dict) -> None:
    """Changes a run's private options so that the UNet has a gradient.

    Attention is PyTorch's own, since sage and flash attention have none; and the skip connections, to which a
    ControlNet adds in place, are not the tensors that the next block has read.
    """
    transformer_options["optimized_attention_override"] = lambda attention, *arguments, **options: attention_pytorch(
        *arguments, **options
    )
    patches = transformer_options["patches"] = dict(transformer_options.get("patches", {}))
    patches["input_block_patch_after_skip"] = [
        *patches.get("input_block_patch_after_skip", []),
        lambda hidden, options: hidden.clone(),
    ]


class GradientChunks(ChunkedRun):
    """How many of a clip's frames a gradient takes at once: those asked for, or as many as fit, a quarter of what plain
    sampling takes at most.
    """

    def wanted_at_once(self, shape) -> int:
        frames, _, height, width = shape
        if self.whole:
            return frames
        return min(frames, self.asked or math.ceil(automatic_frames_at_once(height, width) / 4))

    def fitting(self, shape, free: float) -> int:
        self.extra_bytes = GRADIENT_BYTES * self.model.memory_required([1, *shape[1:]])
        return super().fitting(shape, free)

    def of_clip(self, frames: int) -> ActiveChunk:
        """The clip's first chunk."""
        assert self.at_once is not None  # `within_memory` has decided
        return ActiveChunk(self.plan(frames, self.at_once).chunks, 0, frames, {})

    def takes(self, shape) -> str:
        needed = (1 + GRADIENT_BYTES) * self.model.memory_required([1, *shape[1:]])
        return f", which takes about {bytes_in_words(needed)} beside the model"


class DenoiseChunk:
    """What the model makes of a chunk's own frames, differentiably: denoise(active, embedding) -> [b, c, h, w].

    model: BaseModel; cond: of `guider.conds`, whose embedding is replaced; x: the clip
    [n, c, h, w] at sigma; model_options: the sampler's. Refuses a model that gives no gradient.
    """

    def __init__(self, model, cond: dict, x: torch.Tensor, sigma: torch.Tensor, model_options: dict):
        self.model, self.cond = model, cond
        self.x, self.sigma, self.model_options = x, sigma, model_options

    def __call__(self, active: ActiveChunk, embedding: torch.Tensor) -> torch.Tensor:
        model_conds = self.cond["model_conds"]
        crossattn = model_conds["c_crossattn"]._copy_with(embedding)
        cond = {**self.cond, "model_conds": {**model_conds, "c_crossattn": crossattn}}
        conds = conds_of_frames([cond], active.frames)
        frames = torch.tensor(active.frames, device=self.x.device)
        with self.explained():
            (part,) = comfy.samplers.calc_cond_batch(
                self.model,
                [conds],
                self.x[frames],
                self.sigma.expand(len(frames)),
                with_chunk(self.model_options, active),
            )
        return part[: active.chunk.own_count]

    def differentiate(self, outputs, inputs, gradients):
        """Gradients with respect to the inputs, None where nothing depends on them."""
        with self.explained():
            return torch.autograd.grad(outputs, inputs, gradients, allow_unused=True)

    def explained(self):
        """Turns PyTorch's refusal to differentiate into one sentence."""
        return explained(
            Refusal(
                "'model' cannot give gradients, because another node on it (IPAdapter, a patch of its "
                "attention, a quantised loader ...) works on tensors that have none; remove that node, or choose the "
                "method without optimization."
            )
        )


@dataclass(frozen=True)
class Tape:
    """One evaluation of a clip in chunks, and what its gradient needs of it.

    denoise: how a chunk is evaluated; embedding: under which, [1 or n, T, C]; denoised: the clip's denoised latent
    [n, c, h, w], without a graph; before: each chunk with what was carried along to it; last: the last chunk's passage,
    the only one whose graph is kept.
    """

    denoise: DenoiseChunk
    embedding: torch.Tensor
    denoised: torch.Tensor
    before: tuple[tuple[ActiveChunk, dict], ...]
    last: "Passage"


class Passage(NamedTuple):
    """One chunk's way through the model.

    part: its denoised latent [b, c, h, w]; carried: what is carried along after it; leaves: what it found carried, to
    be differentiated by.
    """

    part: torch.Tensor
    carried: dict[Any, torch.Tensor]
    leaves: dict[Any, torch.Tensor]


def evaluate_chunks(
    denoise: DenoiseChunk, chunks: ActiveChunk, embedding: torch.Tensor, with_gradient: bool = True
) -> Tape:
    """Runs the model over a clip, chunk by chunk, and keeps the graph of the last chunk only.

    Args:
        denoise: How a chunk is evaluated.
        chunks: The first chunk of the clip.
        embedding: The conditioning's embedding, [1 or n, T, C].
        with_gradient: Whether the gradient will be asked for.
    """
    embedding = embedding.detach().requires_grad_()
    denoised: torch.Tensor | None = None
    before: list[tuple[ActiveChunk, dict]] = []
    carried: dict[Any, torch.Tensor] = {}
    for active in map(chunks.at, range(len(chunks.chunks))):
        before.append((active, carried))
        with torch.set_grad_enabled(with_gradient and active.is_last):
            passage = pass_chunk(denoise, active, carried, embedding)
        carried = passage.carried
        denoised = active.put(passage.part.detach(), denoised)
    assert denoised is not None  # a clip has at least one chunk
    return Tape(denoise, embedding, denoised, tuple(before), passage)


def pass_chunk(denoise: DenoiseChunk, active: ActiveChunk, before: dict, embedding: torch.Tensor) -> Passage:
    """Evaluates one chunk; before: what earlier chunks carried along."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in before.items()}
    carried = dict(leaves)
    return Passage(denoise(replace(active, carried=carried), embedding), carried, leaves)


def embedding_gradient(tape: Tape, of_denoised: torch.Tensor) -> torch.Tensor:
    """The gradient with respect to a tape's embedding, from that with respect to its denoised latent.

    What chunks carry along for later ones (the hidden states of key frames) is differentiated as well, so that this is
    the gradient of the chunks as they run: the whole clip's wherever their plan is exact. Only one chunk's graph is in
    memory at a time, so each chunk but the last is evaluated again. Uses up the last one's graph: once per tape.
    """
    total = torch.zeros_like(tape.embedding)
    of_carried: dict[Any, torch.Tensor] = {}
    for active, before in reversed(tape.before):
        passage = tape.last if active.is_last else pass_chunk(tape.denoise, active, before, tape.embedding)
        frames = torch.tensor(active.frames[: len(passage.part)], device=of_denoised.device)
        reached = [name for name in of_carried if passage.carried[name].requires_grad]  # read the embedding
        found = tape.denoise.differentiate(
            [passage.part, *(passage.carried[name] for name in reached)],
            [tape.embedding, *passage.leaves.values()],
            [of_denoised[frames], *(of_carried[name] for name in reached)],
        )
        total += 0 if found[0] is None else found[0]
        of_carried = {name: tensor for name, tensor in zip(passage.leaves, found[1:]) if tensor is not None}
    return total
