"""A small run of every node, in folders of its own, whose result can be compared to the bit."""

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import folder_paths
import torch

import nodes as comfyui_nodes
from edit_cases import clip_latent, conditioning, inverted, negative, prompt_edit, small_model
from fatezero_pack.fatezero.edit.unet import source_attention
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.source.attention_cache import AttentionCache, CacheBytes
from fatezero_pack.fatezero.tuning.tuned_state import tuned_state_of
from fatezero_pack.fatezero.video.write import formats, write_clip
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.attention_mask import AVERAGE, AttentionMask
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.compare_videos import CompareVideos
from fatezero_pack.nodes.composite import CompositeOutsideMask
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from fatezero_pack.nodes.demo_model import LoadDemoModel
from fatezero_pack.nodes.demo_video_model import LoadDemoVideoModel
from fatezero_pack.nodes.edit_prompts import EditPrompts
from fatezero_pack.nodes.edit_report import EditReport
from fatezero_pack.nodes.fit_mask import FitMask
from fatezero_pack.nodes.heat_map import AttentionHeatMap
from fatezero_pack.nodes.inflate import InflateUNet
from fatezero_pack.nodes.invert import Invert
from fatezero_pack.nodes.null_text import NullTextOptimization
from fatezero_pack.nodes.source_load import LoadSourceRun
from fatezero_pack.nodes.source_save import SaveSourceRun
from fatezero_pack.nodes.tune import TuneVideoModel
from fatezero_pack.nodes.tuned_load import LoadTunedModel
from fatezero_pack.nodes.tuned_save import SaveTunedModel
from fatezero_pack.nodes.video_load import VideoLoad
from fatezero_pack.nodes.video_save import VideoSave
from testing_nodes import TinyVideoModel
from video_clips import beep, smooth_clip, write_numbered

FOLDERS = ("input", "output", "temp")
EDIT, STEPS = prompt_edit(), 3


