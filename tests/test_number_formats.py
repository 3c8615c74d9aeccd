"""Pictures and masks of any floating-point format, as other nodes and --fp16-intermediates make them: every node that
takes them gives what it gives for float32."""

import asyncio
import os

import folder_paths
import pytest
import torch

from edit_cases import clip_latent, conditioning, inverted, negative, prompt_edit, sampled, small_model
from fatezero_pack.fatezero.compat import io
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.video.clip import ClipFit, Selection
from fatezero_pack.fatezero.video.frames import Placement
from fatezero_pack.fatezero.video.read import read_file
from fatezero_pack.nodes import FateZeroExtension
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.attention_mask import AVERAGE, AttentionMask
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.compare_videos import CompareVideos
from fatezero_pack.nodes.composite import CompositeOutsideMask
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from fatezero_pack.nodes.edit_report import NUMBERS, EditReport
from fatezero_pack.nodes.fit_mask import FitMask
from fatezero_pack.nodes.heat_map import AttentionHeatMap
from fatezero_pack.nodes.video_load import VideoLoad
from fatezero_pack.nodes.video_save import VideoSave
from tiny_video_models import conditioning as video_conditioning
from tiny_video_models import wan

EDIT = prompt_edit()
FRAMES, SIDE = 2, 128
IMAGES = torch.rand(FRAMES, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(1))
OTHERS = IMAGES.flip(0)
MASK = (torch.rand(FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(2)) > 0.5).float()
SHAPE = {"preset": "style", "mask_from": "mask input"}

pytestmark = pytest.mark.usefixtures("folders")


@pytest.fixture(scope="module")
def run():
    model = small_model()
    return model, inverted(model, EDIT)


def attention_mask(run, dtype):
    return AttentionMask.execute(run[1], "jeep", 0.3, AVERAGE, 0, 0, 0, images=IMAGES.to(dtype)).args[1]


def heat_map(run, dtype):
    return AttentionHeatMap.execute(run[1], "jeep", AVERAGE, 0, images=IMAGES.to(dtype)).args[0]


def composite(run, dtype):
    return CompositeOutsideMask.execute(IMAGES.to(dtype), OTHERS.to(dtype), MASK.to(dtype)).args[0]


def edit_report(run, dtype):
    shown = EditReport.execute(IMAGES.to(dtype), OTHERS.to(dtype), mask=MASK.to(dtype)).ui
    (measured,) = shown[NUMBERS]
    return torch.tensor(list(measured.values()))


def compare_videos(run, dtype):
    return CompareVideos.execute(IMAGES.to(dtype), OTHERS.to(dtype), layout="split", difference="to the first").args[0]


def fit_mask(run, dtype):
    fit = ClipFit((SIDE, SIDE), Placement((SIDE, SIDE), (64, 64)), (0, 1))
    return FitMask.execute(MASK.to(dtype), fit).args[0]


def video_load(run, dtype):
    return VideoLoad.execute("", 0, 0, 1, 64, 64, "crop", "8", images=IMAGES.to(dtype)).args[0]


def video_save(run, dtype):
    """Lossless, the clip beside another."""
    VideoSave.execute(IMAGES.to(dtype), 8.0, f"clip_{dtype}", "ffv1", 100, compare_with=OTHERS.to(dtype))
    folder = folder_paths.get_output_directory()
    (name,) = (name for name in os.listdir(folder) if str(dtype) in name)
    return read_file(os.path.join(folder, name), name, Selection(), lambda size: Placement(size, size)).images


def attention_blend(run, dtype):
    return sampled(AttentionBlend.execute(*run, EDIT, SHAPE, mask=MASK.to(dtype)).args[0], run[1], EDIT)


def blend_sampler(run, dtype):
    prompts = conditioning(EDIT.target), negative()
    return AttentionBlendSampler.execute(*run, EDIT, *prompts, 5.0, SHAPE, mask=MASK.to(dtype)).args[0]["samples"]


def coupled_sampler(run, dtype, tokens):
    model, source, target = wan(), tokens("a red circle"), tokens("a blue circle")
    prompts = (video_conditioning(prompt) for prompt in (source, target, source))
    latent = clip_latent(3, 8, 8, channels=16).movedim(0, 1)[None]
    return CoupledEditSampler.execute(
        *(model, make_prompt_edit(source, target), *prompts, {"samples": latent}, 2, 1.0, "simple", 0),
        **{"cross_until": 0.4, "self_until": 0.0, "skip": 0.0, "drift": 0.0, "mask": MASK[:1].to(dtype)},
    ).args[0]["samples"]


CASES = {
    AttentionMask: attention_mask,
    AttentionHeatMap: heat_map,
    CompositeOutsideMask: composite,
    EditReport: edit_report,
    CompareVideos: compare_videos,
    FitMask: fit_mask,
    VideoLoad: video_load,
    VideoSave: video_save,
    AttentionBlend: attention_blend,
    AttentionBlendSampler: blend_sampler,
    CoupledEditSampler: coupled_sampler,
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("node", CASES, ids=lambda node: node.__name__)
def test_a_format_changes_only_rounding(node, dtype, run, t5_tokens):
    more = (t5_tokens,) if node is CoupledEditSampler else ()
    expected, found = (CASES[node](run, one, *more).float() for one in (torch.float32, dtype))
    assert found.shape == expected.shape and torch.allclose(found, expected, rtol=2e-2, atol=2e-2)


def test_every_node_that_takes_pictures_or_masks_is_asked():
    kinds = (io.Image.Input, io.Mask.Input)
    schemas = [node.define_schema() for node in asyncio.run(FateZeroExtension().get_node_list())]
    takes = {schema.node_id for schema in schemas if any(isinstance(item, kinds) for item in schema.inputs)}
    assert takes == {node.define_schema().node_id for node in CASES}
