"""The bench on the tiniest sizes: every figure is there and says what it is. No time is asserted."""

import json
import re
from functools import lru_cache

import pytest

from benchmarks.cost import figures, kernels, memory, report
from benchmarks.cost.__main__ import measure
from benchmarks.cost.figures import BYTES, RATIO, Figure
from benchmarks.cost.runs import ClipRuns, random_model
from benchmarks.cost.sizes import SD15, TINIEST, TINY, UNETS, Size, plan_for
from benchmarks.cost.timing import in_turn, ratio
from oracles.stored_maps import map_store_bytes

NAMES = {
    "invert_ratio",
    "edit_ratio",
    "edit_masked_ratio",
    "edit_over_guided_sampler",
    "key_frames_ratio",
    "frames_64_over_8",
    "memory_64_over_8",
    "ram_invert_bytes",
    "ram_replay_bytes",
    "ram_cache_bytes",
    "ram_filling_cache_bytes",
    "cache_bytes",
    "cache_bytes_sd15_computed",
    "cached_edit_ratio",
    "filling_cache_ratio",
    "edit_time_128_over_64",
    "edit_memory_128_over_64",
    "sampler_memory_128_over_64",
    "edit_ratio_largest_frames",
    "map_store_bytes",
    "map_store_time_ratio",
    "source_run_bytes",
    "map_store_bytes_sd15_computed",
    "map_store_bytes_sd15_all_layers_computed",
    "source_run_bytes_sd15_computed",
    "replay_joined_over_separate",
    "tuning_step_ratio",
    "tuning_step_with_convolutions_ratio",
    "tuning_step_ratio_with_key_frames",
    "tuning_step_with_convolutions_ratio_with_key_frames",
    "tuning_bytes_sd15_computed",
    "tuning_bytes_checkpointed_sd15_computed",
}


