"""Masks as people have them: of another size, one for all frames, or drawn and tracked on the original footage."""

import pytest
import torch
from PIL import Image

from edit_cases import edited, inverted, prompt_edit, small_model
from fatezero_pack.fatezero.edit.settings import INPUT_MASK, BlendSettings
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.prompts.word_fields import find_words
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.nodes.composite import CompositeOutsideMask
from fatezero_pack.nodes.edit_report import EditReport
from fatezero_pack.nodes.fit_mask import FitMask
from fatezero_pack.nodes.video_load import VideoLoad

LOAD = dict(start=0, count=8, every_nth=1, width=0, height=0, grid="8")


def footage(folder, count=12, size=(160, 90)):
    """Pictures of a white square that moves, and the square alone as a mask for each of them."""
    masks = torch.zeros(count, size[1], size[0])
    for index in range(count):
        masks[index, 30:60, 20 + 8 * index : 50 + 8 * index] = 1
        Image.fromarray((masks[index].numpy() * 255).astype("uint8")).convert("RGB").save(folder / f"{index}.png")
    return masks


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(64, 64), (0, 0), (96, 0), (48, 96)])
def test_a_mask_of_the_footage_lies_where_its_picture_does(folders, fit, size):
    (folders / "input" / "shot").mkdir()
    masks = footage(folders / "input" / "shot")
    settings = {**LOAD, "fit": fit, "width": size[0], "height": size[1], "start": 2, "every_nth": 3, "count": 3}
    images, *_, how = VideoLoad.execute(file="", path="shot", **settings).args
    (mask,) = FitMask.execute(masks, how).args
    assert mask.shape == images.shape[:3]
    torch.testing.assert_close(mask, images[..., 0])
    (one,) = FitMask.execute(masks[5], how).args
    torch.testing.assert_close(one[0], mask[1])
    large = torch.nn.functional.interpolate(masks[5:6, None], scale_factor=4)[:, 0]
    assert (FitMask.execute(large, how).args[0] - one).abs().mean() < 0.02
    assert torch.equal(FitMask.execute(mask, how).args[0], mask)
    with pytest.raises(Refusal, match="Fit Mask: 'mask' has 8 frames, but 3 were taken of the clip, up to its frame 8"):
        FitMask.execute(masks[:8], how)


BOX = {"x": 20, "y": 30, "width": 30, "height": 30, "score": 0.9}


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_boxes_on_the_footage_lie_where_its_picture_does(folders, fit):
    (folders / "input" / "shot").mkdir()
    footage(folders / "input" / "shot")
    settings = {**LOAD, "fit": fit, "width": 64, "height": 64, "start": 2, "every_nth": 3, "count": 3}
    images, *_, how = VideoLoad.execute(file="", path="shot", **settings).args
    each = [[{**BOX, "x": 20.0 + 8 * index}] for index in range(12)]
    (mask,) = FitMask.execute(fit=how, boxes=each).args
    torch.testing.assert_close(mask, images[..., 0])
    for one in (each[5][0], each[5], [each[5]]):  # a box, boxes for all frames, boxes of each frame
        torch.testing.assert_close(FitMask.execute(fit=how, boxes=one).args[0][0], mask[1])
    (both,) = FitMask.execute(fit=how, boxes=each, mask=torch.ones(1, 90, 160)).args
    assert torch.equal(both, torch.maximum(both, mask)) and both[:, 32].min() > 0.999
    with pytest.raises(Refusal, match="Fit Mask: 'boxes' has 8 frames, but 3 were taken"):
        FitMask.execute(fit=how, boxes=each[:8])


def test_boxes_on_the_loaded_frames_stay_where_they_are(folders):
    (folders / "input" / "shot").mkdir()
    footage(folders / "input" / "shot")
    *_, how = VideoLoad.execute(file="", path="shot", **{**LOAD, "fit": "crop", "width": 64, "height": 64}).args
    frames = [[BOX, {"x": -5, "y": 60.5, "width": 8.2, "height": 99}], [], *[[BOX]] * 6]
    (mask,) = FitMask.execute(fit=how, boxes=frames, boxes_lie_on="loaded frames").args
    expected = torch.zeros(64, 64)
    expected[30:60, 20:50] = 1
    assert torch.equal(mask[2], expected) and mask[1].max() == 0
    expected[60:, :4] = 1
    assert torch.equal(mask[0], expected)
    for where in ("footage", "loaded frames"):
        with pytest.raises(Refusal, match="Fit Mask: 'boxes' all lie outside the"):
            FitMask.execute(fit=how, boxes={**BOX, "x": 5000}, boxes_lie_on=where)


