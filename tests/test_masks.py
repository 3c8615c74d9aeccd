"""Masks from cross-attention, in cases that can be worked out by hand."""

import pytest
import torch
import torch.nn.functional as F

from costs import seconds
from edit_cases import inverted, prompt_edit, small_model
from fatezero_pack.fatezero.edit.edit_mask import edit_mask
from fatezero_pack.fatezero.edit.settings import INPUT_MASK, WORDS, BlendSettings
from fatezero_pack.fatezero.masks import mask_pictures
from fatezero_pack.fatezero.masks import word_masks as masks
from fatezero_pack.fatezero.masks.source_mask import source_mask
from fatezero_pack.fatezero.network.attention_layers import CROSS
from fatezero_pack.fatezero.network.unet.layer_sizes import layer_areas
from fatezero_pack.fatezero.network.unet.mask_layers import MaskLayers, mask_downsampling, mask_layers
from fatezero_pack.fatezero.network.word_maps import cross_attention_map
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.nodes.attention_mask import AVERAGE, ONE_STEP, AttentionMask


def spot(value: float = 1.0, at=(2, 5), size=(8, 8), frames: int = 1, tokens: int = 4):
    """Word maps that are zero but for one cell of token 2."""
    maps = torch.zeros(frames, tokens, *size)
    maps[:, 2, at[0], at[1]] = value
    return maps


def test_attention_map_of_equal_keys_is_even():
    maps = cross_attention_map(torch.randn(2, 16, 8), torch.zeros(2, 7, 8), heads=2)
    assert torch.allclose(maps, torch.full((2, 16, 7), 1 / 7))


def test_attention_map_by_hand():
    """One head of width 4: scores are the products over 2."""
    query, key = torch.tensor([[[2.0, 0, 0, 0]]]), torch.tensor([[[3.0, 0, 0, 0], [0.0, 1, 0, 0]]])
    expected = torch.tensor([3.0, 0.0]).softmax(dim=0)
    assert torch.allclose(cross_attention_map(query, key, heads=1)[0, 0], expected)


def test_attention_map_averages_heads():
    query, key = torch.randn(1, 5, 8), torch.randn(1, 3, 8)
    halves = [cross_attention_map(query[..., part], key[..., part], heads=1) for part in (slice(0, 4), slice(4, 8))]
    assert torch.allclose(cross_attention_map(query, key, heads=2), (halves[0] + halves[1]) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "size, downsampling",
    [((64, 64), 4), ((32, 32), 4), ((16, 16), 2), ((8, 8), 1), ((9, 16), 1), ((40, 64), 4), ((24, 64), 2), ((4, 4), 1)],
)
def test_downsampling(size, downsampling):
    assert mask_downsampling(*size) == downsampling


@pytest.mark.parametrize(
    "levels, latent, cells",
    [
        (4, (64, 64), (16, 16)),  # Stable Diffusion 1.x at 512x512, as the official code
        (4, (32, 48), (8, 12)),  # at 256x384: coarse, and not the coarsest
        (3, (32, 32), (32, 32)),  # the large demo model: its 8x8 layers are the coarsest
        (3, (16, 24), (8, 12)),  # the small one
        (3, (64, 64), (16, 16)),
        (1, (8, 8), (8, 8)),
    ],
)
def test_masks_are_not_read_from_the_coarsest_layers_where_those_are_too_coarse(levels, latent, cells):
    per_level = {"num_res_blocks": [1] * levels, "channel_mult": [1] * levels, "transformer_depth": [1] * levels}
    network = small_model(**per_level, transformer_depth_output=[1] * 2 * levels).model.diffusion_model
    assert mask_layers(network, *latent).size == cells
    coarsest = tuple(side >> (levels - 1) for side in latent)
    assert mask_layers(network, *latent, kept=coarsest).size == coarsest  # as files of earlier versions hold them
    assert mask_layers(network, *latent, kept=(5, 5)).size == cells


