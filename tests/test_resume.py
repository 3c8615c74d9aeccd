"""An inversion that was cancelled goes on where it stopped, and ends with the same bits."""

import errno
import os
import re
import shutil
import time

import folder_paths
import pytest
import torch
from comfy.patcher_extension import WrappersMP

from edit_cases import (
    CallCounter,
    clip_latent,
    conditioning,
    inverted_noise,
    prompt_edit,
    random_controlnet,
    small_model,
    snapshot,
)
from fatezero_pack.fatezero import disk, tensor_file
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.source import resume as unfinished
from fatezero_pack.fatezero.source.digest import inversion_digest
from fatezero_pack.fatezero.source.inversion import invert
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from fatezero_pack.fatezero.source.source_run import CURRENT_LABEL, TARGET_LABEL
from fatezero_pack.nodes import invert as invert_node
from fatezero_pack.nodes.invert import Invert

EDIT = prompt_edit()
STEPS = 6
INFLATION = Inflation(("current", "middle"))


class Cancelled(BaseException):
    """As ComfyUI's InterruptProcessingException, which is no Exception."""


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    """ComfyUI's output folder."""
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path


@pytest.fixture
def model():
    return inflate(small_model(), INFLATION)


@pytest.fixture
def callbacks(monkeypatch):
    """What the node told ComfyUI of its steps, as (step, total), and when to cancel: `callbacks.cancel_at = step`."""

    class Callbacks(list):
        cancel_at = None

        def __call__(self, step, denoised, x, total):
            if step == self.cancel_at:
                raise Cancelled
            self.append((step, total))

    callbacks = Callbacks()
    monkeypatch.setattr(invert_node.latent_preview, "prepare_callback", lambda model, steps: callbacks)
    return callbacks


def node(model, latent=None, source=None, **options):
    latent = clip_latent() if latent is None else latent
    return Invert.execute(
        model,
        source or conditioning(EDIT.source),
        {"samples": latent},
        **{"steps": STEPS, "schedule": OFFICIAL, "resume": True, "reuse": False, **options},
    ).result


def cancelled(callbacks, model, *arguments, at=4, **options):
    callbacks.cancel_at = at
    with pytest.raises(Cancelled):
        node(model, *arguments, **options)
    callbacks.cancel_at = None
    callbacks.clear()


def kept(output):
    """The step files on disk, by name."""
    return {file.name: file for file in sorted(output.glob("fatezero/unfinished/*/step_*"))}


def check_same(result, expected):
    (noise, run, sigmas, _), (expected_noise, expected_run, expected_sigmas, _) = result, expected
    assert torch.equal(noise["samples"], expected_noise["samples"]) and torch.equal(sigmas, expected_sigmas)
    for name in ("sigmas", "trajectory", "word_maps"):
        assert torch.equal(getattr(run, name), getattr(expected_run, name)), name
    assert run.tokens == expected_run.tokens and run.fingerprint == expected_run.fingerprint


def test_goes_on_with_fewer_frames_at_once(model, callbacks, output):
    """After running out of memory a person lowers the number: the steps that are done stay done."""
    cancelled(callbacks, sampled_in_chunks(model, 2))
    assert len(kept(output)) == 4
    result = node(sampled_in_chunks(model, 1))
    assert "continued after step 4" in result[3]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"refinement": 2},
        {"evaluate_at": "current label (paper)"},
        {"evaluate_at": "Uni-Inv"},
        {"schedule": "karras"},
    ],
    ids=str,
)
@pytest.mark.parametrize("frames_at_once", [0, 1])
def test_goes_on_where_it_stopped(model, callbacks, output, options, frames_at_once):
    model = sampled_in_chunks(model, frames_at_once)
    with CallCounter(model) as whole:
        expected = node(model, resume=False, **options)
    assert not kept(output)
    callbacks.clear()
    before = snapshot(model)
    cancelled(callbacks, model, **options)
    assert list(kept(output)) == [f"step_{step:04}.safetensors" for step in range(1, 5)]
    assert snapshot(model) == before
    with CallCounter(model) as rest:
        result = node(model, **options)
    check_same(result, expected)
    assert rest.calls * STEPS == whole.calls * 2  # of the steps, the last two
    assert callbacks == [(4, STEPS), (5, STEPS)]
    assert result[3] == expected[3] + f"\ncontinued after step 4 of {STEPS}"
    assert not list(output.rglob("unfinished")) and snapshot(model) == before


