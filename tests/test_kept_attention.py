"""The source's attention kept for the session: read by the next edit, bounded, and never in place of a run."""

import gc
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
import torch

from edit_cases import (
    CallCounter,
    clip_latent,
    conditioning,
    edited,
    inverted,
    negative,
    prompt_edit,
    small_model,
    with_lora,
)
from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.settings import AUTO_CACHE, CACHE, REPLAY, BlendSettings
from fatezero_pack.fatezero.edit.unet import source_attention, source_cache
from fatezero_pack.fatezero.edit.unet.source_attention import plan_source_attention
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source import session, session_folder
from fatezero_pack.fatezero.source.attention_cache import AttentionCache, CacheBytes
from fatezero_pack.fatezero.source.kept_attention import keep_attention
from fatezero_pack.fatezero.source.session import KeptRun
from fatezero_pack.fatezero.source.source_run import NullText
from fatezero_pack.fatezero.voice import Voice
from golden_unet import relative

EDIT, OTHER = prompt_edit(), prompt_edit("a silver jeep on a road", "a golden jeep on a road")
SETTINGS = BlendSettings(self_window=Window(0, 0.7), cross_window=Window(0, 0.8))
KEPT = replace(SETTINGS, source_attention=CACHE)
HELD = "Time: as plain sampling; the clip's attention is kept from an earlier edit."
REPLAYED = "Time: up to 50% more than plain sampling"


@pytest.fixture
def temp():
    """What the session keeps lies here."""
    return Path(folder_paths.get_temp_directory()) / "fatezero" / "session"


@pytest.fixture
def model():
    return inflate(small_model(), Inflation(("current", "middle")))


@pytest.fixture(params=["ram", "disk"])
def place(request, monkeypatch):
    for module in (source_attention, source_cache):
        monkeypatch.setattr(module, "free_budget", lambda *arguments: CacheBytes(**{request.param: 1 << 40}))


def found_again(source):
    """The run without its attention cache, as it is when ComfyUI has freed it."""
    return replace(source, cache=AttentionCache())


def told(model, source, edit=OTHER, settings=KEPT):
    voice = Voice()
    sample_edit(
        model, source, edit, settings, conditioning(edit.target), negative(), 5.0, disable_pbar=True, voice=voice
    )
    return voice.text


def files(temp, kind="attention"):
    return sorted((temp / kind).rglob("*.safetensors"))


def test_a_new_target_reads_what_another_left(model, place, temp):
    source = inverted(model, EDIT)
    text = told(model, source, EDIT)
    assert f"Kept for a new target: {source.cache.bytes.total / 1e6:.1f} MB in the temp folder." in text
    again = found_again(source)
    del source
    gc.collect()
    assert not list(temp.parent.parent.glob("fatezero_cache_*")) and files(temp)
    replayed = edited(model, again, OTHER, replace(KEPT, source_attention=REPLAY))
    with CallCounter(model) as counter:
        assert relative(edited(model, again, OTHER, KEPT), replayed) < 1e-5
    assert counter.calls == again.steps and again.cache.bytes.ram == 0 < again.cache.bytes.disk
    assert told(model, found_again(again)).startswith(HELD) and "Kept for" not in told(model, again)


def test_a_null_text_reads_it_too(model):
    source = inverted(model, EDIT)
    told(model, source)
    embeddings = torch.zeros(source.steps, 1, 77, 64)
    with_null_text = replace(found_again(source), null_text=NullText(embeddings, 5.0))
    assert HELD in told(model, with_null_text, OTHER, replace(KEPT, source_attention=AUTO_CACHE))


