"""Every refusal begins with the name of the node on which it appears, whichever room raised it.

Two ways: each node is given objects that refuse whatever is asked of them, and a table drives the checks that nodes
share. A new node is found by itself; a new shared check is a row of the table.
"""

import ast
import asyncio
import traceback
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import comfy.hooks
import comfy.samplers
import folder_paths
import pytest
import torch

import unsuitable
from edit_cases import clip_latent, conditioning, inverted, inverted_noise, negative, prompt_edit, small_model
from fatezero_pack import comfy_entrypoint, fatezero
from fatezero_pack.fatezero.compat import io
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.schedule import OFFICIAL
from fatezero_pack.fatezero.source.source_file import write_source
from fatezero_pack.fatezero.source.video_inversion import invert_video
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.attention_mask import AVERAGE, AttentionMask
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.heat_map import AttentionHeatMap
from fatezero_pack.nodes.inflate import InflateUNet
from fatezero_pack.nodes.invert import Invert
from fatezero_pack.nodes.null_text import OPTIMIZED, NullTextOptimization
from fatezero_pack.nodes.source_load import LoadSourceRun
from fatezero_pack.nodes.source_save import SaveSourceRun
from golden_unet import patcher
from tiny_video_models import WIDTH, two_wans, wan

NODES = asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())
NAMES = {node: node.define_schema().display_name for node in NODES}
EDIT = prompt_edit()
WRONG = {"FateZeroLoadDemoModel": {"size": "huge"}}  # it has nothing but a choice


class Refusing:
    """Refuses whatever is asked of it, as a check deep inside would."""

    def __getattr__(self, name):
        raise Refusal("'input' is of no use; choose another.")

    __getitem__ = __iter__ = __len__ = __bool__ = __float__ = __call__ = lambda self, *_: self.refuse


def refusing_inputs(node) -> dict:
    """Inputs of a node as they stand on it when it is new, with refusing objects on its wires."""
    inputs = {}
    for item in node.define_schema().inputs:
        if isinstance(item, io.DynamicCombo.Input):
            inputs[item.id] = {item.id: item.options[0].key}
        elif isinstance(item, io.WidgetInput):
            inputs[item.id] = item.options[0] if getattr(item, "options", None) else item.default
            if inputs[item.id] is None:
                inputs[item.id] = ""
        else:
            inputs[item.id] = Refusing()
    return inputs


@pytest.mark.parametrize("node", [node for node in NODES if node.define_schema().inputs], ids=NAMES.get)
def test_a_node_signs_what_its_inputs_refuse(node):
    with pytest.raises(Refusal) as told:
        node.execute(**refusing_inputs(node) | WRONG.get(node.define_schema().node_id, {}))
    assert str(told.value).startswith(f"{NAMES[node]}: ")


SAVING = [node for node in NODES if any(item.id == "filename_prefix" for item in node.define_schema().inputs)]


@pytest.mark.parametrize("node", SAVING, ids=NAMES.get)
def test_a_node_signs_what_it_says_before_anything_runs(node):
    assert node.validate_inputs(filename_prefix="../x").startswith(f"{NAMES[node]}: 'filename prefix' is '../x'; ")
    assert node.validate_inputs(filename_prefix="fatezero/x") is True


def test_nothing_in_the_library_names_a_node_at_its_beginning():
    """The library does not know which node asks."""
    begins = tuple(f"{name}:" for name in NAMES.values())
    for file in Path(fatezero.__path__[0]).rglob("*.py"):
        for part in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                assert not part.value.startswith(begins), f"{file.name}, line {part.lineno}"


# The nodes with good input everywhere but in what is named.


def inflate_unet(given):
    return InflateUNet.execute(given.model, "all")


def invert(given):
    latent = {"samples": given.latent, **given.latent_options}
    return Invert.execute(given.model, given.source, latent, given.steps, given.schedule, resume=given.resume)


def null_text(given):
    settings = {"learning_rate": given.learning_rate, "early_stop": given.early_stop, "report_error": False}
    return NullTextOptimization.execute(
        given.model, given.run, given.negative, given.guidance, OPTIMIZED, given.inner_steps, reuse=False, **settings
    )


def load_source(given):
    return LoadSourceRun.execute(given.model, given.file, given.low_noise_model)


def save_source(given):
    return SaveSourceRun.execute(given.run, "fatezero/again")


def resumed(given):
    return invert(SimpleNamespace(**{**vars(given), "resume": True}))


def mask(given):
    return AttentionMask.execute(given.run, "", 0.3, AVERAGE, 0, 0, 0, edit=given.edit)