def test_a_run_that_is_not_disturbed_is_the_same_and_leaves_nothing(model, callbacks, output):
    result = node(model)
    check_same(result, node(model, resume=False))
    assert "continued" not in result[3]
    assert not list(output.rglob("*.safetensors")) and not list(output.rglob("unfinished"))


def test_cancelled_again_and_again(model, callbacks, output):
    expected = node(model, resume=False)
    for at in (0, 1, 3, 3, 5):
        cancelled(callbacks, model, at=at)
        assert len(kept(output)) == at
    check_same(node(model), expected)


def test_cancelled_after_its_last_step(model, callbacks, monkeypatch):
    def cancel(*_, **__):
        raise Cancelled

    expected = node(model, resume=False)
    with monkeypatch.context() as patch:
        patch.setattr(invert_node, "reconstruct", cancel)
        with pytest.raises(Cancelled):
            node(model, report_error=True)
    with CallCounter(model) as counter:
        result = node(model)
    check_same(result, expected)
    assert counter.calls == 0 and f"continued after step {STEPS} of {STEPS}" in result[3]


DAMAGES = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "empty": lambda file: file.write_bytes(b""),
    "a changed bit": lambda file: file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1])),
    "gone": os.remove,
    "another step": lambda file: file.write_bytes((file.parent / "step_0001.safetensors").read_bytes()),
    "another clip": lambda file: tensor_file.write_tensors(
        str(file), {"latent": torch.zeros(1, 4, 16, 16), "word_maps": torch.zeros(1, 5, 8, 8)}, {"step": 2}
    ),
    "other maps": lambda file: tensor_file.write_tensors(
        str(file), {"latent": torch.zeros(2, 4, 16, 16), "word_maps": torch.zeros(2, 5, 8, 9)}, {"step": 2}
    ),
    "something else": lambda file: tensor_file.write_tensors(str(file), {"weights": torch.zeros(1)}, {"step": 2}),
    "halves": lambda file: tensor_file.write_tensors(
        str(file), {"latent": torch.zeros(2, 4, 16, 16).half(), "word_maps": torch.zeros(2, 5, 8, 8)}, {"step": 2}
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_step_and_those_after_it_are_done_again(model, callbacks, output, damage):
    expected = node(model, resume=False)
    cancelled(callbacks, model)
    DAMAGES[damage](kept(output)["step_0003.safetensors"])
    result = node(model)
    check_same(result, expected)
    assert callbacks == [(step, STEPS) for step in range(2, STEPS)]
    assert f"continued after step 2 of {STEPS}" in result[3]
    assert not list(output.rglob("unfinished"))


def test_another_input_does_not_read_these_steps(model, callbacks, output):
    cancelled(callbacks, model)
    steps = {name: file.read_bytes() for name, file in kept(output).items()}
    others = [
        dict(latent=clip_latent(seed=1)),
        dict(latent=clip_latent() + 1e-6),
        dict(steps=STEPS + 1),
        dict(schedule="karras"),
        dict(refinement=1),
        dict(evaluate_at="current label (paper)"),
        dict(source=conditioning(EDIT.target)),
        dict(source=conditioning(EDIT.source, width_of_clip=3)),
    ]
    for options in others:
        callbacks.clear()
        result = node(model, **options)
        assert callbacks[0][0] == 0 and "continued" not in result[3], options
    callbacks.clear()
    node(inflate(model, Inflation(("first",))))
    assert callbacks[0][0] == 0
    assert {name: file.read_bytes() for name, file in kept(output).items()} == steps  # they wait for their own
    assert "continued after step 4" in node(model)[3]


def digest(model, source, label=TARGET_LABEL):
    return inversion_digest(
        model, source, clip_latent(), sigmas=inversion_sigmas(model, OFFICIAL, STEPS), label=label, refinement=0
    )


def controlled(**options):
    return conditioning(
        EDIT.source, control=random_controlnet(**{"strength": 1.0, **options}), control_apply_to_uncond=True
    )


def test_the_digest_knows_all_that_matters(model):
    def changed(name, value):
        source = controlled()
        setattr(source[0][1]["control"], name, value)
        return source

    zero_snr = inflate(small_model(), INFLATION)
    zero_snr.model.model_sampling.sigmas[500] *= 1.001
    conditionings = [
        conditioning(EDIT.source),
        conditioning(EDIT.source, width=64, height=8),
        conditioning(EDIT.source, height=9),
        conditioning(EDIT.source, pooled_output=torch.ones(1, 8)),
        conditioning(EDIT.source, pooled_output=torch.ones(8)),
        conditioning(EDIT.source, pooled_output=None),
        [[conditioning(EDIT.source)[0][0], {}]],
        controlled(),
        controlled(strength=0.9),
        controlled(seed=7),
        controlled(hint_seed=7),
        changed("timestep_percent_range", (0.0, 0.5)),
        changed("previous_controlnet", random_controlnet(1.0)),
        changed("previous_controlnet", random_controlnet(0.5)),
        changed("extra_args", {"control_type": [1]}),
    ]
    digests = [digest(model, source) for source in conditionings]
    digests += [digest(other, conditioning(EDIT.source)) for other in (small_model(), zero_snr)]
    assert digest(sampled_in_chunks(model, 1), conditioning(EDIT.source)) == digests[0]
    digests += [digest(model, conditioning(EDIT.source), CURRENT_LABEL)]
    assert len(set(digests)) == len(digests)
    assert digest(inflate(small_model(), INFLATION), controlled()) == digest(model, controlled())  # made anew, the same


def test_with_a_controlnet(model, callbacks):
    expected = node(model, source=controlled(), resume=False)
    callbacks.clear()
    cancelled(callbacks, model, source=controlled())
    result = node(model, source=controlled())
    check_same(result, expected)
    assert len(callbacks) == 2


def with_wrapper(model):
    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "theirs", lambda executor, *args: executor(*args))
    return model


