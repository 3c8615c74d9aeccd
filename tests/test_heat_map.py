"""Heat maps of words, of a source whose attention is known and of the demo model."""

from dataclasses import replace

import pytest
import torch
from comfy.model_management import InterruptProcessingException

from edit_cases import TOKENIZER, conditioning, prompt_edit
from fatezero_pack.demo import world
from fatezero_pack.demo.model import load_demo_model
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.report import heat_map
from fatezero_pack.fatezero.report.heat_map import (
    EACH_FRAME,
    GRID_LIMIT,
    WHOLE_CLIP,
    chosen_words,
    colored,
    fitting_grid,
    heat_colors,
    percent,
    relative_heat,
    word_attention,
)
from fatezero_pack.fatezero.report.labels import bar_height
from fatezero_pack.fatezero.source.inversion import invert
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from fatezero_pack.fatezero.source.source_run import SourceRun
from fatezero_pack.nodes.attention_mask import AVERAGE, ONE_STEP
from fatezero_pack.nodes.edit_prompts import EditPrompts
from fatezero_pack.nodes.heat_map import AttentionHeatMap

PROMPT = "a red circle on green grass"
RED, CIRCLE, GREEN, GRASS = 2, 3, 5, 6
SIZE, BAR = 64, bar_height(64, 64)

pytestmark = pytest.mark.usefixtures("temp_folder")


def source(prompt: str = PROMPT, steps: int = 2, frames: int = 2, size: int = 8) -> SourceRun:
    """Word maps [steps, frames, T', 8, 8]: red is at the upper left, circle there and at the lower right.

    In the second frame everything is half as strong; in the noisiest step grass has some attention.
    """
    tokens = tokenize_prompt(TOKENIZER, prompt)
    maps = torch.zeros(steps, frames, tokens.end + 1, size, size)
    maps[:, :, RED, 1, 1], maps[:, :, CIRCLE, 1, 1], maps[:, :, CIRCLE, 6, 6] = 0.2, 0.4, 0.1
    maps[-1, :, GRASS, 6, 1] = 0.3
    maps[:, 1] /= 2
    return SourceRun(
        sigmas=torch.linspace(0, 10, steps + 1),
        trajectory=torch.zeros(steps + 1, frames, 4, size, size),
        word_maps=maps,
        label="target",
        refinement=0,
        conditioning=conditioning(tokens),
        tokens=tokens,
        inflation=None,
        fingerprint="",
    )


def clip(frames: int = 2, size: int = SIZE) -> torch.Tensor:
    return torch.rand(frames, size, size, 3, generator=torch.Generator().manual_seed(0))


def run(source, words="", when=AVERAGE, step=0, scale=EACH_FRAME, opacity=0.6, **options):
    return AttentionHeatMap.execute(source, words, when, step, scale, opacity, **options).args


# ---- which words ----


def test_words_that_carry_meaning_are_shown():
    assert chosen_words(source(), None, "") == {
        "red": (RED,),
        "circle": (CIRCLE,),
        "green": (GREEN,),
        "grass": (GRASS,),
    }


def test_an_edit_brings_its_own_words():
    changed = prompt_edit(PROMPT, "a blue circle on green grass")
    assert chosen_words(source(), changed, "") == {"red": (RED,)}
    assert list(chosen_words(source(), changed, "grass")) == ["grass"]
    nothing = prompt_edit(PROMPT, PROMPT)
    assert len(chosen_words(source(), nothing, " , ")) == 4
    assert chosen_words(replace(source(), tokens=None), changed, "") == {"red": (RED,)}


def test_phrases_are_one_and_repeated_words_come_once():
    assert chosen_words(source(), None, "Red Circle, grass;") == {"Red Circle": (RED, CIRCLE), "grass": (GRASS,)}
    twice = source("a cat and a cat")
    assert chosen_words(twice, None, "") == {"cat": (2, 5)}
    assert chosen_words(source("of the on in at to"), None, "") == {
        "of": (1,),
        "the": (2,),
        "on": (3,),
        "in": (4,),
        "at": (5,),
        "to": (6,),
    }


# ---- how hot ----