def heat_map(given):
    return AttentionHeatMap.execute(given.run, "", AVERAGE, 0, edit=given.edit)


def blend(given):
    return AttentionBlend.execute(given.model, given.run, given.edit, given.preset, **given.options)


def blended(given):
    """Attention Blend's refusals that come up within another node, as KSampler samples."""
    guider = comfy.samplers.CFGGuider(blend(given).result[0])
    guider.set_conds(given.positive, negative())
    noise = inverted_noise(given.model, given.run)
    sigmas = given.run.sigmas.flip(0)
    return guider.sample(torch.zeros_like(noise), noise, comfy.samplers.ksampler("euler"), sigmas, disable_pbar=True)


def blend_sampler(given):
    return AttentionBlendSampler.execute(
        given.model, given.run, given.edit, given.positive, negative(), 5.0, given.preset, **given.options
    )


INFLATE, INVERT, NULL_TEXT = "Inflate UNet to ST-Attention", "DDIM Invert + Store Attention", "Null-Text Optimization"
LOAD, SAVE, MASK, HEAT_MAP = "Load Inverted Clip", "Save Inverted Clip", "Attention Mask", "Attention Heat-Map"
BLEND, SAMPLER = "Attention Blend", "Attention Blend Sampler"
# The node that speaks, and how it is asked. Two speak in two places.
RESUME, IN_KSAMPLER = f"{INVERT}, resumed", f"{BLEND}, in KSampler"
ASK = {
    INFLATE: inflate_unet,
    INVERT: invert,
    RESUME: resumed,
    NULL_TEXT: null_text,
    LOAD: load_source,
    SAVE: save_source,
    MASK: mask,
    HEAT_MAP: heat_map,
    BLEND: blend,
    IN_KSAMPLER: blended,
    SAMPLER: blend_sampler,
}


def of_another_channel_count(run):
    return replace(run, trajectory=run.trajectory.repeat(1, 1, 2, 1, 1))


def refiner():
    model = small_model().model
    model.__class__ = type("SDXLRefiner", (type(model),), {})
    return patcher(model)


def keyframed():
    """Hooks that begin half way."""
    hook, group = comfy.hooks.WeightHook(), comfy.hooks.HookGroup()
    hook.hook_keyframe.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.5))
    group.add(hook)
    return group


def longer_prompt(run):
    return replace(run, tokens=None, conditioning=unsuitable.concatenated(run.conditioning))


def infinite(embedding_of):
    return [[torch.full_like(embedding_of[0][0], float("inf")), {}]]


def without_gradient(model):
    model = model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, given: apply(given["input"], given["timestep"], **given["c"]).detach()
    )
    return model


def with_patch(model):
    model = model.clone()
    model.set_model_attn1_patch(lambda query, key, value, extra: (query, key, value))
    return model