def with_patch(name):
    def patched(model):
        model = model.clone()
        model.set_model_patch(lambda *values: values, name)
        return model

    return patched


def with_attention(model):
    model = model.clone()
    model.set_model_attn1_replace(lambda *values: values[0], "middle", 0)
    return model


def with_function(model):
    model = model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, values: apply(values["input"], values["timestep"], **values["c"])
    )
    return model


@pytest.mark.parametrize(
    "patched, words",
    [
        (with_wrapper, "theirs"),
        (with_patch("attn1_patch"), "attn1_patch"),
        (with_patch("output_block_patch"), "output_block_patch"),
        (with_attention, "patches_replace"),
        (with_function, "model_function_wrapper"),
    ],
)
def test_a_model_that_cannot_be_recognised_is_refused(model, output, patched, words):
    with CallCounter(model) as counter, pytest.raises(ValueError) as refusal:
        node(patched(model))
    check_sentence(refusal.value, "'model' carries", f"({words})", "; switch 'resume' off")
    assert counter.calls == 0 and not list(output.iterdir())


class TheirControlNet(type(random_controlnet(1.0))):
    pass


@pytest.mark.parametrize(
    "options, words",
    [
        ({"hooks": object()}, "'hooks' of 'source conditioning' holds a object"),
        ({"gligen": ("position", object())}, "'gligen'"),
        ({"control": TheirControlNet()}, "'control' of 'source conditioning' is a TheirControlNet"),
    ],
)
def test_a_conditioning_that_cannot_be_recognised_is_refused(model, output, options, words):
    with CallCounter(model) as counter, pytest.raises(ValueError) as refusal:
        node(model, source=conditioning(EDIT.source, **options))
    check_sentence(refusal.value, words, "; switch 'resume' off")
    assert counter.calls == 0 and not list(output.iterdir())