@lru_cache(maxsize=1)
def tiniest():
    """All figures and the profile, with the processes of their own played by this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "peaks_apart", memory.peaks)
        return measure(TINIEST)


@pytest.mark.slow
def test_every_figure_has_a_value_a_meaning_and_its_conditions():
    measured, profile = tiniest()
    written = json.loads(json.dumps(report.results(measured, profile, report.machine(), short=True)))
    assert written["figures"].keys() >= NAMES
    for name, figure in written["figures"].items():
        assert figure["value"] > 0 and len(figure["meaning"].split()) > 3, name
        assert "UNet" in figure["size"] and "torch" in figure["machine"] and figure["runs"] >= 0, name
    assert written["figures"]["edit_ratio"]["at_most"] == 1.10
    assert written["machine"]["comfyui"] == "0.30.0" and written["short"] is True


@pytest.mark.slow
def test_the_profile_accounts_for_convolution_attention_and_copies():
    _, profile = tiniest()
    for column in profile.values():
        assert min(column[group] for group in ("convolution", "attention", "linear layers", "norms")) > 0, column


@pytest.mark.slow
def test_the_table_and_the_section_show_every_figure():
    measured, profile = tiniest()
    table = report.terminal_table(measured)
    section = report.section(report.results(measured, profile, report.machine(), short=True))
    for name in measured:
        assert re.search(rf"^{name} +\d", table, re.MULTILINE), name
        assert re.search(rf"^\| {name} \| [\d.]+", section, re.MULTILINE), name
    assert "`python dev.py bench --short`" in section and report.BEGIN not in section


def test_a_stage_measured_again_leaves_the_other_figures_and_their_dates():
    both = {name: Figure(value, RATIO, "a", "b", 1) for name, value in (("kept", 1.0), ("renewed", 2.0))}
    earlier = {
        **report.results(both, {"column": {"attention": 1.0}}, report.machine(), short=False),
        "date": "2026-01-01",
    }
    for entry in earlier["figures"].values():
        entry["date"] = "2026-01-01"
    again = report.results({"renewed": Figure(3.0, RATIO, "a", "b", 1)}, {}, report.machine(), short=False)
    results = report.renewed(earlier, again)
    assert results["figures"]["kept"]["value"] == 1.0 and results["figures"]["renewed"]["value"] == 3.0
    assert results["profile_seconds"] == {"column": {"attention": 1.0}} and results["date"] == "2026-01-01"
    assert report.another_date(results, "kept") == ""
    assert report.another_date(results, "renewed") == f"; {again['date']}"


def test_a_missed_goal_is_told():
    figure = Figure(1.2, RATIO, "", "", 3, 1.1, (1.1, 1.3))
    assert report.goal_in_words(figure) == "at most 1.10: missed"
    assert report.goal_in_words(Figure(5e8, BYTES, "", "", 1, 1e9)) == "at most 1.0 GB"
    assert report.measured_in_words(figure) == "; median of 3, 1.10 to 1.30"


def test_only_the_bench_s_own_section_is_replaced():
    text = f"# Results\n\nby hand\n\n{report.BEGIN}\nold\n{report.END}\n\n## Also by hand\n"
    new = report.replace_section(text, "## Cost\n\nnew")
    assert new == f"# Results\n\nby hand\n\n{report.BEGIN}\n## Cost\n\nnew\n{report.END}\n\n## Also by hand\n"
    with pytest.raises(ValueError, match="lacks the marks"):
        report.replace_section("# Results\n", "new")
    results = (memory.ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert "new" in report.replace_section(results, "new")


def test_stored_maps_are_counted_and_computed_alike():
    size = Size(TINY, 128, 3, 2)
    runs = ClipRuns(size)
    runs.edit_with_stored_maps()
    queries = [16 * 16] * 3 + [8 * 8] * 4  # of the tiny UNet's transformers
    maps = sum(3 * 2 * tokens * (2 * tokens + 77) for tokens in queries)  # frames, heads, queries, keys
    unet = runs.model.model.diffusion_model
    assert runs.store.bytes == maps * 2 * 4 == map_store_bytes(unet, (16, 16), 3, 2, 4)  # steps, bytes of a float32
    kept = sum(3 * 2 * tokens * (2 * tokens + 77) for tokens in queries if tokens == 64)
    assert map_store_bytes(unet, (16, 16), 3, 2, 4, finest=8) == kept * 2 * 4


def test_the_papers_maps_are_computed_from_sd15_s_layers():
    """8 frames of 512x512, 8 heads, 50 steps, float16; at 64x64, 32x32 and 16x16 five transformers each, at 8x8 one."""

    def maps(side):
        return 8 * 8 * side**2 * (2 * side**2 + 77) * 50 * 2

    computed = figures.computed_for_sd15()
    official = 5 * maps(32) + 5 * maps(16) + maps(8)
    assert computed["map_store_bytes_sd15_computed"].value == official
    assert computed["map_store_bytes_sd15_all_layers_computed"].value == official + 5 * maps(64)


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own():
    size = Size(TINY, 128, 2, 1)
    peaks = memory.peaks_apart(size, [memory.INVERT, memory.CACHED])
    assert peaks.keys() == {memory.INVERT, memory.CACHED}
    assert all(1e5 < peak["ram"] < 1e9 and peak["vram"] >= 0 for peak in peaks.values())
    assert peaks[memory.INVERT]["cache"] == 0 < peaks[memory.CACHED]["cache"] < peaks[memory.CACHED]["ram"]


def test_runs_go_in_turn_and_are_compared_within_a_round():
    order = []
    times = in_turn({name: lambda name=name: order.append(name) for name in "ab"}, 3)
    assert order == list("ababab") and [len(taken) for taken in times.values()] == [3, 3]
    assert ratio([[2.0, 4.0, 40.0]], [[1.0, 1.0, 1.0], [1.0, 3.0, 4.0]]) == (1.0, (1.0, 8.0))


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("short", [False, True])
def test_every_plan_has_the_named_lengths_and_a_gpu_gets_the_real_size(on_gpu, short):
    plan = plan_for(on_gpu, short)
    assert {8, 64} <= set(plan.frame_counts) and plan.ratios.unet == SD15
    assert all(size.unet in UNETS for size in (plan.clip, plan.maps, plan.profile, *plan.joined, *plan.cached))
    if on_gpu:
        assert {plan.clip.unet, plan.clip.pixels, max(plan.frame_counts)} == {SD15, 512, 128}


@pytest.mark.slow
def test_other_kernels_are_those_that_run(monkeypatch, capsys):
    """On a GPU; here an attention that is always there, and a compiler that leaves everything as it is: a real one
    takes 20 seconds to read the tiny UNet."""
    from comfy.ldm.modules.attention import attention_sub_quad

    called = []

    def counted(*arguments, **options):
        called.append(len(arguments))
        return attention_sub_quad(*arguments, **options)

    def broken(*_, **__):
        raise RuntimeError("not for this device")

    installed = {"sage": counted, "flash": broken}
    monkeypatch.setattr(kernels, "get_attention_function", lambda name, default: installed.get(name))
    monkeypatch.setattr(kernels, "compiled", lambda model: model.clone())
    model = random_model(TINY)
    assert kernels.other_kernels(TINIEST) == {} and not called, "not on the CPU"
    others = kernels.variants(model)
    found = kernels.compared(Size(TINY, 64, 2, 1), model, others, 1)
    assert list(others) == ["sage attention", "flash attention", kernels.COMPILED]
    assert "flash attention does not run here: not for this device" in capsys.readouterr().out
    assert list(found) == ["sage_attention_ratio", "torch_compile_ratio"] and called
    assert all(figure.unit == RATIO and figure.value > 0 for figure in found.values())