def test_attention_by_hand():
    average = word_attention(source(), [(RED, CIRCLE), (GRASS,)], None)
    assert average.shape == (2, 2, 8, 8)
    assert average[0, 0, 1, 1] == pytest.approx(0.6) and average[1, 0, 1, 1] == pytest.approx(0.3)
    assert average[0, 0, 6, 6] == pytest.approx(0.1) and average[0, 1, 6, 1] == pytest.approx(0.15)
    noisiest, cleanest = (word_attention(source(), [(GRASS,)], step)[0, 0, 6, 1] for step in (0, 1))
    assert noisiest == pytest.approx(0.3) and cleanest == 0


def test_scales():
    attention = word_attention(source(), [(RED,), (CIRCLE,), (GREEN,)], None)
    own, shared = relative_heat(attention, EACH_FRAME), relative_heat(attention, WHOLE_CLIP)
    assert own.amax(dim=(2, 3)).tolist() == [[1, 1, 0], [1, 1, 0]]
    torch.testing.assert_close(shared.amax(dim=(2, 3)), torch.tensor([[0.5, 1, 0], [0.25, 0.5, 0]]))


def test_heat_is_at_its_place_and_of_the_clips_size():
    _, _, heat = run(source(), "circle")
    assert heat.shape == (2, SIZE, SIZE) and heat.min() == 0 and heat.max() <= 1
    assert heat[0, 8:16, 8:16].max() > 0.8  # in the cell's middle, which lies between pixels
    torch.testing.assert_close(heat[0, 48:56, 48:56] * 4, heat[0, 8:16, 8:16])
    assert heat[0, :32, 32:].max() == 0
    weaker = run(source(), "circle", scale=WHOLE_CLIP)[2]
    torch.testing.assert_close(weaker[1] * 2, weaker[0])
    torch.testing.assert_close(run(source(), "red, circle")[2], run(source(), "red circle")[2])


def test_one_step_is_read():
    assert run(source(), "grass", ONE_STEP, 0)[2].max() > 0.7
    assert run(source(), "grass", ONE_STEP, 1)[2].max() == 0


# ---- the pictures ----


def test_sizes():
    overlay, grid, heat = run(source(), images=clip())
    assert overlay.shape == (2, SIZE, SIZE, 3) and heat.shape == (2, SIZE, SIZE)
    assert grid.shape == (2, *fitting_grid(5, (SIZE, SIZE)).total[::-1], 3)
    assert run(source())[1].shape == (2, *fitting_grid(4, (SIZE, SIZE)).total[::-1], 3)
    assert 0 <= min(overlay.min(), grid.min()) and max(overlay.max(), grid.max()) <= 1


