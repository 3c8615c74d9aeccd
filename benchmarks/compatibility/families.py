"""`python -m benchmarks.compatibility.families [--only NAME ...] [--write]`: checkpoints at their real shapes.

Random half-precision weights in the shapes of each family's released checkpoints, recognised and built by ComfyUI as it
does with a file; then an inversion and an edit of a small clip. The largest takes 6 GB of memory. A width in place of
the real one makes it quick.
"""

import argparse
import gc
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import comfy.model_detection
import comfy.ops
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy_extras.nodes_ip2p import InstructPixToPixConditioning
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

import nodes
from edit_cases import FakeVae, conditioning
from golden_unet import UNET_CONFIG, patcher
from sdxl_cases import SDXL as SMALL_SDXL

from .cells import EDIT, FRAMES, Bench, Cell, difference, stage
from .graph import AS_USUAL, Graph, unchanged
from .table import as_table, verdict, write_section

SIZE, STEPS = 8, 1  # of the latent: 64x64 pixels
V_PREDICTION_MARK = "output_blocks.11.1.transformer_blocks.0.norm1.bias"  # by its spread ComfyUI knows SD 2.1's v
SD15 = {**UNET_CONFIG, "model_channels": 320, "channel_mult": [1, 2, 4, 4], "num_heads": 8, "context_dim": 768}
SD21 = {**SD15, "num_heads": -1, "num_head_channels": 64, "context_dim": 1024, "use_linear_in_transformer": True}
SDXL = {
    **SMALL_SDXL,
    "model_channels": 320,
    "num_head_channels": 64,
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "context_dim": 2048,
}
REFINER = {
    **SDXL,
    "model_channels": 384,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [0, 0, 4, 4, 4, 4, 0, 0],
    "transformer_depth_output": [0, 0, 0, 4, 4, 4, 4, 4, 4, 0, 0, 0],
    "transformer_depth_middle": 4,
    "context_dim": 1280,
    "adm_in_channels": 2560,
}
SDXL_SIZES = {"width": 512, "height": 512, "crop_w": 0, "crop_h": 0, "target_width": 512, "target_height": 512}


def as_inpainting(source, others):
    """InpaintModelConditioning: a picture and where it is to be drawn anew."""
    pictures, mask = torch.rand(FRAMES, 8 * SIZE, 8 * SIZE, 3), torch.zeros(FRAMES, 8 * SIZE, 8 * SIZE)
    mask[:, 16:48, 16:48] = 1
    return nodes.InpaintModelConditioning().encode(source, others, pictures, FakeVae(), mask, noise_mask=False)[:2]


def as_pix2pix(source, others):
    """InstructPixToPixConditioning: the picture that is to be changed."""
    pictures = torch.rand(FRAMES, 8 * SIZE, 8 * SIZE, 3)
    return InstructPixToPixConditioning.execute(source, others, pictures, FakeVae()).result[:2]


def as_lcm(model):
    """ModelSamplingDiscrete for a checkpoint that LCM was merged into."""
    return ModelSamplingDiscrete().patch(model, "lcm", False)[0]


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint.

    recognised: ComfyUI's name for its model; unet: the shapes; options: what its text encoders add to a conditioning;
    pair: what its nodes make of positive and negative; patch: what is put on its model.
    """

    recognised: str
    unet: dict
    options: dict = field(default_factory=dict)
    is_v_prediction: bool = False
    pair: Callable = lambda positive, others: (positive, others)
    patch: Callable = unchanged

    def graph(self) -> Graph:
        """A graph with conditionings as this family's text encoders give them out."""
        width = self.unet["context_dim"]
        source, target = (conditioning(tokens, width) for tokens in (EDIT.source, EDIT.target))
        for _, options in (*source, *target):
            options.update(self.options)
        others = [[source[0][0] * 0.5, self.options]]
        source, others = self.pair(source, others)
        target, _ = self.pair(target, others)
        return replace(
            AS_USUAL, source=lambda _: source, positive=lambda _: target, negative=lambda _: others, patch=self.patch
        )


