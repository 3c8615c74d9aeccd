"""The figures of the bench: what is measured for each, and in words what it means."""

from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from unittest import mock

import torch

from fatezero_pack.fatezero.edit.settings import CACHE
from fatezero_pack.fatezero.edit.unet import source_branch
from fatezero_pack.fatezero.network.attention_layers import CROSS, SELF
from fatezero_pack.fatezero.network.unet.layer_sizes import cached_bytes_per_frame
from oracles.stored_maps import TOKENS, map_store_bytes

from .memory import CACHED, FIRST_CACHED, INVERT, REPLAY, SAMPLE, peaks_apart
from .runs import IN_WORDS, ClipRuns, fused_in_every_step, random_model, weightless_unet
from .sizes import SD15, Plan, Size
from .step_profile import seconds_by_group
from .timing import in_turn, ratio

RATIO, BYTES, SECONDS = "ratio", "bytes", "seconds"
ON_CPU = "" if torch.cuda.is_available() else "; on the CPU that holds everything the UNet computes with"


@dataclass(frozen=True)
class Figure:
    """One number.

    unit: RATIO or BYTES; runs: how many measurements the value is the median of, 0 where it is computed; at_most: its
    goal, if there is one; spread: least and greatest of the measurements; series: the same at other
    sizes, where series_unit says so in another unit.
    """

    value: float
    unit: str
    meaning: str
    size: str
    runs: int
    at_most: float | None = None
    spread: tuple[float, float] | None = None
    series: dict[str, float] | None = None
    series_unit: str | None = None


def ratios_to_sampler(plan: Plan) -> dict[str, Figure]:
    """Inversion and edit against ComfyUI's sampler doing as many UNet rows."""
    runs = ClipRuns(plan.ratios)
    runs.sample(1)
    times = in_turn(
        {
            "1 row": lambda: runs.sample(1),
            "invert": runs.invert,
            "2 rows": lambda: runs.sample(2),
            "edit": lambda: runs.edit(fused_in_every_step()),
            "plain": lambda: runs.sample(2, runs.model),
            "masked edit": lambda: runs.edit(fused_in_every_step(**IN_WORDS)),
        },
        plan.repeats,
    )

    def figure(ours, theirs, meaning, at_most=None):
        value, spread = ratio([times[ours]], [times[name] for name in theirs])
        return Figure(value, RATIO, meaning, str(plan.ratios), plan.repeats, at_most, spread)

    return {
        "invert_ratio": figure(
            "invert",
            ["1 row"],
            "time of our inversion / time of ComfyUI's euler with 1 UNet row per frame, on a "
            "model whose self-attention spans the same key frames",
            1.03,
        ),
        "edit_ratio": figure(
            "edit",
            ["1 row", "2 rows"],
            "time of our edit, replay and fusion in every step / time of ComfyUI's euler "
            "with 3 UNet rows per frame (1 + 2), on a model whose self-attention spans the same key frames",
            1.10,
        ),
        "edit_masked_ratio": figure(
            "masked edit",
            ["1 row", "2 rows"],
            "edit_ratio with self-attention blended inside the words' mask: a "
            "second attention call in every self-attention layer",
        ),
        "edit_over_guided_sampler": figure(
            "edit", ["plain"], "time of our edit / time of ComfyUI's guided euler (2 rows per frame) on the plain model"
        ),
        "key_frames_ratio": figure(
            "2 rows",
            ["plain"],
            "time of ComfyUI's guided euler with self-attention that spans current and middle "
            "frame / the same on the plain model: the method's wider attention, before anything else of ours",
        ),
    }


def against_frames(plan: Plan) -> dict[str, Figure]:
    """Time and peak memory against the length of the clip."""
    clips = plan.clips()
    peaks = [peaks_apart(clip, [INVERT, REPLAY]) for clip in clips]
    model = random_model(plan.clip.unet)

    def invert_and_edit(runs):
        runs.invert()
        runs.edit(fused_in_every_step())

    times = in_turn({clip: partial(invert_and_edit, ClipRuns(clip, model)) for clip in clips}, plan.clip_repeats)
    kind, name = largest_memory()
    first, series = clips[0], {f"{clip.frames} frames": median(times[clip]) for clip in clips}
    figures = {}
    for clip, peak in list(zip(clips, peaks))[1:]:
        longer = clip.frames / first.frames
        value, spread = ratio([times[clip]], [times[first]])
        figures[f"frames_{clip.frames}_over_{first.frames}"] = Figure(
            value / longer,
            RATIO,
            f"time of inversion and edit with {clip.frames} frames / time with {first.frames} "
            f"frames / {longer:g} (1.00: linear)",
            str(clip),
            plan.clip_repeats,
            1.05,
            tuple(end / longer for end in spread),
            series if clip is clips[-1] else None,
            SECONDS,
        )
        figures[f"memory_{clip.frames}_over_{first.frames}"] = Figure(
            peak[REPLAY][kind] / peaks[0][REPLAY][kind],
            RATIO,
            f"peak {name} of an edit by replay beyond the model "
            f"with {clip.frames} frames / with {first.frames} frames (1.00: flat)",
            str(clip),
            1,
            1.05,
        )
    figures["ram_invert_bytes"] = peak_figure(
        clips, peaks, "ram", INVERT, f"peak RAM of an inversion beyond the model{ON_CPU}"
    )
    figures["ram_replay_bytes"] = peak_figure(
        clips, peaks, "ram", REPLAY, f"peak RAM of an edit by replay beyond the model{ON_CPU}", 1e9
    )
    if torch.cuda.is_available():
        figures["vram_invert_bytes"] = peak_figure(
            clips, peaks, "vram", INVERT, "peak VRAM of an inversion beyond the model", 6e9
        )
        figures["vram_replay_bytes"] = peak_figure(
            clips, peaks, "vram", REPLAY, "peak VRAM of an edit by replay beyond the model", 6e9
        )
    return figures


