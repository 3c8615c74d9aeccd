"""Files of tuned models: ours, those of the official codes, and those that are nothing of the kind."""

import json
import os
from dataclasses import replace

import folder_paths
import pytest
import torch
from safetensors.torch import load_file, save_file

from edit_cases import ATTENTION_ALONE, SMALL_UNET, small_model
from fatezero_pack.demo.model import load_demo_model
from fatezero_pack.fatezero.network.inspection.model_identity import fingerprint
from fatezero_pack.fatezero.network.unet.inflation import inflation_of
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.tuning.first_weights import first_state
from fatezero_pack.fatezero.tuning.fit import base_weights, fitted
from fatezero_pack.fatezero.tuning.layouts import TRAINED_QUERIES, unet_names
from fatezero_pack.fatezero.tuning.tuned_file import read_tuned, write_tuned
from fatezero_pack.fatezero.tuning.tuned_state import TunedState, checkpoint_fingerprint, tuned_model, tuned_state_of
from fatezero_pack.nodes.shared import tuned_folder
from fatezero_pack.nodes.tuned_load import LoadTunedModel
from fatezero_pack.nodes.tuned_save import SaveTunedModel
from golden_tuned_unet import NEUTRAL, base_model, evaluate, golden_tensors, tuned_state, tuned_tensors
from golden_unet import UNET_CONFIG, patcher, randomise, relative, sd15_model

DEMO = "demo_red_circle_on_grass.safetensors"
LIKE_TUNED = {"fatezero": "FateZero layout", "tav": "Tune-A-Video layout"}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """ComfyUI's output folder and a models folder of the test's own."""
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    folder_paths.folder_names_and_paths.pop(tuned_folder.FOLDER, None)
    tuned_folder.register_folder()
    (tmp_path / "models" / "fatezero").mkdir(parents=True)
    (tmp_path / "output" / "fatezero_tuned").mkdir(parents=True)
    return tmp_path


def whole_unet(which):
    """A tuned checkpoint as `save_pretrained` wrote it."""
    return {**load_file(NEUTRAL / "unet.safetensors"), **tuned_tensors(which)}


def error_of_eps(model, which):
    golden = golden_tensors(f"{which}_eps")
    ours = evaluate(model, golden["x.3x32x32"], 601, golden["emb_source"][1:])
    return relative(ours, golden["3x32x32.t601.eps"])


@pytest.mark.parametrize(
    "which, name", [("tav", "clip/unet/diffusion_pytorch_model.bin"), ("fatezero", "one.safetensors")]
)
def test_official_files(folders, which, name):
    path = folders / "models" / "fatezero" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (torch.save if name.endswith("bin") else save_file)(whole_unet(which), path)
    (path.parent.parent / "text_encoder").mkdir(exist_ok=True)
    torch.save({}, path.parent.parent / "text_encoder" / "pytorch_model.bin")
    assert tuned_folder.tuned_files() == sorted([name.replace("/", os.sep), DEMO])
    model, report = LoadTunedModel.execute(base_model(which), name).result
    assert error_of_eps(model, which) <= 1e-5
    assert LIKE_TUNED[which] in report and "key frames: -1, first (assumed" in report and "checkpoint" not in report


def test_the_demo_file_belongs_to_the_demo_model(folders):
    """`python -m demo.tune` makes it again."""
    model, _, _ = load_demo_model()
    tuned, report = LoadTunedModel.execute(model, DEMO).result
    assert "another checkpoint" not in report and "prompt: a red circle on green grass" in report
    assert tuned_state_of(tuned).base == checkpoint_fingerprint(model)


def test_half_the_size(folders):
    model = tuned_model(base_model("tav"), tuned_state("tav"))
    SaveTunedModel.execute(model, "fatezero_tuned/full")
    SaveTunedModel.execute(model, "fatezero_tuned/half", "float16")
    full, half = sorted(map(str, (folders / "output" / "fatezero_tuned").iterdir()))
    assert os.path.getsize(half) < 0.6 * os.path.getsize(full)
    state, _ = fitted(read_tuned(half), base_model("tav"))
    assert 1e-5 < error_of_eps(tuned_model(base_model("tav"), state), "tav") < 2e-3


def test_only_what_was_tuned_is_kept(tmp_path):
    path = str(tmp_path / "whole.safetensors")
    save_file(whole_unet("fatezero"), path)
    state, _ = fitted(read_tuned(path), base_model("fatezero"))
    assert set(state.tensors) == set(tuned_tensors("fatezero"))