@pytest.mark.parametrize(
    "change",
    [
        lambda model, source: (with_lora(model, strength=0.5), replace(source, fingerprint="")),
        lambda model, source: (inflate(small_model(), Inflation(("first",))), source),
        lambda model, source: (model, inverted(model, EDIT, clip_latent(seed=1))),
        lambda model, source: (model, replace(source, label="current")),
        lambda model, source: (model, replace(source, conditioning=conditioning(OTHER.target))),
    ],
)
def test_what_the_sources_rows_depend_on(model, change):
    source = inverted(model, EDIT)
    told(model, source)
    assert plan_source_attention(model, found_again(source), OTHER, KEPT).is_held
    model, source = change(model, found_again(source))
    assert not plan_source_attention(model, source, OTHER, KEPT).is_held


def test_guidance_on_the_model_does_not_count_and_other_nodes_are_told(model):
    source = inverted(model, EDIT)
    guided = model.clone()
    guided.set_model_sampler_cfg_function(lambda args: args["cond"])
    told(guided, source)
    assert told(model, found_again(source)).startswith(HELD)
    foreign = model.clone()
    foreign.set_model_output_block_patch(lambda hidden, skip, options: (hidden, skip))
    source = found_again(source)
    text = told(foreign, source)
    assert "Not kept for a new target, since 'model' carries what another node has put there" in text
    assert told(foreign, source).startswith(HELD)
    assert not told(foreign, found_again(source)).startswith(HELD)


def test_the_cache_of_another_model_counts_for_nothing(model):
    source = inverted(model, EDIT)
    foreign = model.clone()
    foreign.set_model_output_block_patch(lambda hidden, skip, options: (hidden, skip))
    told(foreign, source)
    held = source.cache.bytes
    assert not plan_source_attention(model, source, OTHER, KEPT).is_held and source.cache.bytes == held
    assert told(model, source).startswith(REPLAYED)
    assert told(model, source).startswith(HELD)


def test_damaged_files_are_made_again(model, temp):
    source = inverted(model, EDIT)
    told(model, source)
    first, *others = files(temp)
    first.write_bytes(b"\xff" * 1000)
    again = found_again(source)
    replayed = edited(model, again, OTHER, replace(KEPT, source_attention=REPLAY))
    assert told(model, again).startswith(REPLAYED) and len(files(temp)) == len(others) + 1
    again = found_again(source)
    assert relative(edited(model, again, OTHER, KEPT), replayed) < 1e-5
    assert plan_source_attention(model, again, OTHER, KEPT).is_held


def test_attention_never_drives_out_a_run(model, temp, monkeypatch):
    source = inverted(model, EDIT)
    assert session.keep("run", KeptRun(source))[1] is None
    told(model, source)
    size = sum(file.stat().st_size for kind in ("runs", "attention") for file in files(temp, kind))
    monkeypatch.setattr(session_folder, "MOST_BYTES", size)
    another = inverted(model, EDIT, clip_latent(seed=1))
    assert "Kept for a new target" in told(model, another)
    assert files(temp, "runs") and not plan_source_attention(model, found_again(source), OTHER, KEPT).is_held
    assert session.keep("another", KeptRun(another))[1] is None
    assert len(files(temp, "runs")) == 2 and not files(temp)
    monkeypatch.setattr(session_folder, "MOST_BYTES", size // 2)
    text = told(model, inverted(model, EDIT, clip_latent(seed=2)))
    assert "Not kept for a new target, since the temp folder cannot keep it (" in text and not files(temp)
    assert len(files(temp, "runs")) == 2


def test_a_cache_that_is_kept_is_not_written_twice(model, temp):
    source = inverted(model, EDIT)
    told(model, source)
    written = {file: file.stat().st_mtime_ns for file in files(temp)}
    wider = replace(KEPT, self_window=Window(0, 1), cross_window=Window(0, 1))
    told(model, found_again(source), settings=wider)
    assert written.items() <= {file: file.stat().st_mtime_ns for file in files(temp)}.items()
    assert len(files(temp)) > len(written)


def test_a_full_disk_is_told(model, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    source = inverted(model, EDIT)
    told(model, source)
    monkeypatch.setattr("fatezero_pack.fatezero.source.kept_attention.write_part", full)
    assert "the temp folder cannot keep it ([Errno 28] No space left" in keep_attention(source.cache, "other name")
