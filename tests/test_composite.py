import pytest
import torch

from fatezero_pack.fatezero.masks.composite import composite
from fatezero_pack.fatezero.masks.mask_pictures import feather_mask
from fatezero_pack.nodes.composite import CompositeOutsideMask


def clips(frames=3, height=20, width=24):
    return torch.rand(2, frames, height, width, 3, generator=torch.Generator().manual_seed(0)).unbind()


def square(frames=1, height=20, width=24):
    mask = torch.zeros(frames, height, width)
    mask[:, 8:12, 10:14] = 1
    return mask


def run(original, edited, mask, grow=0, feather=0):
    return CompositeOutsideMask.execute(original, edited, mask, grow, feather).args


@pytest.mark.parametrize("grow, feather, reach", [(0, 0, 0), (3, 0, 3), (0, 3, 3), (2, 5, 7), (-1, 1, 0), (-2, 0, -2)])
def test_outside_is_the_original_bit_by_bit(grow, feather, reach):
    original, edited = clips()
    original[0, 0] = -0.0
    result, mask = run(original, edited, square(), grow, feather)
    outside = torch.ones(20, 24, dtype=torch.bool)
    if reach > -2:
        outside[8 - reach : 12 + reach, 10 - reach : 14 + reach] = False
    assert torch.equal(mask[0] == 0, outside)
    assert torch.equal(result[:, outside].view(torch.int32), original[:, outside].view(torch.int32))
    assert (result[:, ~outside] != original[:, ~outside]).any() or reach == -2


def test_inside_is_the_edit_and_between_is_a_mixture():
    original, edited = clips()
    result, _ = run(original, edited, square())
    assert torch.equal(result[:, 8:12, 10:14], edited[:, 8:12, 10:14])
    half, _ = run(original, edited, torch.full((20, 24), 0.5))
    torch.testing.assert_close(half, (original + edited) / 2)
    assert torch.equal(run(original, edited, torch.ones(1, 20, 24), feather=4)[0], edited)


def test_each_frame_has_its_own_mask():
    original, edited = clips()
    masks = torch.zeros(3, 20, 24)
    masks[1] = 1
    result, _ = run(original, edited, masks, grow=2, feather=2)
    assert torch.equal(result, torch.stack([original[0], edited[1], original[2]]))


def test_feathering_is_a_ramp():
    ramp = feather_mask(square(), 4)[0, 10]
    assert ramp[5] == 0 and (ramp[5:11].diff() > 0).all()
    assert torch.equal(feather_mask(square(), 0), square())


def test_inputs_stay_as_they_are_and_types_follow_the_original():
    original, edited = clips()
    mask = square(3)
    before = [tensor.clone() for tensor in (original, edited, mask)]
    result, _ = run(original, edited, mask, 2, 2)
    assert all(torch.equal(now, then) for now, then in zip((original, edited, mask), before))
    assert result.data_ptr() != original.data_ptr()
    assert composite(original, edited.half(), mask).dtype == torch.float32
    assert run(torch.cat((original, original[..., :1]), -1), edited, mask)[0].shape == original.shape


NAN = torch.full((3, 20, 24, 3), torch.nan)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            dict(edited=clips(4)[0]),
            "'edited' has 4 frames of 24x20 but 'original' has 3 frames of 24x20; connect clips of",
        ),
        (dict(edited=clips(3, 24, 20)[0]), "'edited' has 3 frames of 20x24 but 'original' has 3 frames of 24x20"),
        (dict(edited=NAN), "'edited' has invalid numbers"),
        (dict(original=NAN), "'original' has invalid numbers"),
        (dict(original=torch.zeros(0, 20, 24, 3)), r"'original' has the shape \[0, 20, 24, 3\]"),
        (dict(mask=torch.zeros(2, 20, 24)), "'mask' has 2 frames but 'original' has 3"),
        (dict(mask=torch.full((1, 20, 24), torch.nan)), "'mask' has invalid numbers"),
        (dict(mask=torch.zeros(1, 1, 20, 24)), r"'mask' has the shape \[1, 1, 20, 24\]"),
        (dict(feather=-1), "'feather' is -1; choose 0 to 512"),
    ],
)
def test_refusals_are_one_sentence(changes, message):
    original, edited = clips()
    with pytest.raises(ValueError, match=message) as refused:
        run(**{"original": original, "edited": edited, "mask": square(), **changes})
    text = str(refused.value)
    assert text.startswith("Composite Outside Mask: ") and text.endswith(".") and "\n" not in text