def test_ours(folders):
    """Save, load: the same model, and a header that says what it is."""
    base = base_model("fatezero")
    facts = {"base": checkpoint_fingerprint(base), "frames": 4, "steps": 100, "prompt": "a jeep", "size": (64, 48)}
    model = tuned_model(base, tuned_state("fatezero", key_frames=("first",), **facts))
    SaveTunedModel.execute(model, "fatezero_tuned/jeep")
    (file,) = set(tuned_folder.tuned_files()) - {DEMO}
    again, report = LoadTunedModel.execute(base, file).result
    assert fingerprint(again) == fingerprint(model) and inflation_of(again) == inflation_of(model)
    assert "tuned in 100 steps on 4 frames of 384x512" in report and "prompt: a jeep" in report
    assert "key frames of the tuning: first" in report and "another checkpoint" not in report
    state = read_tuned(tuned_folder.tuned_path(file))
    for name, tensor in tuned_tensors("fatezero").items():
        assert torch.equal(state.tensors[name], tensor)
    assert (state.frames, state.steps, state.prompt, state.key_frames) == (4, 100, "a jeep", ("first",))
    assert state.size == (64, 48)


@pytest.mark.parametrize("dtype, moved", [(torch.bfloat16, 1e-3), (torch.float16, 1e-4), (torch.float32, 0.0)])
def test_a_short_tuning_comes_back(tmp_path, dtype, moved):
    """Queries that moved by less than the model's precision, or not at all, since no step was better than the first."""
    network = sd15_model({**UNET_CONFIG, **SMALL_UNET}, dtype=dtype)
    randomise(network.diffusion_model)
    network.to(dtype)
    model = patcher(network)
    state = first_state(model, ATTENTION_ALONE)
    unet, base = unet_names(network.diffusion_model, UNET_CONFIG | SMALL_UNET), base_weights(model)
    queries = {name: base[ours].float() * (1 + moved) for name, ours in unet.items() if name.endswith(TRAINED_QUERIES)}
    tuned = tuned_model(model, replace(state, tensors={**state.tensors, **queries}))
    path = str(tmp_path / "short.safetensors")
    write_tuned(path, tuned_state_of(tuned))
    again, remarks = fitted(read_tuned(path), model)
    assert queries.keys() <= again.tensors.keys() and len(remarks) == 1
    assert fingerprint(tuned_model(model, again)) == fingerprint(tuned)


def test_a_whole_unet_of_finer_weights(tmp_path):
    """An official file in float32 on a checkpoint in bfloat16: queries that moved by less than its precision stay."""
    model, moved = base_model("tav", torch.bfloat16), load_file(NEUTRAL / "unet.safetensors")
    queries = [name for name in moved if name.endswith(TRAINED_QUERIES)]
    moved |= {name: moved[name] * (1 + 3e-3) for name in queries}
    temporal = {name: tensor for name, tensor in tuned_tensors("tav").items() if name not in moved}
    path = str(tmp_path / "whole.safetensors")
    save_file(moved | temporal, path)
    state, remarks = fitted(read_tuned(path), model)
    assert set(state.tensors) == {*queries, *temporal} and len(remarks) == 1


def test_another_checkpoint_is_said(tmp_path):
    """v1-4 against v1-5: it fits by its shapes, and the weights of the file are used."""
    path = str(tmp_path / "whole.safetensors")
    save_file(whole_unet("fatezero"), path)
    other = base_model("fatezero")
    with torch.no_grad():
        other.model.diffusion_model.middle_block[0].in_layers[2].weight.mul_(1.01)
    state, remarks = fitted(read_tuned(path), other)
    assert "another checkpoint than 'model': 1 of 652 weights" in remarks[1]
    assert error_of_eps(tuned_model(other, state), "fatezero") <= 1e-5
    ours = tuned_state("fatezero", base="another")
    assert "tuned on another checkpoint" in fitted(ours, base_model("fatezero"))[1][1]


def test_half_precision_of_the_same_checkpoint(tmp_path):
    """Rounding is not another checkpoint."""
    path = str(tmp_path / "half.safetensors")
    save_file({name: tensor.half() for name, tensor in whole_unet("tav").items()}, path)
    for model in (base_model("tav"), base_model("tav", torch.float16)):
        state, remarks = fitted(read_tuned(path), model)
        assert len(remarks) == 1 and sum("to_q" in name for name in state.tensors) == 48