def test_all_layers_but_the_coarsest_are_read_where_those_are_too_coarse():
    """Of one layer in each level on the way down and two on the way up, and one in the middle."""
    per_level = {"num_res_blocks": [1] * 3, "channel_mult": [1] * 3, "transformer_depth": [1] * 3}
    network = small_model(**per_level, transformer_depth_output=[1] * 6).model.diffusion_model
    areas = {layer: area for layer, area, _ in layer_areas(network, 32, 32) if layer.kind == CROSS}
    found = mask_layers(network, 32, 32)
    assert found.layers == {layer for layer, area in areas.items() if area != (8, 8)}
    assert {areas[layer] for layer in found.layers} == {(16, 16), (32, 32)}
    middle = mask_layers(network, 32, 32, kept=(16, 16))  # of an inversion by a version that read these alone
    assert middle.layers == {layer for layer, area in areas.items() if area == (16, 16)} and middle.size == (16, 16)


def test_maps_of_coarser_layers_are_brought_to_the_size_of_the_finest():
    query, key = torch.randn(1, 4, 8), torch.randn(1, 3, 8)
    extra = {"n_heads": 2, "activations_shape": (1, 8, 2, 2)}
    maps = MaskLayers(frozenset(), (4, 4)).word_maps(query, key, extra)
    assert maps.shape == (1, 3, 4, 4) and torch.allclose(maps.sum(dim=1), torch.ones(1, 4, 4), atol=1e-5)


def test_one_cell_grows_by_the_pool():
    mask = masks.words_mask(spot(size=(16, 16)), [2], (16, 16), 0.3)[0]
    expected = torch.zeros(16, 16)
    expected[1:4, 4:7] = 1
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("size", [(8, 8), (4, 6)])
def test_the_pool_widens_no_more_of_the_frame_in_small_maps(size):
    """One cell of 16 on each side, as in the official code, and not one of 8 or 4."""
    mask = masks.words_mask(spot(at=(2, 3), size=size), [2], (64, 64), 0.5)[0]
    heights = mask.amax(dim=1).nonzero()
    assert 64 / size[0] < heights.max() - heights.min() + 1 <= 64 * (1 / size[0] + 2 / 16)


def test_mask_follows_its_size():
    small, large = (masks.words_mask(spot(size=(16, 16)), [2], size, 0.3) for size in ((16, 16), (48, 80)))
    assert torch.equal(small.repeat_interleave(3, 1).repeat_interleave(5, 2), large)


def test_threshold_is_relative_to_each_frame():
    maps = spot(frames=2, size=(16, 16))
    maps[1] *= 1e-3
    for threshold in (0.9, masks.AUTOMATIC):
        mask = masks.words_mask(maps, [2], (16, 16), threshold)
        assert torch.equal(mask[0], mask[1]) and mask[0].sum() == 9


@pytest.mark.parametrize("offset, scale", [(0.0, 1.0), (5.0, 1.0), (0.2, 0.01)])
def test_the_automatic_threshold_parts_two_groups_wherever_they_lie(offset, scale):
    """As a fixed one does not: attention that is high everywhere is above it everywhere."""
    heat = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.3
    heat[:, 4:9, 6:12] += 0.6
    mask = masks.heat_mask(offset + scale * heat, masks.AUTOMATIC)
    expected = torch.zeros(1, 16, 16)
    expected[:, 4:9, 6:12] = 1
    assert torch.equal(mask, expected)


def test_the_automatic_threshold_of_nothing_is_an_empty_mask():
    assert masks.heat_mask(torch.full((2, 8, 8), 0.7), masks.AUTOMATIC).sum() == 0


def test_the_automatic_threshold_needs_no_numbers_that_an_apple_gpu_lacks(monkeypatch):
    heat = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = masks.automatic_thresholds(heat)
    monkeypatch.setattr(masks, "widest_float", lambda device: torch.float32)
    assert torch.equal(masks.automatic_thresholds(heat), expected)
    monkeypatch.undo()
    assert masks.widest_float(torch.device("mps")) == torch.float32


def test_tokens_add_up():
    maps = torch.zeros(1, 3, 8, 8)
    maps[0, 0, 2, 2], maps[0, 1, 2, 2], maps[0, 2, 6, 6] = 0.4, 0.4, 1.0
    assert masks.words_mask(maps, [0, 2], (8, 8), 0.5)[0, 2, 2] == 0
    assert masks.words_mask(maps, [0, 1, 2], (8, 8), 0.5)[0, 2, 2] == 1