@pytest.mark.parametrize("boxes", [3, [3], [[3]], {"x": 1}, [[{**BOX, "x": float("nan")}]], [{**BOX, "width": "w"}]])
def test_what_are_no_boxes_is_one_sentence(clip, boxes):
    how = VideoLoad.execute(file="clip.mp4", fit="crop", **LOAD).args[4]
    with pytest.raises(Refusal, match="Fit Mask: 'boxes' are no bounding boxes of ComfyUI"):
        FitMask.execute(fit=how, boxes=boxes)
    with pytest.raises(Refusal, match="Fit Mask: 'mask' and 'boxes' are both missing; connect one of them."):
        FitMask.execute(fit=how)


def test_a_mask_of_another_size_is_resized():
    original, after = torch.zeros(2, 32, 48, 3), torch.ones(2, 32, 48, 3)
    mask = torch.zeros(8, 12)
    mask[2:6, 3:9] = 1
    images, used = CompositeOutsideMask.execute(original, after, mask, 0, 0).args
    assert used.shape == (1, 32, 48) and images[:, 10:22, 14:34].min() == 1 and images[:, :6].max() == 0
    with torch.inference_mode():
        edit = prompt_edit()
        source = inverted(small_model(), edit)

        def with_mask(mask):
            settings = BlendSettings(
                Window(0, 1), Window(0, 1), mask_from=INPUT_MASK, mask=mask, latent_window=Window(0, 1)
            )
            return edited(small_model(), source, edit, settings)

        height, width = source.trajectory.shape[-2:]
        half = torch.zeros(1, height, width)
        half[..., : width // 2] = 1
        large = torch.nn.functional.interpolate(half[None], scale_factor=5)[0]
        torch.testing.assert_close(with_mask(large), with_mask(half))


def test_several_words_may_be_joined_by_and():
    tokens = prompt_edit("a red circle on green grass", "a blue circle on green grass").source
    both = find_words(tokens, "circle, grass")
    assert find_words(tokens, "circle and grass") == find_words(tokens, "circle und grass") == both
    with pytest.raises(Refusal, match="names 'and'"):
        find_words(tokens, "and")
    with pytest.raises(Refusal, match="names 'snow'"):
        find_words(tokens, "circle and snow")
    joined = prompt_edit("a cat and a dog", "a cat and a fox").source
    assert len(find_words(joined, "cat and")) == 2  # where the prompt has the word, it is meant


def test_a_mask_of_another_aspect_is_told(folders):
    """Not one that is even, nor one of another size in the same aspect."""
    (folders / "input" / "shot").mkdir()
    masks = footage(folders / "input" / "shot")
    images, *_, how = VideoLoad.execute(file="", path="shot", **{**LOAD, "width": 64, "height": 64}, fit="crop").args
    square, small = torch.nn.functional.interpolate(masks[:1, None], (90, 90))[0], masks[:1, ::2, ::2]
    for mask, told in ((square, True), (small, False), (masks[0], False), (torch.ones(90, 90), False)):
        assert bool(FitMask.execute(mask, how).ui["text"]) == told
    (note,) = FitMask.execute(square, how).ui["text"]
    assert note.startswith("! 'mask' is 90x90 but the footage 160x90, so it is stretched; draw it on a frame of the")
    for mask, told in ((masks[:1], True), (square, False), (images[:1, ..., 0], False), (torch.zeros(64, 32), False)):
        assert bool(CompositeOutsideMask.execute(images, images, mask).ui["text"]) == told
    (note,) = CompositeOutsideMask.execute(images, images, masks[:1]).ui["text"]
    assert note.startswith("! 'mask' is 160x90 but the clip 64x64, so it is stretched; draw it on a frame of the clip")
    report, _ = EditReport.execute(images, images, masks[:1]).args
    assert report.startswith(note) and "stretched" not in EditReport.execute(images, images, square).args[0]
