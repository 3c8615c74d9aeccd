"""Tuning on a clip: the official codes' steps, and the model given in as it was."""

import comfy.model_management
import pytest

from fatezero_pack.fatezero.tuning.settings import PRESETS
from fatezero_pack.fatezero.tuning.tuned_state import tuned_model
from fatezero_pack.fatezero.tuning.tuning_run import TuningRun
from golden_tuned_unet import CASES, base_model, golden_tensors, tuned_state

PRESET_OF = {"fatezero": "FateZero", "tav": "Tune-A-Video"}
# With 32 channels in 32 groups the last norm takes this bias out again: its gradient is rounding (golden_tuned/README).
WITHOUT_EFFECT = "up_blocks.3.attentions.2.transformer_blocks.0.attn_temp"


def loaded(model):
    comfy.model_management.load_models_gpu([model, *model.get_nested_additional_models()])
    return model


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("which", ["fatezero", "tav"])
def test_five_steps(which, checkpoint):
    case, golden = CASES[f"{which}_tuning_tuned"], golden_tensors(f"{which}_tuning_tuned")
    settings = PRESETS[PRESET_OF[which]]
    assert (settings.learning_rate, settings.weight_decay, settings.largest_norm) == (
        case["lr"],
        case["weight_decay"],
        case["max_grad_norm"],
    )
    state = tuned_state(which)
    model = loaded(tuned_model(base_model(which), state))
    latent = model.model.process_latent_out(golden["z0"][0].transpose(0, 1))
    run = TuningRun(model, state, golden["emb_source"][1:], latent, settings, checkpoint)
    assert sorted(run.weights.parameters) == sorted(case["trained"])
    before = run.weights.snapshot()
    for index, expected in enumerate(golden["loss"]):
        noise = golden["noise"][index].transpose(0, 1)
        loss = run.step(int(golden["timesteps"][index]), noise)
        assert abs(loss / float(expected) - 1) <= 1e-5
        assert abs(run.norm / float(golden["gradnorm"][index]) - 1) <= 1e-3
    after = run.weights.snapshot()
    for name, expected in golden.items():
        name = name.removeprefix("after.")
        if name in after and not (name.startswith(WITHOUT_EFFECT) and name.endswith("bias")):
            change = (expected - before[name]).norm()
            assert float((after[name] - expected).norm() / change) <= 1e-2, name
    for name, (_, change) in case["checksums"].items():
        if not (name.startswith(WITHOUT_EFFECT) and name.endswith("bias")):
            ours = (after[name].double() - before[name].double()).norm()
            assert abs(float(ours) / change - 1) <= 1e-2, name