def test_thresholds_at_the_ends():
    maps = torch.rand(2, 4, 8, 8) + 0.1
    assert masks.words_mask(maps, [1, 2], (16, 16), 1.0).sum() == 0
    assert masks.words_mask(maps, [1, 2], (16, 16), 1e-6).min() == 1


@pytest.mark.parametrize("maps, tokens", [(spot(0.0), [2]), (spot(1e-45), [2]), (spot(), []), (spot(), [0])])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_never_nan(maps, tokens, threshold):
    """In the official code a word without attention gives 0/0."""
    assert torch.isfinite(masks.words_heat(maps, tokens, (16, 16))).all()
    mask = masks.words_mask(maps, tokens, (16, 16), threshold)
    assert mask.shape == (1, 16, 16) and set(mask.unique().tolist()) <= {0.0, 1.0}


def test_heat_lies_within_0_and_1():
    heat = masks.words_heat(torch.rand(3, 5, 8, 8) * 1e-4, [1, 3], (20, 12))
    assert heat.min() >= 0 and torch.allclose(heat.amax(dim=(1, 2)), torch.ones(3))


def test_resize_averages():
    mask = torch.zeros(1, 4, 4)
    mask[0, 0, 0] = 1
    assert torch.equal(mask_pictures.resize_mask(mask, (2, 2))[0], torch.tensor([[0.25, 0], [0, 0]]))
    assert mask_pictures.resize_mask(mask, (4, 4)) is mask
    assert torch.allclose(mask_pictures.resize_mask(torch.ones(2, 72, 128), (5, 8)), torch.ones(2, 5, 8))


@pytest.mark.parametrize("pixels, side", [(0, 1), (1, 3), (2, 5), (-1, 0)])
def test_grow(pixels, side):
    grown = mask_pictures.grow_mask(spot()[:, 2], pixels)
    assert grown.sum() == side**2


def test_shrink_keeps_the_frame_edge():
    """The picture's border is not the mask's."""
    assert mask_pictures.grow_mask(torch.ones(1, 8, 8), -2).min() == 1


def test_smooth_over_time():
    mask = torch.tensor([0.0, 1.0, 0.0, 0.0]).view(4, 1, 1).expand(4, 2, 2)
    assert mask_pictures.smooth_mask(mask, 0) is mask
    assert torch.allclose(mask_pictures.smooth_mask(mask, 1)[:, 0, 0], torch.tensor([1, 1, 1, 0]) / 3)
    assert torch.allclose(mask_pictures.smooth_mask(torch.ones(1, 2, 2), 3), torch.ones(1, 2, 2))


def test_overlay_tints_only_the_mask():
    images = torch.rand(1, 4, 4, 3)
    mask = torch.zeros(1, 4, 4)
    mask[0, 0, 0] = 1
    before = images.clone()
    result = mask_pictures.overlay(images, mask)
    assert torch.equal(images, before) and torch.equal(result[0, 1:], images[0, 1:])
    assert torch.allclose(result[0, 0, 0], images[0, 0, 0] * 0.5 + torch.tensor([0.5, 0.05, 0.05]))


# The node.


@pytest.fixture(scope="module")
def run():
    return inverted(small_model(), prompt_edit())


def test_node_gives_masks_of_the_clips_size(run):
    images = torch.rand(2, 128, 128, 3)
    mask, overlay = AttentionMask.execute(run, "jeep", 0.9, AVERAGE, 0, 0, 0, images=images).result
    assert mask.shape == (2, 128, 128) and overlay.shape == images.shape
    assert torch.equal(overlay[mask == 0], images[mask == 0])
    empty, _ = AttentionMask.execute(run, "jeep", 1.0, AVERAGE, 0, 0, 0).result
    assert empty.sum() == 0 < mask.mean() < 1


def test_steps_count_from_the_noisiest(run):
    """Denoising step 0 replays the last call of inversion."""
    for step in range(run.steps):
        mask, _ = AttentionMask.execute(run, "jeep", 0.9, ONE_STEP, step, 0, 0).result
        position = run.steps - 1 - step
        only = type(run)(**{**vars(run), "word_maps": run.word_maps[position : position + 1]})
        assert torch.equal(mask, source_mask(only, None, "jeep", 0.9, None))


