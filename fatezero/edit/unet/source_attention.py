"""Where an edit's source attention comes from: the source's rows run again (replay), or what an earlier edit has kept.

`plan_source_attention` counts what the edit asks for, chooses by the settings and the memory there is, and `str` of the
plan puts it into words.
"""

from dataclasses import dataclass, replace

import torch

from ...network.attention_layers import CROSS, SELF
from ...network.hooks import has_hooks
from ...network.key_frames import key_frame_indices
from ...network.unet.inflation import KeyFramePatch, inflation_of
from ...network.unet.layer_sizes import cached_bytes_per_frame, read_bytes_per_frame
from ...prompts.prompt_edit import PromptEdit
from ...readable import readable
from ...refusal import Refusal
from ...source.attention_cache import CacheBytes, free_budget, plan_cache
from ...source.source_run import SourceRun
from ..settings import AUTO_CACHE, CACHE, REPLAY, BlendSettings, fitting_model
from .source_branch import SourceBranch, source_branch
from .source_cache import take_up_kept
from .step import fused_kinds, fuses_finest

AUTO_SHARE = 0.25  # `auto` keeps what takes at most this share of the RAM that a cache may have: surely no burden


@dataclass(frozen=True)
class AttentionDemand:
    """What an edit asks of its source's attention.

    chunk_bytes: for each step that fuses some, what a cache would hold of it; read_bytes: queries and keys of one frame
    that are held while a step is fused; extra_time: the time of the source's rows, as a share of guided sampling's.
    """

    chunk_bytes: tuple[int, ...]
    read_bytes: int
    extra_time: float


@readable
@dataclass(frozen=True)
class AttentionPlan:
    """How a run gets its source attention, decided before it starts.

    budget: what the cache may add in RAM and on disk, None where nothing is read from it or kept; fills: what the run
    adds, None where it adds nothing; is_held: whether the cache holds all that the run needs.
    """

    demand: AttentionDemand
    budget: CacheBytes | None = None
    fills: CacheBytes | None = None
    is_held: bool = False

    def __str__(self) -> str:
        """The plan in words, with its price."""
        if self.is_held:
            return "Time: as plain sampling; the clip's attention is kept from an earlier edit."
        longer = f"{self.demand.extra_time:.0%}"
        if self.fills is None:
            return f"Time: up to {longer} more than plain sampling, for the clip's attention."
        return (
            f"Time: up to {longer} more than plain sampling, for the clip's attention, this time.\n"
            f"Kept for the next edit: {self.fills}."
        )


def plan_source_attention(
    model,
    source: SourceRun,
    edit: PromptEdit,
    settings: BlendSettings,
    is_hooked: bool = False,
    run_begins: bool = False,
) -> AttentionPlan:
    """Chooses between replay and cache, by the memory there is now.

    Args:
        model: ModelPatcher that the edit is sampled with.
        source: The inverted clip, with what its cache holds.
        edit: What changes in the prompt.
        settings: How the edit is fused.
        is_hooked: Whether the edit's conditionings have hooks.
        run_begins: Whether the plan is carried out now; then the cache is emptied of what another model has left.

    Raises:
        Refusal: A cache was asked for and is not available.
    """
    settings = fitting_model(settings, model)
    branch = source_branch(source, edit, settings)
    demand = attention_demand(model, source, edit, settings, branch)
    hindrance = branch.why_not_cached or temporal_fusion(settings) or other_patches(model)
    if is_hooked or has_hooks(options for _, options in source.conditioning):
        hindrance = hindrance or "a conditioning has hooks (Create Hook LoRA ...), which change the model's weights"
    may_cache = not hindrance and settings.source_attention != REPLAY
    held = take_up_kept(source, model, run_begins) if may_cache else 0
    return choose(demand, settings.source_attention, hindrance, held)


def attention_demand(
    model, source: SourceRun, edit: PromptEdit, settings: BlendSettings, branch: SourceBranch
) -> AttentionDemand:
    """Counts bytes and rows; nothing is run. Arguments as of `plan_source_attention`, with the run's kind of branch."""
    network, dtype = model.model.diffusion_model, model.model.get_dtype_inference()
    height, width = source.trajectory.shape[-2:]
    inflation = inflation_of(model)
    fused = [
        (fused_kinds(edit, settings, step, source.steps), fuses_finest(settings, step, source.steps))
        for step in range(source.steps)
    ]
    rows = branch.rows_per_frame * sum(map(branch.reads_at, range(source.steps)))
    return AttentionDemand(
        chunk_bytes=tuple(
            source.frames * cached_bytes_per_frame(network, height, width, kinds, finest, dtype)
            for kinds, finest in fused
            if kinds
        ),
        read_bytes=read_bytes_per_frame(
            network,
            height,
            width,
            {SELF, CROSS},
            settings.finest_until > 0,
            dtype,
            key_frame_indices(inflation.key_frames, source.frames).shape[1] if inflation else 1,
            inflation.minimum_width if inflation else 0,
            edit.source.length,
        ),
        extra_time=rows / source.steps / 2,  # guided sampling has two rows
    )


def choose(demand: AttentionDemand, wanted: str, hindrance: str | None, held: int) -> AttentionPlan:
    """Replay or cache.

    Args:
        demand: What the edit asks for.
        wanted: REPLAY, CACHE or AUTO_CACHE.
        hindrance: What stands against a cache, in words, or None.
        held: Bytes that the cache holds already.

    Raises:
        Refusal: A cache is wanted and there is a hindrance, or no room.
    """
    if wanted == CACHE and hindrance:
        raise Refusal(f"'keep attention' is cache, but {hindrance}; choose replay.")
    if wanted == REPLAY or hindrance or not demand.chunk_bytes:
        return AttentionPlan(demand)
    budget = replace(free_budget(torch.device("cpu")), vram=0)
    if wanted == AUTO_CACHE:
        budget = CacheBytes(ram=int(AUTO_SHARE * budget.ram))
    try:
        planned = plan_cache(demand.chunk_bytes, replace(budget, ram=budget.ram + held))
    except ValueError:
        if wanted == CACHE:
            raise
        return AttentionPlan(demand, CacheBytes() if held else None)  # what is held already is read
    if held >= planned.total:
        return AttentionPlan(demand, budget, is_held=True)
    return AttentionPlan(demand, budget, planned)


def temporal_fusion(settings: BlendSettings) -> str | None:
    """What of the settings stands against a cache, in words, or None."""
    window = settings.temporal_window
    return "temporal attention is fused, which no cache keeps" if window.end > window.start else None


def other_patches(model) -> str | None:
    """What other nodes on a model stand against a cache, in words, or None."""
    options = model.model_options.get("transformer_options", {})
    patches = options.get("patches", {})
    others = [patch for patch in patches.get("attn1_patch", []) if not isinstance(patch, KeyFramePatch)]
    if others or patches.get("attn2_patch") or options.get("patches_replace", {}).get(SELF):
        return "another node on the model changes what its attention layers are given (IPAdapter, HyperTile ...)"
    return None