def test_norms_are_added_as_they_begin():
    state = tuned_state("tav")
    trained = {name: tensor for name, tensor in state.tensors.items() if "norm_temp" not in name}
    full, _ = fitted(TunedState(state.layout, trained), base_model("tav"))
    norms = {name: tensor for name, tensor in full.tensors.items() if "norm_temp" in name}
    assert len(norms) == 32
    assert all(bool((tensor == float(name.endswith("weight"))).all()) for name, tensor in norms.items())


class Evil:
    def __reduce__(self):
        return os.mkdir, (Evil.folder,)


def test_a_pickle_with_code_is_refused(tmp_path):
    Evil.folder = str(tmp_path / "the code ran")
    torch.save({"x": Evil()}, tmp_path / "evil.bin")
    with pytest.raises(Refusal, match="'evil.bin' cannot be used: .*would run code"):
        read_tuned(str(tmp_path / "evil.bin"))
    assert not os.path.exists(Evil.folder)


def files_that_are_none(folder):
    """{name: what is said of it}"""
    write_tuned(str(folder / "good.safetensors"), tuned_state("tav"))
    data = (folder / "good.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    (folder / "truncated.safetensors").write_bytes(data[: len(data) // 2])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "empty.bin").write_bytes(b"")
    (folder / "text.bin").write_bytes(b"not a file of weights")
    (folder / "changed.safetensors").write_bytes(data[:-4] + b"\0\0\0\1")
    save_file({"text_model.embeddings.token_embedding.weight": torch.ones(3, 4)}, folder / "clip.safetensors")
    torch.save({"model": [1, 2]}, folder / "list.bin")
    name = next(key for key in header if "attn_temp.to_q" in key)
    hostile = {**header, name: {**header[name], "shape": [50000, 50000], "data_offsets": [0, 10_000_000_000]}}
    rewritten(folder / "hostile.safetensors", hostile, data[8 + size :])
    for change, value in (
        ("version", 2),
        ("version", "x"),
        ("key_frames", ["soon"]),
        ("layout", "X"),
        ("layout", []),
        ("steps", -1),
        ("size", 8),
        ("size", [0, 8]),
    ):
        document = {**json.loads(header["__metadata__"]["fatezero"]), change: value}
        metadata = {**header["__metadata__"], "fatezero": json.dumps(document)}
        rewritten(folder / f"{change}{value}.safetensors", {**header, "__metadata__": metadata}, data[8 + size :])
    for left_out in ("base", "prompt", "frames"):
        document = json.loads(header["__metadata__"]["fatezero"])
        del document[left_out]
        metadata = {**header["__metadata__"], "fatezero": json.dumps(document)}
        rewritten(folder / f"no {left_out}.safetensors", {**header, "__metadata__": metadata}, data[8 + size :])
    huge = {**tuned_tensors("tav")}
    huge[name] = huge[name] * 0 + 1e38
    save_file(huge, folder / "huge.safetensors")
    save_file({**tuned_tensors("tav"), name: torch.ones(2).to(torch.float8_e4m3fn)}, folder / "eight bits.safetensors")
    save_file({**tuned_tensors("tav"), name: torch.ones(2, dtype=torch.int32)}, folder / "whole.safetensors")
    torch.save({**tuned_tensors("tav"), name: torch.ones(2, 2).to_sparse()}, folder / "sparse.bin")
    (folder / "broken.bin").write_bytes(b"\x80\x020.")  # takes from a stack that is empty
    nan = {**tuned_tensors("tav")}
    nan[name] = nan[name] * float("nan")
    save_file(nan, folder / "nan.safetensors")
    return {
        "truncated.safetensors": "not all of it is there",
        "empty.safetensors": "not a safetensors file",
        "empty.bin": "damaged",
        "text.bin": "damaged",
        "changed.safetensors": "contents have changed",
        "clip.safetensors": "no temporal attention",
        "list.bin": "other things than tensors",
        "hostile.safetensors": "not all of it is there",
        "version2.safetensors": "a newer FateZero wrote it",
        "versionx.safetensors": "its 'version' is wrong",
        "key_frames['soon'].safetensors": "its 'key_frames' are wrong",
        "layoutX.safetensors": "its 'layout' is wrong",
        "layout[].safetensors": "its 'layout' is wrong",
        "no base.safetensors": "its 'base' is wrong",
        "no prompt.safetensors": "its 'prompt' is wrong",
        "no frames.safetensors": "its 'frames' is wrong",
        "huge.safetensors": "beyond what a model computes with",
        "eight bits.safetensors": "is not of a floating-point type",
        "whole.safetensors": "is not of a floating-point type",
        "sparse.bin": "is not of a floating-point type",
        "broken.bin": "damaged",
        "steps-1.safetensors": "its 'steps' is wrong",
        "size8.safetensors": "its 'size' is wrong",
        "size[0, 8].safetensors": "its 'size' is wrong",
        "nan.safetensors": "holds NaN",
        "absent.safetensors": "it is not there",
    }


def rewritten(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_other_files_are_one_sentence(tmp_path):
    for name, said in files_that_are_none(tmp_path).items():
        with pytest.raises(Refusal) as refusal:
            read_tuned(str(tmp_path / name))
        text = str(refusal.value)
        assert text.startswith(f"'{name}' cannot be used: ") and said in text and "\n" not in text, text


def changed_state(change):
    state = tuned_state("fatezero")
    tensors = dict(state.tensors)
    change(tensors)
    return TunedState(state.layout, tensors)


FIRST = "down_blocks.0.attentions.0.transformer_blocks.0.attn_temporal.to_k.weight"
SPATIAL = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
CONVOLUTION = "mid_block.resnets.0.conv1.conv_temporal"


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda t: t.pop(FIRST), f"its '{FIRST}' is missing"),
        (lambda t: t.update({FIRST: t[FIRST][:5]}), "is 5x32, where 32x32 was expected"),
        (lambda t: t.pop(f"{CONVOLUTION}.up.weight"), "conv_temporal.up.weight' is missing"),
        (lambda t: t.update({f"{CONVOLUTION}.up.weight": torch.ones(64, 0, 3)}), "is 64x0x3, where 64x8x3"),
        (lambda t: t.update({f"{CONVOLUTION}.down.weight": torch.ones(0, 64, 3)}), "is 0x64x3, where 1x64x3"),
        (lambda t: t.update({f"{CONVOLUTION}.down.weight": torch.tensor(1.0)}), "is a single number, where 1x64x3"),
        (lambda t: t.update({f"{CONVOLUTION}.down.weight": torch.ones(8)}), "is 8, where 8x64x3"),
        (lambda t: t.update({f"{CONVOLUTION}.weight": torch.tensor(1.0)}), "is a single number, where 64x64x1"),
        (lambda t: t.update({FIRST: torch.tensor(1.0)}), "is a single number, where 32x32"),
        (lambda t: t.update({SPATIAL: torch.tensor(1.0)}), "is a single number, that of 'model'"),
        (lambda t: t.update({"something.attn_temporal.to_q.weight": t[FIRST]}), "has no place in 'model'"),
    ],
)
def test_what_does_not_fit(change, said):
    with pytest.raises(Refusal, match="does not fit 'model'") as refusal:
        fitted(changed_state(change), base_model("fatezero"))
    assert said in str(refusal.value)