def test_words_of_the_edit_are_the_default(run):
    edit = prompt_edit()
    assert torch.equal(source_mask(run, edit, "", 0.9, None), source_mask(run, edit, "silver", 0.9, None))
    assert not torch.equal(source_mask(run, edit, "jeep", 0.9, None), source_mask(run, edit, "", 0.9, None))
    both = source_mask(run, edit, "silver jeep", 0.9, None)
    assert torch.equal(both, source_mask(run, edit, " jeep , silver", 0.9, None))


# Grown and feathered masks, against the whole square at each place.


def whole_square_max(mask, radius):
    padded = F.pad(mask[:, None], (radius,) * 4, mode="replicate")
    return F.max_pool2d(padded, 2 * radius + 1, 1)[:, 0]


def whole_square_mean(mask, radius):
    padded = F.pad(mask[:, None].double(), (radius,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * radius + 1, 1)[:, 0].float()


def some_mask(height, width):
    generator = torch.Generator().manual_seed(height * width)
    soft = torch.rand(2, height, width, generator=generator)
    return torch.stack([soft[0], (soft[1] > 0.9).float(), torch.zeros(height, width)])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 8), (17, 30)])
@pytest.mark.parametrize("pixels", [1, 2, 3, 5, 8, 40])
def test_growing_and_feathering_are_those_of_the_whole_square(size, pixels):
    mask = some_mask(*size)
    assert torch.equal(mask_pictures.grow_mask(mask, pixels), whole_square_max(mask, pixels))
    assert torch.equal(mask_pictures.grow_mask(mask, -pixels), -whole_square_max(-mask, pixels))
    feathered = mask_pictures.feather_mask(mask, pixels)
    expected = whole_square_mean(whole_square_mean(mask, pixels // 2), pixels - pixels // 2)
    torch.testing.assert_close(feathered, expected, rtol=0, atol=1e-6)
    assert torch.equal(feathered == 0, expected == 0) and feathered.dtype == torch.float32


@pytest.mark.parametrize("change", [mask_pictures.grow_mask, mask_pictures.feather_mask])
def test_a_radius_costs_nearly_nothing(change):
    """At the square of the radius 128 pixels cost 900 times as much as 4, at the radius 28 times."""
    mask = torch.rand(1, 256, 256)
    assert seconds(lambda: change(mask, 128)) < 12 * seconds(lambda: change(mask, 4))


def test_half_precision_and_bounds_stay():
    mask = some_mask(12, 12).half()
    for changed in (mask_pictures.grow_mask(mask, 3), mask_pictures.feather_mask(mask, 3)):
        assert changed.dtype == torch.float16 and changed.min() >= 0 and changed.max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda mask: mask_pictures.grow_mask(mask, 2),
        lambda mask: mask_pictures.feather_mask(mask, 2),
        lambda mask: mask_pictures.smooth_mask(mask, 2),
    ],
)
def test_it_can_be_cancelled_between_frames(change, monkeypatch):
    checks = []

    def cancel():
        checks.append(len(checks))
        if len(checks) == 2:
            raise InterruptedError

    monkeypatch.setattr(mask_pictures, "throw_exception_if_processing_interrupted", cancel)
    with pytest.raises(InterruptedError):
        change(torch.rand(5, 8, 8))
    assert len(checks) == 2


def test_a_soft_edge_is_of_words_alone():
    """A mask that was drawn keeps its edge: nothing outside it may change."""
    edit = prompt_edit("a red jeep", "a blue jeep")
    maps = torch.zeros(1, edit.source.length, 16, 16)
    maps[0, edit.source_mask_tokens[0], 4:8, 4:8] = 1.0
    drawn = torch.zeros(1, 128, 128)
    drawn[:, 32:64, 32:64] = 1
    words = BlendSettings(mask_from=WORDS, threshold=0.3, latent_window=Window(0, 1))
    given = BlendSettings(mask_from=INPUT_MASK, mask=drawn, latent_window=Window(0, 1))
    for settings, values in ((words, 4), (given, 2)):
        where = (settings, edit, (16, 16), range(1), torch.device("cpu"), maps)
        hard, soft = edit_mask(*where), edit_mask(*where, soft=True)
        assert len(hard.unique()) == 2 and len(soft.unique()) >= values
        assert torch.equal(soft > 0.4, hard > 0.5)  # a corner has four of nine