FAMILIES = {
    "SD 1.5": Family("BaseModel", SD15),
    "SDXL base": Family("SDXL", SDXL, {"pooled_output": torch.ones(1, 1280), **SDXL_SIZES}),
    "SDXL refiner": Family("SDXLRefiner", REFINER, {"pooled_output": torch.ones(1, 1280)}),
    "SD 2.1 (v, 768 px)": Family("BaseModel", SD21, is_v_prediction=True),
    "SD 2.1 (epsilon, 512 px)": Family("BaseModel", SD21),
    "SD 1.5 inpainting": Family("BaseModel", {**SD15, "in_channels": 9}, pair=as_inpainting),
    "instruct-pix2pix": Family("SD15_instructpix2pix", {**SD15, "in_channels": 8}, pair=as_pix2pix),
    "SD 1.5 with LCM merged": Family("BaseModel", SD15, patch=as_lcm),
}


def random_checkpoint(family: Family, channels: int | None = None):
    """A ModelPatcher of a family, built by ComfyUI from shapes; channels: of the first level, None for its own."""
    shapes = UNetModel(**family.unet, device="meta", operations=comfy.ops.disable_weight_init).state_dict()
    spread = 1.0 if family.is_v_prediction else 0.0
    if V_PREDICTION_MARK in shapes:
        shapes[V_PREDICTION_MARK] = spread * torch.linspace(-1, 1, len(shapes[V_PREDICTION_MARK]))
    config = comfy.model_detection.model_config_from_unet(shapes, "")
    config.unet_config["model_channels"] = channels or config.unet_config["model_channels"]
    config.set_inference_dtype(torch.float16, torch.float32)
    model = config.get_model(shapes, "", torch.device("cpu"))
    if type(model).__name__ != family.recognised:
        raise RuntimeError(f"ComfyUI takes it for a {type(model).__name__} instead of a {family.recognised}")
    _fill(model.diffusion_model)
    return patcher(model)


def _fill(network) -> None:
    """Random weights scaled by fan-in, all from one stretch of noise, which is quick."""
    noise = torch.randn(1 << 26, generator=torch.Generator().manual_seed(0)).half()
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            parameter.data.fill_(float(name.endswith("weight")))
            continue
        count = parameter.numel()
        start = zlib.crc32(name.encode()) % (len(noise) - count)
        scale = parameter[0].numel() ** -0.5 * (0.1 if name.startswith("out.2") else 1.0)
        parameter.data.copy_(noise[start : start + count].view_as(parameter)).mul_(scale)


def examined_family(family: Family, channels: int | None = None) -> Cell:
    """Inversion, edit, cache and closed windows of a family; channels: as of `random_checkpoint`."""
    cell = Cell()
    with torch.inference_mode():
        model, graph = random_checkpoint(family, channels), family.graph()
    bench = stage(cell, "inversion", lambda: Bench(model, usual=graph, size=SIZE, steps=STEPS))
    if bench is not None:
        stage(cell, "edit", lambda: _edit(bench, graph, cell))
    return cell


def _edit(bench: Bench, graph: Graph, cell: Cell) -> None:
    inverted, source = bench.baseline
    alone = bench.alone(graph, bench.baseline)
    cell.effects["inversion"] = difference(inverted, bench.latent)
    cell.effects["edit"] = difference(bench.edit, alone)
    cell.numbers["windows shut = node alone"] = difference(bench.edited(graph, bench.baseline, shut=True), alone)
    bench.edited(graph, bench.baseline, cache="auto")
    cell.numbers["cache = replay"] = difference(bench.edited(graph, bench.baseline, cache="auto"), bench.edit)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compatibility.families")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="families whose name contains one of these")
    parser.add_argument("--write", action="store_true", help="write the section of docs/compatibility.md")
    options = parser.parse_args()
    found = {}
    for name, family in FAMILIES.items():
        if options.only is None or any(part in name for part in options.only):
            found[name] = examined_family(family)
            gc.collect()
            print(name, verdict(found[name]), found[name], flush=True)
    if options.write:
        write_section("Families of models", [ABOUT, *as_table(found, "checkpoint")])


ABOUT = """
What `python -m benchmarks.compatibility.families --write` found: checkpoints in the shapes of the released ones, with
random half-precision weights, built by ComfyUI as from a file; 2 frames of 64x64, one step. *works*: a cache gives the
same as a replay to 1e-5, and with all windows shut the edit is the sampler alone to 1e-6.

*moves the inversion* says how far the noise lies from the clip's latent, and *moves the edit* how far the edit lies
from the sampler alone, as shares of the latter's length (relative L2). Only 0 would be a fault: nothing would have been
done."""


if __name__ == "__main__":
    main()
