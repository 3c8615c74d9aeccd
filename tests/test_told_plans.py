"""What a node tells is what runs: how the clip is cut, by the memory there is and after memory ran out."""

import re
import sys
from types import SimpleNamespace

import comfy.model_management
import pytest
import torch

from edit_cases import clip_latent, conditioning, free_memory, inverted, negative, prompt_edit, sampled, small_model
from fatezero_pack.fatezero.compat import show_text
from fatezero_pack.fatezero.network.frame_chunks import active_chunk
from fatezero_pack.fatezero.network.key_frames import parse_key_frames
from fatezero_pack.fatezero.network.unet import chunk_size
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.source.schedule import OFFICIAL
from fatezero_pack.nodes import attention_blend, blend_sampler, invert
from fatezero_pack.nodes import inflate as inflate_node
from fatezero_pack.nodes.edit_report import EditReport

FRAMES = 6
EDIT = prompt_edit()
WHOLE = "all frames at once"
NORMS = "the norms across frames are those of"


@pytest.fixture
def shown(monkeypatch):
    """What nodes show, in turn."""
    texts = []
    for node in (attention_blend, blend_sampler, inflate_node, invert):
        monkeypatch.setattr(node, "show_text", lambda node, text: texts.append(text))
    return texts


@pytest.fixture
def free_frames(monkeypatch):
    """free_frames(n): memory for so many frames in an evaluation, and no more."""

    def fake(frames: float):
        network = small_model().model
        needed = chunk_size.SAFETY * network.memory_required([1, 4, 16, 16])
        monkeypatch.setattr(chunk_size, "AUTOMATIC_CELLS", FRAMES * 16 * 16)
        monkeypatch.setattr(comfy.model_management, "get_free_memory", free_memory(frames * needed))

    return fake


def watched(model, fails=lambda frames: False):
    """A clone of a model that notes how clips go through it, as (chunks, most frames), and fails on demand."""
    seen = []

    def look(query, key, value, extra):
        chunks = active_chunk(extra).chunks
        frames = max(len(chunk.frames) for chunk in chunks)
        if fails(frames):
            raise torch.OutOfMemoryError("CUDA out of memory")
        if not seen or seen[-1] != (len(chunks), frames):
            seen.append((len(chunks), frames))
        return query, key, value

    model = model.clone()
    model.set_model_attn2_patch(look)
    return model, seen


def cut(text: str) -> tuple[int, int]:
    """The chunks and the most frames that a text tells first."""
    first = re.search(rf"{WHOLE}|(\d+) chunks of up to (\d+) frame", text)
    return (1, FRAMES) if first[0] == WHOLE else (int(first[1]), int(first[2]))


def normalised(entries: str = "current, middle"):
    return inflate(small_model(), Inflation(parse_key_frames(entries), normalise_across_frames=True))


def run_invert(model):
    return invert.Invert.execute(
        model, conditioning(EDIT.source), {"samples": clip_latent(FRAMES)}, steps=2, schedule=OFFICIAL
    ).result[-1]


def run_blend_sampler(model):
    source = inverted(sampled_in_chunks(normalised(), 100), EDIT, clip_latent(FRAMES), steps=2)
    inputs = (model, source, EDIT, conditioning(EDIT.target), negative(), 5.0, {"preset": "style"})
    (latent,) = blend_sampler.AttentionBlendSampler.execute(*inputs).result
    return latent


def run_attention_blend(model):
    source = inverted(sampled_in_chunks(normalised(), 100), EDIT, clip_latent(FRAMES), steps=2)
    blended, _ = attention_blend.AttentionBlend.execute(model, source, EDIT, {"preset": "style"}).result
    sampled(blended, source, EDIT)
    return blended


def run_plain(model):
    source = inverted(sampled_in_chunks(normalised(), 100), EDIT, clip_latent(FRAMES), steps=2)
    inflation = model.model_options["transformer_options"]["fatezero_inflation"]
    (inflated,) = inflate_node.InflateUNet.execute(
        model, "custom", 0, inflation.normalise_across_frames, ", ".join(inflation.key_frames)
    ).result
    sampled(inflated, source, EDIT)
    return inflated


RUNS = [run_invert, run_blend_sampler, run_attention_blend, run_plain]


@pytest.mark.parametrize("run", RUNS)
def test_what_memory_forces_is_told_before_the_run_and_is_what_runs(run, shown, free_frames):
    model, seen = watched(normalised())
    free_frames(3.5)
    run(model)
    assert len(shown) == 1 and len(seen) == 1  # told once, and kept to
    assert cut(shown[0]) == seen[0] and seen[0][0] > 1
    assert "since memory is short, not quite as all at once: " in shown[0] and NORMS in shown[0]


@pytest.mark.parametrize("run", RUNS)
def test_with_memory_enough_all_frames_go_at_once(run, shown, free_frames):
    model, seen = watched(normalised())
    free_frames(1e6)
    run(model)
    assert seen == [(1, FRAMES)] and len(shown) == 1 and WHOLE in shown[0].splitlines()


@pytest.mark.parametrize("run", RUNS)
def test_what_running_out_of_memory_changes_is_told_after_it(run, shown):
    model, seen = watched(normalised(), fails=lambda frames: frames > 3)
    run(model)
    assert WHOLE in shown[0] and len(shown) == 2
    assert cut(shown[-1]) == seen[-1] == (2, 3)
    assert NORMS in shown[-1] and f"memory ran out on the way; until then: {WHOLE}" in shown[-1]