class World:
    """ComfyUI's folders in one place, small models of both families, an inverted clip and its tuned model."""

    def __init__(self, base: Path):
        self.base = base
        for name in FOLDERS:
            (base / name).mkdir(exist_ok=True)
            setattr(folder_paths, f"{name}_directory", str(base / name))
        folder_paths.models_dir = str(base / "models")
        folder_paths.folder_names_and_paths["fatezero"] = ([str(base / "input")], {".safetensors", ".bin"})
        self.plain = small_model()
        self.model = inflate(self.plain, Inflation(("current", "middle")))
        self.source = inverted(self.model, EDIT, steps=STEPS, schedule="normal")  # as the KSampler below
        self.images = smooth_clip(2, 128, 128)
        write_numbered(base / "input" / "clip.mp4", count=5, audio=beep(0.05, 0.2))
        _, self.clip, _ = LoadDemoModel.execute().result
        self.wan, self.wan_clip, self.wan_latent = TinyVideoModel().make("wan")
        self.tuned = self._tune()
        SaveSourceRun.execute(self.source, "fatezero/source")
        SaveTunedModel.execute(self.tuned, "tuned")
        os.rename(base / "output" / "fatezero" / "source_00001_.safetensors", base / "input" / "source.safetensors")
        os.rename(base / "output" / "tuned_00001_.safetensors", base / "input" / "tuned.safetensors")
        write_clip(str(base / "input" / "pictures"), self.images, 8.0)

    def scenarios(self) -> dict[str, Callable[[], Any]]:
        """A call of every node, by the node's name, and after a comma what is particular about the call."""
        return {
            "Video Load": self._load,
            "Video Load, batch": partial(self._load, batch=1),
            "Video Load, folder of pictures": partial(self._load, path="pictures"),
            **{f"Video Save, {format}": partial(self._save, format) for format in formats()},
            "Load Demo Model": partial(_weights, LoadDemoModel),
            "Load Demo Video Model": partial(_weights, LoadDemoVideoModel),
            "Edit Prompts": partial(self._prompts, self.clip),
            "Tune Video Model": lambda: tuned_state_of(self._tune()).tensors,
            "Tune Video Model, resume": lambda: tuned_state_of(self._tune(resume=True)).tensors,
            "Save Tuned Model": lambda: SaveTunedModel.execute(self.tuned, "tuned").ui,
            "Load Tuned Model": self._load_tuned,
            "Inflate UNet to ST-Attention": lambda: InflateUNet.execute(self.plain, "all").result[1:],
            "DDIM Invert + Store Attention": lambda: self._invert(reuse=False),
            "DDIM Invert + Store Attention, reuse": lambda: self._invert(),
            "DDIM Invert + Store Attention, resume": lambda: self._invert(resume=True, reuse=False),
            "Null-Text Optimization": partial(self._null_text, reuse=False),
            "Null-Text Optimization, reuse": self._null_text,
            "Save Inverted Clip": lambda: SaveSourceRun.execute(self.source, "fatezero/source").ui,
            "Load Inverted Clip": lambda: LoadSourceRun.execute(self.model, "source.safetensors"),
            **self._shown(),
            **self._edits(),
        }

    def _shown(self) -> dict[str, Callable[[], Any]]:
        """Of the nodes that show and measure."""
        flipped, whole = self.images.flip(2), torch.ones(1, 128, 128)
        return {
            "Attention Mask": lambda: AttentionMask.execute(
                self.source, "jeep", 0.3, AVERAGE, 0, 0, 0, images=self.images
            ),
            "Attention Heat-Map": lambda: AttentionHeatMap.execute(self.source, "jeep", AVERAGE, 0, images=self.images),
            "Composite Outside Mask": lambda: CompositeOutsideMask.execute(self.images, flipped, whole, 2, 2),
            "Fit Mask": lambda: FitMask.execute(torch.ones(1, 48, 80), self._load().result[4]),
            "Edit Report": lambda: EditReport.execute(self.images, flipped, edit=EDIT, source=self.source),
            "Compare Videos": lambda: CompareVideos.execute(self.images, flipped),
        }

    def _edits(self) -> dict[str, Callable[[], Any]]:
        """Of the nodes that edit."""
        return {
            "Attention Blend": self._ksampler,
            "Attention Blend Sampler": partial(self._edit, "replay"),
            "Attention Blend Sampler, cache": partial(self._edit, "cache"),
            "Attention Blend Sampler, cache on disk": self._edit_with_disk,
            "Coupled Edit Sampler": self._edit_coupled,
        }

    def _load(self, path: str = "", batch: int = 0) -> Any:
        return VideoLoad.execute("clip.mp4", 1, 2, 1, 0, 0, "crop", "8", path=path, batch=batch)

    def _save(self, format: str) -> Any:
        node = VideoSave.PREPARE_CLASS_CLONE({"hidden_inputs": {}})
        audio = {"waveform": beep(0.05, 0.25)[None], "sample_rate": 48000}
        return node.EXECUTE_NORMALIZED(self.images, 8.0, "video/clip", format, 70, audio=audio).ui

    def _prompts(self, clip: Any) -> Any:
        return EditPrompts.execute(clip, EDIT.source.text, EDIT.target.text, "auto", "", "", "", "")

    def _load_tuned(self) -> Any:
        return tuned_state_of(LoadTunedModel.execute(self.plain, "tuned.safetensors").result[0]).tensors

    def _invert(self, **options: Any) -> Any:
        latent = {"samples": clip_latent()}
        made = Invert.execute(self.model, conditioning(EDIT.source), latent, STEPS, "normal", **options)
        return made.result[:3]  # without the report, which may say that it went on where another had stopped

    def _null_text(self, **options: Any) -> Any:
        asked = negative(), 7.5, "null-text optimization", 1
        return NullTextOptimization.execute(self.model, self.source, *asked, **options).result[0]

    def _tune(self, **options: Any) -> Any:
        latent, settings = {"samples": clip_latent()}, ("Tune-A-Video", 2, 0.0, 0)
        return TuneVideoModel.execute(self.plain, conditioning(EDIT.source), latent, *settings, **options).result[0]

    def _fresh_source(self) -> Any:
        return dataclasses.replace(self.source, cache=AttentionCache())

    def _edit(self, source_attention: str) -> Any:
        prompts = conditioning(EDIT.target), negative()
        return AttentionBlendSampler.execute(
            self.model,
            self._fresh_source(),
            EDIT,
            *prompts,
            5.0,
            {"preset": "style"},
            source_attention=source_attention,
        ).result[0]["samples"]

    def _edit_with_disk(self) -> Any:
        whole, source_attention.free_budget = source_attention.free_budget, lambda *_, **__: CacheBytes(disk=1 << 30)
        try:
            return self._edit("cache")
        finally:
            source_attention.free_budget = whole

    def _ksampler(self) -> Any:
        model = AttentionBlend.execute(self.model, self._fresh_source(), EDIT, {"preset": "style"}).result[0]
        prompts = conditioning(EDIT.target), negative()
        return comfyui_nodes.KSampler().sample(
            model, 0, STEPS, 5.0, "euler", "normal", *prompts, {"samples": clip_latent()}
        )[0]["samples"]

    def _edit_coupled(self) -> Any:
        source, positive, edit, _ = self._prompts(self.wan_clip).result
        shares = {"cross_until": 0.4, "self_until": 0.4, "skip": 0.0, "drift": 0.0}
        clip = self.wan, edit, source, positive, source, self.wan_latent
        return CoupledEditSampler.execute(*clip, STEPS, 1.5, "simple", 0, **shares).result[0]["samples"]


def _weights(loader: Any) -> list[dict[str, torch.Tensor]]:
    """Those of the MODEL, CLIP and VAE that a node loads."""
    model, clip, vae = loader.execute().result
    return [part.state_dict() for part in (model.model, clip.cond_stage_model, vae.first_stage_model)]