def check_sentence(error, *words):
    message = str(error)
    for word in ("DDIM Invert + Store Attention: ", *words):
        assert word in message, message
    assert "\n" not in message and message.endswith(".") and not re.search(r"[a-z)]\. [A-Z]", message), message


def test_a_full_disk(model, callbacks, output, monkeypatch):
    write, written = tensor_file.write_tensors, []

    def until_full(*arguments):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(write(*arguments))

    with monkeypatch.context() as patch, pytest.raises(OSError) as refusal:
        patch.setattr(unfinished, "write_tensors", until_full)
        node(model)
    check_sentence(refusal.value, f"step 3 of {STEPS}", "No space left on device", "; free space")
    assert len(kept(output)) == 2
    assert "continued after step 2" in node(model)[3]


@pytest.mark.parametrize(
    "code, remedy",
    [
        (errno.EROFS, "make the folder writable or switch 'resume' off"),
        (errno.EACCES, "make the folder writable or switch 'resume' off"),
        (errno.EIO, "; switch 'resume' off"),
    ],
)
def test_a_disk_that_takes_nothing(model, output, monkeypatch, code, remedy):
    """No other folder is offered, since nobody chooses this one."""

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(unfinished, "write_tensors", fail)
    with pytest.raises(OSError) as refusal:
        node(model)
    check_sentence(refusal.value, "step 1 of", os.strerror(code), remedy)


def test_a_folder_that_cannot_be_made(model, output):
    (output / "fatezero").write_text("")
    with CallCounter(model) as counter, pytest.raises(OSError) as refusal:
        node(model)
    check_sentence(refusal.value, "could not be written", "or switch 'resume' off")
    assert counter.calls == 0


def test_invert_itself_leaves_the_files_to_the_one_who_asked(model, output):
    steps = unfinished.UnfinishedInversion(str(output / "a" / "b"), 3, clip_latent().shape)
    run = invert(
        model,
        conditioning(EDIT.source),
        clip_latent(),
        sigmas=inversion_sigmas(model, OFFICIAL, 3),
        disable_pbar=True,
        unfinished=steps,
    )
    assert len(list((output / "a" / "b").glob("step_*"))) == 3
    again = unfinished.UnfinishedInversion(str(output / "a" / "b"), 3, clip_latent().shape)
    latents = [latent for latent, _ in again.finished_steps()]
    assert torch.equal(torch.stack(latents), run.trajectory[1:]) and inverted_noise(model, run).isfinite().all()
    (output / "a" / "other").mkdir()
    steps.remove()
    assert os.listdir(output / "a") == ["other"]


LEFT = {
    "of a process that has ended": ("process_999999999", "step_0001.safetensors"),
    "of a number that was given again": (f"process_{os.getpid()}", "step_0001.safetensors"),
    "of a version without numbers": ("step_0001.safetensors",),
    "empty": (),
}


def left_behind(output, name, days):
    folder = output / "fatezero" / "unfinished" / name
    folder.mkdir(parents=True)
    for file in LEFT[name]:
        (folder / file).touch()
    for path in (*folder.iterdir(), folder):
        os.utime(path, (time.time() - days * 86400,) * 2)
    return folder


@pytest.mark.parametrize("name", LEFT)
def test_what_nobody_goes_on_with_goes_at_the_next_start(output, name):
    folder = left_behind(output, name, days=0.9)
    unfinished.remove_abandoned(str(output))
    assert folder.exists()
    shutil.rmtree(folder)
    folder = left_behind(output, name, days=1.1)
    (folder / "new").touch()  # whatever was touched last counts
    unfinished.remove_abandoned(str(output))
    assert folder.exists()
    shutil.rmtree(folder)
    left_behind(output, name, days=1.1)
    unfinished.remove_abandoned(str(output))
    assert os.listdir(output / "fatezero") == []


def test_what_a_living_process_goes_on_with_stays(model, callbacks, output, monkeypatch):
    cancelled(callbacks, model)
    monkeypatch.setattr(disk, "_DAY", -10)
    unfinished.remove_abandoned(str(output))
    assert "continued after step 4" in node(model)[3]
    unfinished.remove_abandoned(str(output / "nowhere"))