def test_the_plan_is_told_anew_where_memory_has_changed_since_the_node(shown, free_frames):
    """Attention Blend tells a plan; the sampler may come later, and once more."""
    source = inverted(sampled_in_chunks(normalised(), 100), EDIT, clip_latent(FRAMES), steps=2)
    model, seen = watched(normalised())
    free_frames(1e6)
    blended, _ = attention_blend.AttentionBlend.execute(model, source, EDIT, {"preset": "style"}).result
    free_frames(3.5)
    sampled(blended, source, EDIT)
    assert [cut(text) for text in shown] == [(1, FRAMES), seen[0]] and seen[0][0] > 1
    free_frames(1e6)
    sampled(blended, source, EDIT)
    assert cut(shown[-1]) == seen[-1] == (1, FRAMES)


def test_what_a_sampler_has_told_is_in_its_result(shown):
    """What is told on the way is gone after undo, and never seen inside a subgraph."""
    source = inverted(normalised(), EDIT, clip_latent(FRAMES), steps=2)
    inputs = (normalised(), source, EDIT, conditioning(EDIT.target), negative(), 5.0, {"preset": "style"})
    result = blend_sampler.AttentionBlendSampler.execute(*inputs)
    assert result.ui.as_dict()["text"] == (shown[-1],) and WHOLE in shown[-1]


def test_texts_go_to_the_page_that_runs(monkeypatch):
    sent = []
    running = SimpleNamespace(client_id="page", send_progress_text=lambda *text: sent.append(text))
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=running)))
    show_text(SimpleNamespace(hidden=SimpleNamespace(unique_id="3")), "4 frames")
    assert sent == [("4 frames", "3", "page")]


def test_reports_tell_how_it_ran(shown):
    """Inversion in its own report, an edit in Edit Report, by its latent or its model."""
    clip = torch.rand(2, 16, 16, 3)
    model, _ = watched(normalised(), fails=lambda frames: frames > 3)
    report = run_invert(model)
    assert "2 chunks of up to 3 frames since memory is short, not quite as all at once: " in report
    assert "memory ran out on the way" in report
    for run in (run_blend_sampler, run_attention_blend):
        report, _ = EditReport.execute(clip, clip, made_by=run(model)).result
        assert "how the edit ran: Time: up to " in report and "memory ran out on the way" in report
    source = inverted(sampled_in_chunks(normalised(), 100), EDIT, clip_latent(FRAMES), steps=2)
    blended, _ = attention_blend.AttentionBlend.execute(normalised(), source, EDIT, {"preset": "style"}).result
    report, _ = EditReport.execute(clip, clip, made_by=blended).result
    assert "memory ran out" not in report


def test_memory_to_come_counts_what_comfyui_can_move_away(monkeypatch):
    class Loaded:
        def __init__(self, device, size):
            self.device, self.model, self.size = torch.device(device), object(), size

        def model_loaded_memory(self):
            return self.size

    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device: 10)
    monkeypatch.setattr(
        comfy.model_management, "current_loaded_models", [Loaded("cuda:0", 5), Loaded("cpu", 7), Loaded("cuda:0", 1)]
    )
    assert chunk_size.memory_to_come(torch.device("cuda:0")) == 16
    assert chunk_size.memory_to_come(torch.device("cpu")) == 10


# Who speaks.


def test_the_node_that_samples_signs():
    model, other = normalised(), conditioning(prompt_edit(target="a blue jeep on a road").target)
    source = inverted(model, EDIT, clip_latent(2), steps=2)
    sampler = blend_sampler.AttentionBlendSampler
    with pytest.raises(ValueError, match="^Attention Blend Sampler: the sampler's positive says "):
        sampler.execute(model, source, EDIT, other, negative(), 5.0, {"preset": "style"})
    blended, _ = attention_blend.AttentionBlend.execute(model, source, EDIT, {"preset": "style"}).result
    with pytest.raises(ValueError, match="^Attention Blend: the sampler's positive says "):
        sampled(blended, source, EDIT, positive=other)


def merging(model):
    """A model on which another node changes the batch before the key frames are gathered."""
    model = model.clone()
    patches = model.model_options["transformer_options"].setdefault("patches", {})
    patches["attn1_patch"] = [lambda query, key, value, extra: (query[:1], key[:1], value[:1])]
    return model


def test_what_is_refused_inside_the_model_is_signed_by_whose_run_it_is():
    source = inverted(inflate(small_model(), Inflation(("current",))), EDIT, clip_latent(2), steps=2)

    def inflated():
        return inflate_node.InflateUNet.execute(merging(small_model()), "custom", 0, False, "current").result[0]

    words = "a self-attention layer got 1 "
    with pytest.raises(ValueError, match=f"^Inflate UNet to ST-Attention: {words}"):
        sampled(inflated(), source, EDIT)
    with pytest.raises(ValueError, match=f"^DDIM Invert . Store Attention: {words}"):
        run_invert(inflated())
    with pytest.raises(ValueError, match=f"^Attention Blend: {words}"):
        blended = attention_blend.AttentionBlend.execute(inflated(), source, EDIT, {"preset": "style"}).result[0]
        sampled(blended, source, EDIT)
    with pytest.raises(ValueError, match=f"^Attention Blend Sampler: {words}"):
        inputs = (inflated(), source, EDIT, conditioning(EDIT.target), negative(), 5.0, {"preset": "style"})
        blend_sampler.AttentionBlendSampler.execute(*inputs)


def test_out_of_memory_with_one_frame_is_signed():
    model, _ = watched(normalised(), fails=lambda frames: True)
    with pytest.raises(
        comfy.model_management.OOM_EXCEPTION, match="^DDIM Invert . Store Attention: memory ran out with"
    ):
        run_invert(model)