@pytest.mark.parametrize("cells, size", [(2, (512, 512)), (9, (512, 288)), (41, (1920, 1080)), (75, (256, 1024))])
def test_the_grid_of_many_words_stays_small(cells, size):
    grid = fitting_grid(cells, size)
    rows = -(-cells // grid.columns)
    assert grid.columns * grid.size[0] <= GRID_LIMIT[0] and rows * grid.size[1] <= GRID_LIMIT[1]
    assert grid.size[0] <= size[0] and grid.size[0] / grid.size[1] == pytest.approx(size[0] / size[1], rel=0.05)
    assert grid.columns * rows - cells < grid.columns


def test_the_grid_begins_with_the_plain_clip():
    images = clip()
    _, grid, _ = run(source(), "circle", images=images)
    assert torch.equal(grid[:, BAR : BAR + SIZE, :SIZE], images)
    assert not torch.equal(grid[:, BAR : BAR + SIZE, -SIZE:], images)
    assert grid[:, :BAR].amax() > 0.8  # letters on the bar
    assert not torch.equal(grid[0, :BAR, -SIZE:], grid[1, :BAR, -SIZE:])  # 40% and 20%


def test_opacity_goes_from_the_grey_clip_to_colours_alone():
    images = clip()
    grey = (images * torch.tensor(heat_map.LUMINANCE)).sum(-1, keepdim=True).expand_as(images)
    none, all_of_it = (run(source(), "circle", images=images, opacity=opacity)[0] for opacity in (0.0, 1.0))
    torch.testing.assert_close(none[:, BAR:], grey[:, BAR:])
    torch.testing.assert_close(all_of_it, run(source(), "circle", opacity=0.3)[0])
    assert all_of_it[0, 40, 10].max() < 0.02  # no heat: black


def test_hotter_is_brighter():
    palette = heat_colors()
    assert palette.shape == (256, 3) and (palette.mean(dim=1).diff() > -0.005).all()
    assert palette[200, 0] > palette[200, 2]  # red before blue
    assert torch.equal(colored(torch.tensor([[0.0, 1.0]]), None, palette, 1.0)[0], palette[[0, 255]])


def test_shares_are_readable():
    assert [percent(share) for share in (0.0, 0.0123, 0.0996, 0.4)] == ["0.0%", "1.2%", "10%", "40%"]


def test_half_precision_and_alpha_are_read():
    images = torch.cat((clip(), clip()[..., :1]), dim=-1).half()
    assert [output.dtype for output in run(source(), images=images)] == [torch.float32] * 3


def test_a_preview_plays(temp_folder):
    AttentionHeatMap.execute(source(), "", AVERAGE, 0)
    assert [file.suffix for file in temp_folder.iterdir()] == [".mp4"]


def test_inputs_stay_as_they_are():
    images, run_ = clip(), source()
    before = images.clone(), run_.word_maps.clone()
    for output in run(run_, images=images):
        output.zero_()
    assert torch.equal(images, before[0]) and torch.equal(run_.word_maps, before[1])


def test_a_cancel_is_heard(monkeypatch):
    def cancel():
        raise InterruptProcessingException

    monkeypatch.setattr(heat_map, "throw_exception_if_processing_interrupted", cancel)
    with pytest.raises(InterruptProcessingException):
        run(source())


BAD = {
    "a word that is not there": (dict(words="zebra"), r"'words' names 'zebra'.*: a, red, circle, on, green, grass\.$"),
    "opacity": (dict(opacity=1.5), "'opacity' is 1.5; choose"),
    "a step beyond": (dict(when=ONE_STEP, step=2), "'step' is 2 .* choose 0 to 1"),
    "other images": (dict(images=torch.zeros(2, 32, 32, 3)), "'images' are 2 frames of 32x32 .* 2 of 64x64; connect"),
    "another length": (dict(images=torch.zeros(3, 64, 64, 3)), "'images' are 3 frames"),
    "broken images": (dict(images=torch.full((2, 64, 64, 3), torch.nan)), "'images' has invalid numbers"),
    "another clip's edit": (dict(edit=prompt_edit()), "'edit' starts from"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_refused(case):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=f"^Attention Heat-Map: .*{message}"):
        run(source(), **options)


def test_unknown_prompts_are_refused():
    with pytest.raises(ValueError, match="^Attention Heat-Map: 'inverted clip' was inverted with .* use Edit Prompts"):
        run(replace(source(), tokens=None), "red")
    with pytest.raises(ValueError, match='^Attention Heat-Map: the source prompt "!!" has no words'):
        run(replace(source(), tokens=tokenize_prompt(TOKENIZER, "!!")))


# ---- the demo model ----


def test_demo_model_sees_the_circle_where_it_is():
    thing = world.Thing("red", "circle", 0.4, 0.45, 0.22)
    scene = world.Scene("grass", (thing,), ground_seed=3)
    frames = world.video(scene, 2, seed=1)
    images = torch.stack([torch.from_numpy(world.render(frame)) for frame in frames]).float() / 255
    inside = torch.stack([torch.from_numpy(world.thing_mask(frame.things[0])) for frame in frames]) > 0.5
    model, clip_, vae = load_demo_model()
    prompt, _, edit, _ = EditPrompts.execute(clip_, PROMPT, PROMPT.replace("red", "blue"), "auto", "", "", "", "").args
    inverted = invert(model, prompt, vae.encode(images), sigmas=inversion_sigmas(model, OFFICIAL, 8), disable_pbar=True)
    for word in ("circle", "red"):
        heat = run(inverted, word, images=images)[2]
        for frame in range(2):
            assert heat[frame][inside[frame]].mean() > 2 * heat[frame][~inside[frame]].mean(), word
    assert torch.equal(run(inverted, edit=edit)[2], run(inverted, "red")[2])