def test_another_kind_of_checkpoint():
    with pytest.raises(Refusal, match="does not fit 'model'"):
        fitted(tuned_state("fatezero"), small_model())


def test_full_convolutions():
    """Without a rank the convolutions are whole ones, known by their shapes."""

    def full(tensors):
        for name in [name for name in tensors if "conv_temporal.down" in name]:
            host = name.removesuffix(".down.weight")
            channels = tensors[name].shape[1]
            kernel = torch.zeros(channels, channels, 3)
            kernel[:, :, 1] = torch.eye(channels)
            up, down = tensors.pop(f"{host}.up.weight"), tensors.pop(name)
            del up, down
            tensors.update({f"{host}.weight": kernel, f"{host}.bias": torch.zeros(channels)})

    base = base_model("fatezero")
    state, _ = fitted(changed_state(full), base)
    golden = golden_tensors("fatezero_eps")
    ours = evaluate(tuned_model(base, state), golden["x.3x32x32"], 601, golden["emb_source"][1:])
    assert relative(ours, golden["without_temporal_conv.eps"]) <= 1e-5


def test_nodes_refuse(folders):
    with pytest.raises(ValueError, match="^Save Tuned Model: 'model' is not tuned"):
        SaveTunedModel.execute(base_model("tav"), "fatezero_tuned/x")
    with pytest.raises(ValueError, match="^Load Tuned Model: 'file' is lost.bin"):
        LoadTunedModel.execute(base_model("tav"), "lost.bin")
    assert "is not in models/fatezero" in LoadTunedModel.validate_inputs("lost.bin")
    sdxl = base_model("tav")
    sdxl.model.model_config.unet_config = {**sdxl.model.model_config.unet_config, "adm_in_channels": 2816}
    with pytest.raises(ValueError, match="^Load Tuned Model: 'model' is a BaseModel, but tuned video models"):
        LoadTunedModel.execute(sdxl, "lost.bin")
