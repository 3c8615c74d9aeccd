"""UNets that are given a picture beside the noise: inpainting (a mask and a masked picture) and pix2pix."""

import comfy.model_base
import pytest
import torch
from comfy_extras.nodes_ip2p import InstructPixToPixConditioning

import nodes
from edit_cases import FakeVae, clip_latent, conditioning, inverted, negative, prompt_edit, small_model
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.unet.chunk_fusion import ChunkFusion
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.null_text.optimization import Optimization, optimize_null_text
from fatezero_pack.fatezero.source.inversion import WordMapCapture
from fatezero_pack.fatezero.source.schedule import OFFICIAL
from fatezero_pack.fatezero.source.source_file import read_source, write_source
from fatezero_pack.nodes.invert import Invert
from golden_unet import relative

EDIT = prompt_edit()
FRAMES = 3


def inpainting_model():
    model = small_model(in_channels=9)
    model.model.set_inpaint()
    return inflate(model, Inflation(("current", "middle")))


def pix2pix_model():
    model = small_model(in_channels=8)
    model.model.__class__ = comfy.model_base.SD15_instructpix2pix
    model.model.process_ip2p_image_in = lambda image: image
    return inflate(model, Inflation(("current", "middle")))


def pictures(seed):
    return torch.rand(FRAMES, 128, 128, 3, generator=torch.Generator().manual_seed(seed))


def with_mask(seed=0):
    """The source, target and negative conditionings of InpaintModelConditioning, for its own pictures."""
    mask = torch.zeros(FRAMES, 128, 128)
    mask[:, 32:96, 32:96] = 1
    node = nodes.InpaintModelConditioning()
    source, target = conditioning(EDIT.source), conditioning(EDIT.target)
    source, others, _ = node.encode(source, negative(), pictures(seed), FakeVae(), mask, noise_mask=False)
    return source, node.encode(target, negative(), pictures(seed), FakeVae(), mask, noise_mask=False)[0], others


def with_picture(seed=0):
    source, target = conditioning(EDIT.source), conditioning(EDIT.target)
    source, others, _ = InstructPixToPixConditioning.execute(source, negative(), pictures(seed), FakeVae()).result
    return source, InstructPixToPixConditioning.execute(target, negative(), pictures(seed), FakeVae()).result[0], others


def plain():
    return conditioning(EDIT.source), conditioning(EDIT.target), negative()


def edit(model, source, target, others, preset="attribute"):
    return sample_edit(model, source, EDIT, PRESETS[preset], target, others, 5.0, disable_pbar=True)


CASES = [
    (inpainting_model, plain),
    (inpainting_model, with_mask),
    (pix2pix_model, plain),
    (pix2pix_model, with_picture),
]


@pytest.mark.parametrize("model, conds", CASES)
def test_inverted_and_edited(model, conds, tmp_path):
    """All at once and in chunks, from a file too; the source's attention is that of its inversion."""
    model, (positive, target, others) = model(), conds()
    latent = clip_latent(frames=FRAMES)
    seen = {"inversion": [], "edit": []}

    def recording(kind, method):
        def attend(self, layer, query, key, value, extra, previous):
            row = query if kind == "inversion" else self.source_row(query, extra)
            if row is not None and layer.block == ("middle", 0):
                seen[kind].append(row.clone())
            return method(self, layer, query, key, value, extra, previous)

        return attend

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WordMapCapture, "attend", recording("inversion", WordMapCapture.attend))
        source = inverted(model, EDIT, latent, steps=2, schedule="normal", conditioning=positive)
        patch.setattr(ChunkFusion, "attend", recording("edit", ChunkFusion.attend))
        whole = edit(model, source, target, others)
    assert torch.isfinite(whole).all()
    middle = [sorted(float(query.norm()) for query in seen[kind]) for kind in ("inversion", "edit")]
    assert middle[1] and all(min(abs(norm - other) / norm for other in middle[0]) < 1e-5 for norm in middle[1])

    at_once = sampled_in_chunks(model, 1)
    assert relative(edit(at_once, source, target, others), whole) < 1e-5
    path = str(tmp_path / "run.safetensors")
    write_source(path, source)
    assert relative(edit(model, read_source(path), target, others), whole) < 1e-5


def test_the_sources_picture_is_its_own():
    """Whatever picture the target is given."""
    model = pix2pix_model()
    latent = clip_latent(frames=FRAMES)
    source = inverted(model, EDIT, latent, steps=2, schedule="normal", conditioning=with_picture(0)[0])
    same, other = (edit(model, source, *with_picture(seed)[1:]) for seed in (0, 1))
    assert relative(other, same) > 1e-3


@pytest.mark.parametrize("model, conds", CASES[1:])
def test_null_text(model, conds):
    model, (positive, _, others) = model(), conds()
    source = inverted(model, EDIT, clip_latent(frames=FRAMES), steps=2, schedule="normal", conditioning=positive)
    run, _, losses = optimize_null_text(model, source, others, Optimization(4.0, inner_steps=1))
    assert run.null_text.embeddings.isfinite().all() and all(step for step in losses)


def test_a_mask_in_the_latent_is_refused_at_inversion():
    source, _, latent = nodes.InpaintModelConditioning().encode(
        conditioning(EDIT.source), negative(), pictures(0), FakeVae(), torch.ones(1, 128, 128)
    )
    with pytest.raises(ValueError, match="'latent' carries a noise mask"):
        Invert.execute(inpainting_model(), source, latent, 2, OFFICIAL)