def peak_figure(clips, peaks, kind: str, work: str, meaning: str, at_most: float | None = None) -> Figure:
    """The bytes of the last clip, and of all as a series. kind: "ram", "vram" or "cache"."""
    series = {f"{clip.frames} frames": peak[work][kind] for clip, peak in zip(clips, peaks)}
    return Figure(
        peaks[-1][work][kind], BYTES, meaning, str(clips[-1]), 1, at_most, series=series if len(series) > 1 else None
    )


def largest_memory() -> tuple[str, str]:
    """Where the UNet's activations are, as a key and in words."""
    return ("vram", "VRAM") if torch.cuda.is_available() else ("ram", "RAM")


def with_cache(plan: Plan) -> dict[str, Figure]:
    """Time and peak memory of edits that keep the source's attention for the next."""
    peaks = [peaks_apart(clip, [INVERT, REPLAY, FIRST_CACHED, CACHED]) for clip in plan.cached]
    size = plan.cached[-1]
    runs = ClipRuns(size)
    runs.invert()

    def fill():
        runs.source.cache.clear()
        runs.edit(fused_in_every_step(CACHE))

    times = in_turn(
        {
            "replay": lambda: runs.edit(fused_in_every_step()),
            "fill": fill,
            "read": lambda: runs.edit(fused_in_every_step(CACHE)),
        },
        plan.clip_repeats,
    )

    def figure(work, meaning):
        value, spread = ratio([times[work]], [times["replay"]])
        return Figure(
            value, RATIO, f"time of {meaning} / time of the edit by replay", str(size), plan.clip_repeats, None, spread
        )

    figures = {
        "ram_cache_bytes": peak_figure(
            plan.cached,
            peaks,
            "ram",
            CACHED,
            "peak RAM of a later edit that reads the source's attention from the "
            f"cache, beyond the model, cache included{ON_CPU}",
        ),
        "ram_filling_cache_bytes": peak_figure(
            plan.cached, peaks, "ram", FIRST_CACHED, "ram_cache_bytes of the first edit, which fills the cache"
        ),
        "cache_bytes": peak_figure(
            plan.cached, peaks, "cache", CACHED, "what the cache of the source's attention holds, every step fused"
        ),
        "cached_edit_ratio": figure("read", "a later edit that reads the source's attention from the cache"),
        "filling_cache_ratio": figure("fill", "the first edit, which fills the cache"),
    }
    if torch.cuda.is_available():
        figures["vram_cache_bytes"] = peak_figure(plan.cached, peaks, "vram", CACHED, "ram_cache_bytes in VRAM")
    return figures


def against_resolution(plan: Plan) -> dict[str, Figure]:
    """Time and peak memory against the size of the frames."""
    clips = plan.resolution_clips()
    peaks = [peaks_apart(clip, [SAMPLE, INVERT, REPLAY]) for clip in clips]
    model = random_model(plan.resolution_clip.unet)
    works = {}
    for clip in clips:
        runs = ClipRuns(clip, model)
        runs.invert()
        works |= {
            (clip, "1 row"): partial(runs.sample, 1),
            (clip, "2 rows"): partial(runs.sample, 2),
            (clip, "edit"): partial(runs.edit, fused_in_every_step()),
        }
    times = in_turn(works, plan.clip_repeats)
    kind, name = largest_memory()
    first, last = clips[0], clips[-1]
    larger = f"{last.pixels}_over_{first.pixels}"
    against = f"at {last.pixels}x{last.pixels} / at {first.pixels}x{first.pixels}"

    def series(value):
        return {f"{clip.pixels}x{clip.pixels}": value(clip, peak) for clip, peak in zip(clips, peaks)}

    def time_figure(ours, theirs, meaning, values, unit):
        value, spread = ratio(ours, theirs)
        return Figure(value, RATIO, meaning, str(last), plan.clip_repeats, None, spread, series(values), unit)

    def memory_figure(work, meaning):
        return Figure(
            peaks[-1][work][kind] / peaks[0][work][kind],
            RATIO,
            meaning,
            str(last),
            1,
            series=series(lambda _, peak: peak[work][kind]),
            series_unit=BYTES,
        )

    return {
        f"edit_time_{larger}": time_figure(
            [times[last, "edit"]],
            [times[first, "edit"]],
            f"time of an edit by replay {against}, {(last.pixels / first.pixels) ** 2:.3g} times the pixels",
            lambda clip, _: median(times[clip, "edit"]),
            SECONDS,
        ),
        "edit_ratio_largest_frames": time_figure(
            [times[last, "edit"]],
            [times[last, "1 row"], times[last, "2 rows"]],
            "edit_ratio at the largest frames",
            lambda clip, _: ratio([times[clip, "edit"]], [times[clip, "1 row"], times[clip, "2 rows"]])[0],
            RATIO,
        ),
        f"edit_memory_{larger}": memory_figure(REPLAY, f"peak {name} of an edit by replay beyond the model {against}"),
        f"sampler_memory_{larger}": memory_figure(
            SAMPLE, f"peak {name} of ComfyUI's guided euler, whole clip at once, beyond the model {against}"
        ),
    }


