"""What Video Load can be told to take: a path, a folder of pictures, another rate, a part; and its preview at once."""

import comfy.model_management
import comfy.utils
import pytest
import torch
from PIL import Image

from edit_cases import clip_latent, edited, inverted, prompt_edit, small_model
from fatezero_pack.fatezero.edit.settings import WORDS, BlendSettings
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.video import running
from fatezero_pack.fatezero.video.clip import Selection
from fatezero_pack.nodes.video_load import SHOWN, VideoLoad, preview
from video_clips import beep_time, numbered_frame, numbers, write_numbered

DEFAULTS = dict(file="clip.mp4", start=0, count=8, every_nth=1, width=0, height=0, fit="crop", grid="8")

pytestmark = pytest.mark.usefixtures("folders")


def load(**settings):
    return VideoLoad.execute(**{**DEFAULTS, **settings})


def frames(**settings):
    return numbers(load(**settings).args[0])


def test_a_lower_rate_leaves_frames_out_and_a_higher_one_repeats_them(clip):
    images, fps, audio, *_ = load(force_rate=4.0, count=0).args
    assert numbers(images) == list(range(0, 24, 2)) and fps == 4.0
    assert audio["waveform"].shape[-1] == 3 * 48000 and abs(beep_time(audio) - 1) < 0.05
    assert frames(force_rate=16.0, count=6) == [0, 0, 1, 1, 2, 2]
    assert frames(force_rate=12.0, count=6, start=2) == [1, 2, 2, 3, 4, 4]
    images, fps, *_ = load(force_rate=4.0, every_nth=3, start=1, count=3).args
    assert numbers(images) == [2, 8, 14] and fps == pytest.approx(4 / 3)


def test_a_rate_follows_the_times_of_a_clip_whose_own_rate_varies(folders):
    times = [0, 100, 200, 300, 1000, 1100]
    write_numbered(folders / "input" / "clip.mp4", count=6, times=times)
    assert frames(force_rate=10.0, count=0)[:11] == [0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 4]


def test_parts_of_a_clip_follow_each_other(clip):
    assert [frames(batch=batch, start=2, every_nth=2, count=4) for batch in range(3)] == [
        [2, 4, 6, 8],
        [10, 12, 14, 16],
        [18, 20, 22],
    ]
    with pytest.raises(Refusal, match=r"'batch' 3 begins at frame 26, but clip.mp4 has 24 frames; all of its parts"):
        load(batch=3, start=2, every_nth=2, count=4)
    with pytest.raises(
        Refusal, match=r"begins at frame 20, but clip.mp4 with 'force rate' 4 has \d+ frames; all of its"
    ):
        load(batch=5, count=4, force_rate=4.0)
    assert "'batch' counts parts" in VideoLoad.validate_inputs(file=None, batch=1, count=0)


def test_the_key_frame_can_stand_before_every_part(clip):
    parts = [load(batch=batch, start=2, every_nth=2, count=4, key_frame_first=True) for batch in range(3)]
    assert [numbers(part.args[0]) for part in parts] == [[2, 2, 4, 6, 8], [2, 10, 12, 14, 16], [2, 18, 20, 22]]
    assert [part.args[4].taken for part in parts][1] == (2, 10, 12, 14, 16)
    assert "4 frames (10 to 16) of clip.mp4" in parts[1].ui["text"][0]
    assert "Before them stands frame 2, as the key frame of all batches." in parts[1].ui["text"][0]
    audio, plain = parts[1].args[2], load(batch=1, start=2, every_nth=2, count=4).args[2]
    assert torch.equal(audio["waveform"], plain["waveform"])
    images = torch.rand(7, 16, 16, 3)
    led = load(images=images, count=3, batch=1, key_frame_first=True, size_for="width and height").args[0]
    assert torch.equal(led, images[[0, 3, 4, 5]])


def test_parts_with_their_key_frame_are_edited_as_one_clip():
    """Inverted and edited with key frames first + current, each frame of a part is that of the whole clip."""
    model = inflate(small_model(), Inflation(("first", "current")))
    edit, latent = prompt_edit(), clip_latent(6)
    settings = BlendSettings(Window(0, 0.7), Window(0, 0.7), mask_from=WORDS, latent_window=Window(0, 1))

    def result(part):
        return edited(model, inverted(model, edit, part), edit, settings)

    whole, second = result(latent), result(latent[[0, 3, 4, 5]])
    torch.testing.assert_close(second[1:], whole[3:], rtol=0, atol=1e-4 * float(whole.abs().max()))
    alone = result(latent[3:])
    assert (alone - whole[3:]).abs().max() > 0.01 * whole.abs().max()