PAIR = "fatezero/pair.safetensors [output]"
OTHER = prompt_edit("a dog in the snow", "a cat in the snow")
SAMPLING = [INFLATE, INVERT, NULL_TEXT, LOAD, BLEND, SAMPLER]
# What is changed, what is then said, and the nodes that can reach the check.
TABLE = [
    # network/unet/check.py
    (lambda good: dict(model=unsuitable.flux()), "'model' is a Flux", SAMPLING),
    (lambda good: dict(model=refiner()), "'model' is the SDXL refiner", SAMPLING),
    (lambda good: dict(model=small_model(in_channels=7)), "'model' reads 7 channels", SAMPLING),
    (lambda good: dict(latent=torch.zeros(1, 4, 3, 16, 16)), "'latent' has 5 dimensions", [INVERT]),
    (lambda good: dict(latent=clip_latent(channels=16)), "'latent' has 16 channels", [INVERT]),
    (lambda good: dict(latent=clip_latent(0)), "'latent' holds no frames", [INVERT]),
    (lambda good: dict(latent=unsuitable.spoilt_latent()), "'latent' holds NaN", [INVERT]),
    (
        lambda good: dict(model=unsuitable.context_windows(good.model)),
        "'model' has context windows",
        [INVERT, NULL_TEXT],
    ),
    (lambda good: dict(source=conditioning(EDIT.source, width=32)), "'source conditioning' has 32 channels", [INVERT]),
    (lambda good: dict(negative=[[torch.ones(1, 77, 32), {}]]), "'negative' has 32 channels", [NULL_TEXT]),
    (lambda good: dict(source=infinite(good.source)), "'source conditioning' holds NaN or infinite", [INVERT]),
    (lambda good: dict(negative=infinite(good.negative)), "'negative' holds NaN or infinite", [NULL_TEXT]),
    (lambda good: dict(model=unsuitable.continuous_edm(good.model)), "'model' predicts in a way", [INVERT, NULL_TEXT]),
    # source/inversion_check.py
    (lambda good: dict(source=good.source * 2), "'source conditioning' holds 2 conditionings", [INVERT]),
    (
        lambda good: dict(source=unsuitable.limited(good.source, clip_start_percent=0.0) * 2),
        "'source conditioning' holds 2 conditionings, since the CLIP",
        [INVERT],
    ),
    (lambda good: dict(source=unsuitable.limited(good.source, area=(4, 4, 0, 0))), "limited to an area", [INVERT]),
    (lambda good: dict(source=unsuitable.limited(good.source, start_percent=0.2)), "limited to a part", [INVERT]),
    (lambda good: dict(source=unsuitable.concatenated(good.source)), "'source conditioning' has 154 tokens", [INVERT]),
    (lambda good: dict(latent_options={"noise_mask": 1}), "'latent' carries a noise mask", [INVERT]),
    (
        lambda good: dict(source=unsuitable.limited(good.source, hooks=keyframed())),
        "'source conditioning' has keyframes",
        [INVERT],
    ),
    (
        lambda good: dict(model=wan(), latent=torch.ones(1, 16, 3, 8, 10)),
        "'source conditioning' was made with a CLIP of Stable Diffusion",
        [INVERT],
    ),
    # source/schedule.py
    (lambda good: dict(steps=5000), "'steps' is 5000", [INVERT]),
    (lambda good: dict(schedule="kl_optimal", steps=1), "repeats noise levels", [INVERT]),
    # source/digest.py, network/inspection/model_identity.py: what cannot be resumed
    (lambda good: dict(model=with_patch(good.model)), "'model' carries what another node has put there", [RESUME]),
    # source/source_check.py
    (
        lambda good: dict(model=unsuitable.other_checkpoint()),
        "'model' is not the one",
        [NULL_TEXT, LOAD, IN_KSAMPLER, SAMPLER],
    ),
    (
        lambda good: dict(model=inflate(good.model, Inflation(("first",)))),
        "the model is inflated with [key frames first]",
        [NULL_TEXT, LOAD, IN_KSAMPLER, SAMPLER],
    ),
    (lambda good: dict(edit=OTHER), "'edit' starts from", [MASK, HEAT_MAP, BLEND, SAMPLER]),
    (
        lambda good: dict(edit=replace(EDIT, source=replace(EDIT.source, ids=(7, *EDIT.source.ids[1:])))),
        "'edit' was made with another text encoder than the inverted prompt",
        [MASK, HEAT_MAP, BLEND, SAMPLER],
    ),
    (lambda good: dict(run=longer_prompt(good.run)), "the inverted prompt has 154 tokens", [BLEND, SAMPLER]),
    (
        lambda good: dict(low_noise_model=good.model),
        "'low noise model' is connected, but the source was inverted with one model",
        [LOAD],
    ),
    (
        lambda good: dict(file=PAIR, model=good.pair[0]),
        "the source was inverted with two models, but 'low noise model' is not connected",
        [LOAD],
    ),
    (
        lambda good: dict(file=PAIR, model=good.pair[1], low_noise_model=good.pair[0]),
        "'model' is the one that the source was inverted with for low noise",
        [LOAD],
    ),
    (
        lambda good: dict(file=PAIR, model=good.pair[0], low_noise_model=good.pair[0]),
        "'low noise model' is not the one",
        [LOAD],
    ),
    # source/source_file.py
    (
        lambda good: dict(run=replace(good.run, trajectory=good.run.trajectory * float("nan"))),
        "'inverted clip' holds NaN or infinite values",
        [SAVE],
    ),
    (
        lambda good: dict(run=replace(good.run, conditioning=[[good.source[0][0], {"hooks": 1}]])),
        "carries hooks",
        [SAVE],
    ),
    (lambda good: dict(file="gone.safetensors"), "'file' is gone.safetensors", [LOAD]),
    (lambda good: dict(file="fatezero/text.safetensors [output]"), "'text.safetensors' cannot be used", [LOAD]),
    # null_text
    (lambda good: dict(guidance=1.0), "'guidance' is 1", [NULL_TEXT]),
    (lambda good: dict(inner_steps=0), "'inner steps' is 0", [NULL_TEXT]),
    (lambda good: dict(early_stop=-1.0), "'early stop' is -1", [NULL_TEXT]),
    (
        lambda good: dict(run=replace(good.run, sigmas=good.run.sigmas[1:])),
        "'inverted clip' does not hold a latent",
        [NULL_TEXT],
    ),
    (lambda good: dict(run=of_another_channel_count(good.run)), "'inverted clip' has 8 channels", [NULL_TEXT]),
    (lambda good: dict(negative=good.negative * 2), "'negative' holds 2 conditionings", [NULL_TEXT]),
    (lambda good: dict(negative=[[good.negative[0][0], {"mask": 1}]]), "'negative' is limited to a mask", [NULL_TEXT]),
    (lambda good: dict(model=without_gradient(good.model)), "'model' cannot give gradients", [NULL_TEXT]),
]
ROWS = [
    pytest.param(change, words, node, id=f"{words[:40]} - {node}") for change, words, nodes in TABLE for node in nodes
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Inputs with which every node of the table runs; a saved run and a file that is none lie in the output folder."""
    model, output = small_model(), tmp_path_factory.mktemp("output")
    run = inverted(model, EDIT, steps=2)
    (output / "fatezero").mkdir()
    write_source(str(output / "fatezero" / "run.safetensors"), run)
    (output / "fatezero" / "text.safetensors").write_text("text")
    pair = two_wans()
    text = [[torch.randn(1, 8, WIDTH, generator=torch.Generator().manual_seed(1)), {}]]
    levels = {"sigmas": torch.tensor([0.0, 0.5, 1.0]), "low_noise_model": pair[1], "boundary": 0.7}
    video = invert_video(pair[0], text, torch.ones(1, 16, 1, 4, 4), **levels, disable_pbar=True)
    write_source(str(output / "fatezero" / "pair.safetensors"), video)
    return SimpleNamespace(
        output=output,
        pair=pair,
        low_noise_model=None,
        model=model,
        run=run,
        edit=EDIT,
        source=conditioning(EDIT.source),
        positive=conditioning(EDIT.target),
        negative=negative(),
        latent=clip_latent(),
        latent_options={},
        steps=2,
        schedule=OFFICIAL,
        resume=False,
        guidance=7.5,
        inner_steps=1,
        learning_rate=1e-2,
        early_stop=1e-5,
        file="fatezero/run.safetensors [output]",
        preset={"preset": "style"},
        options={},
    )


@pytest.mark.parametrize("change, words, asked", ROWS)
def test_a_shared_check_is_signed_by_the_node_that_asks(good, monkeypatch, change, words, asked):
    monkeypatch.setattr(folder_paths, "output_directory", str(good.output))
    bad = SimpleNamespace(**{**vars(good), **change(good)})
    with pytest.raises(Refusal) as told:
        ASK[asked](bad)
    name, _, rest = str(told.value).partition(": ")
    assert name == asked.partition(",")[0] and words in rest, str(told.value)


@pytest.mark.parametrize("asked", ASK)
def test_good_inputs_are_not_refused(good, monkeypatch, asked):
    """So that each row above is refused for what it changes."""
    monkeypatch.setattr(folder_paths, "output_directory", str(good.output))
    ASK[asked](good)


# In these files a new refusal needs a new row. (Elsewhere the checks of a node's wires and widgets come first.)

COVERED = ["source/inversion_check.py", "source/source_check.py"]


def refusals(file: Path) -> list[int]:
    """The lines on which a file raises a Refusal."""
    raised = [part for part in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(part, ast.Raise)]
    return [
        part.lineno
        for part in raised
        if isinstance(part.exc, ast.Call) and getattr(part.exc.func, "id", "").endswith(("Refusal", "Unrecognised"))
    ]


@pytest.fixture(scope="module")
def driven(good):
    """Where the errors of the table came through: (file, line)."""
    places = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_paths, "output_directory", str(good.output))
        for change, _, nodes in TABLE:
            with pytest.raises(Refusal) as told:
                ASK[nodes[0]](SimpleNamespace(**{**vars(good), **change(good)}))
            error = told.value
            while error is not None:
                places |= {(Path(place.filename), place.lineno) for place in traceback.extract_tb(error.__traceback__)}
                error = error.__cause__
    return places


@pytest.mark.parametrize("name", COVERED)
def test_the_table_drives_every_refusal_of_a_room(driven, name):
    file = Path(fatezero.__path__[0]) / name
    missing = [line for line in refusals(file) if (file, line) not in driven]
    assert refusals(file) and not missing, f"{name}, lines {missing}"