def against_stored_maps(plan: Plan) -> dict[str, Figure]:
    """Bytes and time of the same edit with stored softmax maps."""
    size = str(plan.maps)
    runs = ClipRuns(plan.maps)
    runs.sample(1)

    def ours():
        runs.invert()
        runs.edit(fused_in_every_step())

    times = in_turn({"maps": runs.edit_with_stored_maps, "ours": ours}, plan.repeats)
    value, spread = ratio([times["maps"]], [times["ours"]])
    return {
        "map_store_bytes": Figure(
            runs.store.bytes,
            BYTES,
            "softmax maps that FateZero as the paper writes it stores, all layers and steps, "
            "in the model's type: counted after running it",
            size,
            1,
        ),
        "map_store_time_ratio": Figure(
            value,
            RATIO,
            "time of inversion and edit with stored maps / time of our inversion and edit by replay "
            "(above 1: ours is faster)",
            size,
            plan.repeats,
            None,
            spread,
        ),
        "source_run_bytes": Figure(runs.source_bytes(), BYTES, "what our inversion keeps for the same edit", size, 1),
        **computed_for_sd15(),
    }


def computed_for_sd15() -> dict[str, Figure]:
    """What stored maps and our source run take at the paper's size, from the shapes."""
    size = Size(SD15, 512, 8, 50)
    unet = weightless_unet(size.unet)
    height, width = size.latent
    trajectory, word_maps = (size.steps + 1) * 4 * height * width, size.steps * TOKENS * (height // 4) * (width // 4)
    half, single = 2, 4  # bytes of a value

    def figure(value, meaning):
        return Figure(value, BYTES, f"{meaning}: computed from the shapes, not run", str(size), 0)

    return {
        "map_store_bytes_sd15_computed": figure(
            map_store_bytes(unet, size.latent, size.frames, size.steps, half, finest=32),
            "softmax maps that FateZero stores in float16, of the layers up to 32x32, as the official code",
        ),
        "map_store_bytes_sd15_all_layers_computed": figure(
            map_store_bytes(unet, size.latent, size.frames, size.steps, half),
            "the same with the 64x64 layers, which ours fuses too",
        ),
        "cache_bytes_sd15_computed": figure(
            size.frames
            * size.steps
            * cached_bytes_per_frame(unet, height, width, {SELF, CROSS}, finest_layers=True, dtype=torch.float16),
            "what our cache of the source's attention holds for the same edit, in float16, all layers",
        ),
        "source_run_bytes_sd15_computed": figure(
            single * size.frames * (trajectory + word_maps),
            "what our inversion keeps for the same edit, with a source prompt of the greatest length",
        ),
    }


def joined_replay(plan: Plan) -> dict[str, Figure]:
    """Replay as rows of the edit's own batch, as it is, against replay in a call of its own."""
    results = {}
    for size in plan.joined:
        runs = ClipRuns(size)
        runs.invert()

        def separate(runs=runs):
            with mock.patch.object(source_branch, "can_join", return_value=False):
                runs.edit(fused_in_every_step())

        times = in_turn(
            {"joined": lambda runs=runs: runs.edit(fused_in_every_step()), "separate": separate}, plan.repeats
        )
        results[str(size)] = ratio([times["joined"]], [times["separate"]])
    size, (value, spread) = list(results.items())[-1]
    return {
        "replay_joined_over_separate": Figure(
            value,
            RATIO,
            "time of an edit whose source rows run in the edit's own UNet calls / in calls of their own "
            "(below 1: joined is faster)",
            size,
            plan.repeats,
            None,
            spread,
            {size: value for size, (value, _) in results.items()},
        )
    }


def profile(plan: Plan) -> dict[str, dict[str, float]]:
    """Seconds by group of operators, of ComfyUI's sampler and of ours doing the same rows."""
    runs = ClipRuns(replace(plan.profile, steps=1))
    runs.sample(1)
    columns = {
        "sampler, 1 row": lambda: runs.sample(1),
        "inversion": runs.invert,
        "sampler, 1 + 2 rows": lambda: (runs.sample(1), runs.sample(2)),
        "edit": lambda: runs.edit(fused_in_every_step()),
    }
    return {name: seconds_by_group(function) for name, function in columns.items()}
