"""Nodes that give out what no sound node does, to test what meets it on a real ComfyUI."""

import sys
import tempfile
from pathlib import Path

import torch


class MalformedSource:
    """A source run that lost its fields on the way."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("FZ_SOURCE",), "make", "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        kind = next(
            module.SourceRun for name, module in list(sys.modules.items()) if name.endswith("source.source_run")
        )
        return (kind.__new__(kind),)


def _with(value, number):
    value = value.clone()
    value.view(-1)[0] = number
    return value


IMAGE, LATENT, PROMPT = torch.full((2, 64, 64, 3), 0.5), torch.zeros(2, 4, 8, 8), torch.zeros(1, 77, 64)
THINGS = {
    "nothing": None,
    "a text": "a text",
    "a number": 5,
    "nan": float("nan"),
    "a list": [],
    "a dict": {},
    "an object": object(),
    "an image": IMAGE,
    "an image of NaN": _with(IMAGE, float("nan")),
    "an image of infinity": _with(IMAGE, float("inf")),
    "an image of whole numbers": (IMAGE * 255).long(),
    "an image in half precision": IMAGE.half(),
    "an image of 0..255": IMAGE * 255,
    "an image with alpha": torch.full((2, 64, 64, 4), 0.5),
    "a grey image": IMAGE[..., :1],
    "no images": IMAGE[:0],
    "one picture without a batch": IMAGE[0],
    "a mask": IMAGE[..., 0],
    "a mask of NaN": _with(IMAGE[..., 0], float("nan")),
    "a latent": {"samples": LATENT},
    "a latent of NaN": {"samples": _with(LATENT, float("nan"))},
    "a latent of whole numbers": {"samples": LATENT.long()},
    "a latent with a batch index": {"samples": LATENT, "batch_index": [5, 5, 5]},
    "an empty latent": {"samples": LATENT[:0]},
    "a flat latent": {"samples": LATENT[0, 0]},
    "a latent without samples": {"samples": None},
    "a prompt": [[PROMPT, {}]],
    "a prompt with a wrong pooled output": [[PROMPT, {"pooled_output": "x"}]],
    "a prompt of NaN": [[_with(PROMPT, float("nan")), {}]],
    "a prompt of another model": [[torch.zeros(1, 77, 2048), {"pooled_output": torch.zeros(1, 1280)}]],
    "a prompt without options": [[PROMPT]],
    "an audio": {"waveform": torch.zeros(1, 2, 4000), "sample_rate": 44100},
    "an audio of NaN": {"waveform": torch.full((1, 2, 4000), float("nan")), "sample_rate": 44100},
    "an audio of whole numbers": {"waveform": torch.zeros(1, 2, 4000, dtype=torch.int16), "sample_rate": 44100},
    "an audio of 40 channels": {"waveform": torch.zeros(1, 40, 4000), "sample_rate": 44100},
    "an audio of no rate": {"waveform": torch.zeros(1, 2, 4000), "sample_rate": 0},
    "an audio of a broken rate": {"waveform": torch.zeros(1, 2, 4000), "sample_rate": 44100.5},
    "an audio of no batch": {"waveform": torch.zeros(2, 4000), "sample_rate": 44100},
}


class Anything:
    """A value that fits no wire, or fits one and is wrong within."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("*",), "make", "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"thing": (list(THINGS),)}}

    def make(self, thing):
        return (THINGS[thing],)


class Look:
    """Makes another node run, and fails where NaN comes out of it."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "look", "testing", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*",)}}

    def look(self, value):
        parts = [value]
        while parts:
            part = parts.pop()
            if isinstance(part, torch.Tensor):
                assert bool(torch.isfinite(part).all()), "NaN came out"
            elif isinstance(part, (list, tuple, dict)):
                parts += part.values() if isinstance(part, dict) else part
        return {"ui": {}}


class TinyVideoModel:
    """A small video model of random weights, its text encoder and a clip's latent."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "CLIP", "LATENT"), "make", "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (["wan", "wan_5b", "hunyuan"],)}}

    def make(self, kind):
        tests = str(Path(__file__).resolve().parent.parent)
        if tests not in sys.path:
            sys.path.append(tests)
        import tiny_video_models

        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            model = getattr(tiny_video_models, kind)()
            is_hunyuan = kind == "hunyuan"
            clip = (
                tiny_video_models.hunyuan_text_encoder() if is_hunyuan else tiny_video_models.text_encoder(Path(folder))
            )
            channels = model.model.latent_format.latent_channels
            latent = torch.randn(1, channels, 3, 8, 10, generator=torch.Generator().manual_seed(4))
            return model, clip, {"samples": latent}


NODE_CLASS_MAPPINGS = {
    "TestTinyVideoModel": TinyVideoModel,
    "TestMalformedSource": MalformedSource,
    "TestAnything": Anything,
    "TestLook": Look,
}
