"""The measures against values worked out by hand or in another way, and at their edges."""

import math

import numpy as np
import pytest
import torch

from fatezero_pack.fatezero.report import metrics

INF, NAN = float("inf"), float("nan")


def clips(frames=3, height=16, width=24, seed=0):
    return torch.rand(2, frames, height, width, 3, generator=torch.Generator().manual_seed(seed)).unbind()


def left_half(frames=1, height=16, width=24):
    mask = torch.zeros(frames, height, width)
    mask[:, :, : width // 2] = 1
    return mask


def same(found, expected):
    torch.testing.assert_close(
        torch.as_tensor(found, dtype=torch.float32), torch.as_tensor(expected, dtype=torch.float32), equal_nan=True
    )


def test_psnr_is_the_textbook_formula():
    before, after = clips()
    for frame, value in enumerate(metrics.psnr(before, after).tolist()):
        error = np.mean((before[frame].numpy().astype(float) - after[frame].numpy()) ** 2)
        assert value == pytest.approx(20 * math.log10(1 / math.sqrt(error)), abs=1e-4)
    same(metrics.psnr(torch.zeros(1, 8, 8, 3), torch.full((1, 8, 8, 3), 0.1)), [20.0])


def test_a_region_is_measured_alone():
    before, after = clips()
    same(metrics.psnr(before, after, left_half()), metrics.psnr(before[:, :, :12], after[:, :, :12]))
    same(metrics.change(before, after, 1 - left_half()), (before - after)[:, :, 12:].abs().mean(dim=(1, 2, 3)))
    soft = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(1))
    for frame, value in enumerate(metrics.change(before, after, soft).tolist()):
        difference = np.abs(before[frame].numpy() - after[frame].numpy()).mean(axis=-1)
        assert value == pytest.approx(np.average(difference, weights=soft[frame].numpy()), rel=1e-5)


def test_identical_clips_and_empty_regions():
    before, after = clips()
    same(metrics.psnr(before, before), [INF] * 3)
    same(metrics.change(before, before), [0.0] * 3)
    assert metrics.strongest_change(before, before, left_half()) == 0
    mask = left_half(3)
    mask[1] = 0
    values = metrics.change(before, after, mask)
    assert torch.isnan(values).tolist() == [False, True, False]
    assert metrics.mean(values) == pytest.approx((float(values[0]) + float(values[2])) / 2)
    assert math.isnan(metrics.strongest_change(before, after, torch.zeros(1, 16, 24)))
    assert math.isnan(metrics.mean(metrics.psnr(before, after, torch.zeros(1, 16, 24))))


def test_the_strongest_change_sees_small_things_and_no_noise():
    before = torch.full((4, 128, 128, 3), 0.5)
    noise = 0.1 * torch.randn(before.shape, generator=torch.Generator().manual_seed(0))
    assert metrics.strongest_change(before, before + noise) < 0.03
    after = before.clone()
    after[:, 40:72, 40:72] += 0.4  # 16 of 256 cells, 6 %
    assert metrics.strongest_change(before, after) == pytest.approx(0.4)
    assert metrics.mean(metrics.change(before, after)) == pytest.approx(0.025)
    outside = torch.ones(1, 128, 128)
    outside[:, 40:72, 40:72] = 0
    assert metrics.strongest_change(before, after, outside) == 0
    assert metrics.strongest_change(before[:, :5, :5], after[:, :5, :5]) == 0  # smaller than a cell


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.change, metrics.strongest_change])
def test_clips_that_cannot_be_compared_are_refused(measure):
    before, after = clips()
    with pytest.raises(ValueError, match="must be alike"):
        measure(before, after[:, :8])
    with pytest.raises(ValueError, match="must be alike"):
        measure(before, after[:2])
    with pytest.raises(ValueError, match="expected .frames or 1"):
        measure(before, after, left_half(2))
    after[1, 2, 3, 0] = NAN
    with pytest.raises(ValueError, match="NaN"):
        measure(before, after)


def test_clip_measures_of_known_angles():
    images = torch.tensor([[1.0, 0.0], [3.0, 3.0], [0.0, 2.0]])  # 0, 45 and 90 degrees, of any length
    half = math.sqrt(0.5)
    same(metrics.clip_score(images, torch.tensor([5.0, 0.0])), [1, half, 0])
    same(metrics.temporal_consistency(images), [half, half])
    source, target = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    same(metrics.frame_accuracy(images, source, target), [0, 1, 1])  # a tie counts
    same(metrics.frame_accuracy(images, target, target), [1, 1, 1])
    assert metrics.temporal_consistency(images[:1]).shape == (0,)
    assert math.isnan(metrics.mean(metrics.temporal_consistency(images[:1])))


def test_object_semantic_variance_is_the_sum_of_the_channels_variances():
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    assert metrics.object_semantic_variance(features) == pytest.approx(features.numpy().var(axis=0).sum(), rel=1e-5)
    assert metrics.object_semantic_variance(features[:1].expand(4, 5)) == 0
    unit = torch.nn.functional.normalize(features, dim=-1)
    assert metrics.object_semantic_variance(unit) == pytest.approx(1 - float(unit.mean(dim=0).norm()) ** 2, rel=1e-5)


def test_embeddings_that_cannot_be_compared_are_refused():
    images = torch.ones(3, 4)
    with pytest.raises(ValueError, match="4 numbers"):
        metrics.clip_score(images, torch.ones(5))
    for broken in (torch.ones(4), torch.ones(0, 4), torch.full((3, 4), NAN)):
        with pytest.raises(ValueError, match="embeddings"):
            metrics.temporal_consistency(broken)
        with pytest.raises(ValueError, match="embeddings"):
            metrics.object_semantic_variance(broken)


def test_objects_are_cut_out_where_the_mask_is():
    images = torch.zeros(3, 16, 24, 3)
    mask = torch.zeros(3, 16, 24)
    for frame, column in ((0, 2), (2, 14)):  # the same square at two places, none in frame 1
        images[frame, 4:10, column : column + 6] = torch.tensor([1.0, 0.0, 0.0])
        mask[frame, 4:10, column : column + 6] = 1
    pictures, frames = metrics.object_pictures(images, mask)
    assert frames == [0, 2] and pictures.shape == (2, 6, 6, 3)
    assert torch.equal(pictures[0], pictures[1]) and (pictures[0, ..., 0] == 1).all()
    mask[0, 4:10, 2:12] = 1  # wider than high: padded with grey
    mask[0, 4, 2] = 0
    pictures, _ = metrics.object_pictures(images, mask)
    assert pictures.shape == (2, 10, 10, 3)
    same(pictures[0, :2], torch.full((2, 10, 3), 0.5))
    same(pictures[0, 2, 0], [0.5, 0.5, 0.5])  # outside the mask, inside its bounds
    pictures, frames = metrics.object_pictures(images, torch.zeros(1, 16, 24))
    assert len(pictures) == 0 and frames == []