def test_a_path_leads_to_files_and_to_pictures_in_counting_order(folders, clip):
    shots = folders / "input" / "shots" / "take 1"
    shots.mkdir(parents=True)
    for number in (1, 2, 10):
        Image.fromarray(numbered_frame(number)).save(shots / f"frame{number}.png")
    clip.rename(shots.parent / "own.mov")
    assert frames(path="shots/own.mov", file="gone.mp4") == list(range(8))
    images, fps, *_ = load(path="shots/take 1", force_rate=24.0).args
    assert numbers(images) == [1, 2, 10] and fps == 24.0
    assert frames(path="shots/take 1", start=1) == [2, 10]
    before = VideoLoad.fingerprint_inputs(file="clip.mp4", path="shots/take 1")
    Image.fromarray(numbered_frame(3)).save(shots / "frame11.png")
    assert VideoLoad.fingerprint_inputs(file="clip.mp4", path="shots/take 1") != before


def test_pictures_of_a_folder_keep_their_transparency(folders):
    (folders / "input" / "cells").mkdir()
    for number in range(2):
        Image.new("RGBA", (16, 16), (200, 100, 50, 128)).save(folders / "input" / "cells" / f"{number}.png")
    images, _, _, mask, _ = load(path="cells", background="#0000ff").args
    assert mask.unique().tolist() == [pytest.approx(128 / 255)]
    expected = torch.tensor([200, 100, 50]) / 255 * 128 / 255 + torch.tensor([0.0, 0, 1]) * 127 / 255
    torch.testing.assert_close(images[1, 0, 0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("path", ["gone", "..", "../output", "shots", "/etc/passwd"])
def test_a_path_that_leads_nowhere_is_refused_before_anything_runs(folders, clip, path):
    (folders / "input" / "shots").mkdir()
    message = VideoLoad.validate_inputs("clip.mp4", path=path)
    assert message.startswith("Video Load: 'path' is ") and path in message
    with pytest.raises(Refusal, match="'path' is"):
        load(path=path)


def test_a_link_out_of_the_input_folder_is_not_followed(folders, clip, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    clip.rename(tmp_path / "elsewhere" / "clip.mp4")
    (folders / "input" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refusal, match="'path' is link"):
        load(path="link")


def test_the_size_for_a_family(folders):
    write_numbered(folders / "input" / "clip.mp4", count=2, size=(320, 180))
    output = load(size_for="demo model", width=64)
    assert output.args[0].shape[1:3] == (128, 224) and "320x180 -> 224x128, 2 % cut" in output.ui["text"][0]
    assert load(size_for="image").args[0].shape[1:3] == (176, 320)  # of a workflow that has no such widget yet
    assert "'size for' is SD 9" in VideoLoad.validate_inputs("clip.mp4", size_for="SD 9")


def test_the_preview_says_and_shows_what_a_run_will(clip):
    settings = dict(start=2, count=5, every_nth=3, width=160, size_for="width and height")
    assert preview({**DEFAULTS, **settings})["text"] == load(**settings).ui["text"]
    shown = preview({"file": "demo/red_circle_on_grass.mp4"})
    assert shown["images"][0]["type"] == "temp" and "128x128 -> 128x128, 0 % cut" in shown["text"][0]
    with pytest.raises(Refusal, match="Video Load: 'file' is gone.mp4"):
        preview({"file": "gone.mp4"})


def test_the_preview_is_small_and_short(folders):
    write_numbered(folders / "input" / "clip.mp4", count=SHOWN + 10, size=(1040, 80))
    shown = preview({**DEFAULTS, "count": 0})
    assert f"{SHOWN} frames (0 to {SHOWN - 1})" in shown["text"][0] and "1040x80 -> 1040x80" in shown["text"][0]
    assert f"This preview ends after {SHOWN} frames" in shown["text"][0]
    assert "The clip ends there" in preview({**DEFAULTS, "start": SHOWN + 5})["text"][0]
    images = VideoLoad.execute(**{**DEFAULTS, "file": f"{shown['images'][0]['filename']} [temp]", "count": 0}).args[0]
    assert len(images) == SHOWN and images.shape[2] == 512


def test_the_preview_takes_no_cancel_from_a_run_and_moves_no_bar(clip, monkeypatch):
    def bar(_):
        raise AssertionError

    monkeypatch.setattr(comfy.utils, "ProgressBar", bar)
    comfy.model_management.interrupt_current_processing(True)
    try:
        with running.beside_runs():
            assert preview(DEFAULTS)["images"]
        assert comfy.model_management.processing_interrupted()
    finally:
        comfy.model_management.interrupt_current_processing(False)


@pytest.mark.parametrize(
    "selection, expected",
    [
        (Selection(), [0, 1, 2, 3]),
        (Selection(count=2, batch=1), [2, 3]),
        (Selection(rate=5.0), [0, 2]),
        (Selection(rate=30.0, start=1, count=4), [0, 0, 1, 1]),
    ],
)
def test_which_frames_are_taken(selection, expected):
    assert selection.frames([0.0, 0.1, 0.2, 0.3], "clip") == expected
