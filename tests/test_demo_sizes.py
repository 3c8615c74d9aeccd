"""The demo models at the sizes that they were trained on, and their parts not mixed."""

import pytest

from fatezero_pack.demo.model import LARGE_WEIGHTS, load_demo_model
from fatezero_pack.demo.video_model import load_demo_video_model
from fatezero_pack.fatezero.network.trained_size import size_note
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.nodes import blend_sampler, invert, video_save
from fatezero_pack.nodes.demo_model import LoadDemoModel
from fatezero_pack.nodes.edit_prompts import EditPrompts
from fatezero_pack.nodes.shared.demo_sizes import LOADER, refuse_mixed_sizes
from tiny_video_models import wan


@pytest.mark.parametrize(
    "load, fitting, foreign",
    [
        (load_demo_model, (192, 128), (256, 256)),
        (lambda: load_demo_model(LARGE_WEIGHTS), (256, 192), (128, 128)),
        (load_demo_video_model, (128, 128), (256, 256)),
    ],
)
def test_a_clip_of_another_size_than_the_model_knows_is_told(load, fitting, foreign):
    model, *_ = load()
    assert size_note(model, *fitting) is None
    width, height = foreign
    assert size_note(model, width, height).startswith(f"! the clip is {width}x{height}, but 'model' was trained on ")


def test_other_models_are_asked_without_a_warning(caplog):
    """ComfyUI's log would tell the person to mend the code."""
    assert size_note(wan(), 832, 480) is None and "accessed" not in caplog.text


@pytest.fixture
def known(monkeypatch):
    import nodes  # ComfyUI's

    ours = {LOADER: LoadDemoModel, "FateZeroEditPrompts": EditPrompts, "FateZeroInvert": invert.Invert}
    ours |= {"FateZeroBlendSampler": blend_sampler.AttentionBlendSampler, "FateZeroVideoSave": video_save.VideoSave}
    for name, node in ours.items():
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, name, node)
        monkeypatch.setitem(nodes.NODE_DISPLAY_NAME_MAPPINGS, name, node.define_schema().display_name)


def graph(model="small", clip="small", encode="small", decode="small", negative="small"):
    return {
        "small": {"class_type": LOADER, "inputs": {}},
        "large": {"class_type": LOADER, "inputs": {"size": "large"}},
        "images": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "latent": {"class_type": "VAEEncode", "inputs": {"pixels": ["images", 0], "vae": [encode, 2]}},
        "prompts": {"class_type": "FateZeroEditPrompts", "inputs": {"clip": [clip, 1]}},
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": [negative, 1], "text": ""}},
        "invert": {
            "class_type": "FateZeroInvert",
            "inputs": {"model": [model, 0], "source": ["prompts", 0], "latent": ["latent", 0]},
        },
        "edit": {
            "class_type": "FateZeroBlendSampler",
            "inputs": {"model": [model, 0], "source": ["invert", 1], "negative": ["negative", 0]},
        },
        "decoded": {"class_type": "VAEDecode", "inputs": {"samples": ["edit", 0], "vae": [decode, 2]}},
        "save": {"class_type": "FateZeroVideoSave", "inputs": {"images": ["decoded", 0]}},
    }  # fmt: skip


@pytest.mark.parametrize("part", ["model", "clip", "encode", "decode", "negative"])
def test_parts_of_both_demo_models_are_refused(known, part):
    where = {"decode": "VAE Decode", "negative": "Attention Blend Sampler"}.get(part, "")
    with pytest.raises(Refusal, match="takes parts of the small and of the large demo model; connect model, clip"):
        refuse_mixed_sizes(graph(**{part: "large"}))
    if where:
        with pytest.raises(Refusal, match=f"^{where}"):
            refuse_mixed_sizes(graph(**{part: "large"}))


def test_the_node_that_asks_is_not_named_twice(known):
    with pytest.raises(Refusal, match="^parts of the small and of the large demo model are connected; connect model"):
        refuse_mixed_sizes(graph(negative="large"), "edit")
    with pytest.raises(Refusal, match="^VAE Decode takes parts"):
        refuse_mixed_sizes(graph(decode="large"), "edit")


def test_each_for_itself_both_may_run(known):
    both = {f"{name} {size}": entry for size in ("small", "large") for name, entry in graph(*[size] * 5).items()}
    for name, entry in both.items():
        size = name.rpartition(" ")[2]
        for key, value in entry["inputs"].items():
            if isinstance(value, list):
                entry["inputs"][key] = [f"{value[0]} {size}", value[1]]
    both["joined"] = {
        "class_type": "ImageBatch",
        "inputs": {"image1": ["decoded small", 0], "image2": ["decoded large", 0]},
    }
    both["shown"] = {"class_type": "PreviewImage", "inputs": {"images": ["joined", 0]}}
    refuse_mixed_sizes(both)
    refuse_mixed_sizes(None)
    unused = graph(decode="large")
    del unused["save"]
    refuse_mixed_sizes(unused)
