"""Every format that Video Save offers: written, read back, shown, with the workflow inside and what it can be told."""

import json
import os

import av
import folder_paths
import numpy as np
import pytest
import torch
from PIL import Image

from fatezero_pack.fatezero.compat import io
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.video import encoding
from fatezero_pack.fatezero.video.clip import Selection
from fatezero_pack.fatezero.video.encoding import encodings, offered, pixel_formats
from fatezero_pack.fatezero.video.frames import Placement
from fatezero_pack.fatezero.video.read import read_file
from fatezero_pack.fatezero.video.write import APNG, PNG_16, endings, formats
from fatezero_pack.nodes.video_save import VideoSave
from video_clips import beep, beep_time, numbered_frame, numbers, smooth_clip

GRAPHS = {"prompt": {"1": {"class_type": "FateZeroVideoSave", "inputs": {"text": "Ü"}}}, "workflow": {"nodes": []}}
EXACT = {"png", PNG_16, APNG, "ffv1"}

pytestmark = pytest.mark.usefixtures("folders")


def save(images, format, **settings):
    hidden = {io.Hidden.prompt: GRAPHS["prompt"], io.Hidden.extra_pnginfo: {"workflow": GRAPHS["workflow"]}}
    node = VideoSave.PREPARE_CLASS_CLONE({"hidden_inputs": hidden})
    return node.execute(images, **{"fps": 8.0, "filename_prefix": "clip", "format": format, "quality": 90, **settings})


def read(path):
    if os.path.isdir(path):
        images = [np.array(Image.open(os.path.join(path, name))) for name in sorted(os.listdir(path))]
        return torch.from_numpy(np.stack(images)) / 255
    return read_file(path, "clip", Selection(), lambda size: Placement(size, size)).images


@pytest.mark.parametrize("format", formats())
def test_a_clip_comes_back(format):
    images = smooth_clip(5, 130, 262)
    output = save(images, format)
    assert output.args[0].endswith(endings()[format])
    if format != PNG_16:  # Pillow reads 8 bits of it
        found = read(output.args[0])
        assert found.shape == images.shape
        assert (found - images).abs().mean() < (0.003 if format in EXACT else 0.04)
    (shown, *_) = output.ui["images"]
    folder = folder_paths.get_directory_by_type(shown["type"])
    assert os.path.isfile(os.path.join(folder, shown["subfolder"], shown["filename"]))
    plays = format not in ("h265", "ProRes", "DNxHR", "ffv1")
    assert (shown["type"] == "output") == plays
    assert plays or "browsers do not play it, so a small copy is shown." in output.ui["text"][0]


@pytest.mark.parametrize("format", [name for name in formats() if name != "gif"])
def test_the_workflow_is_inside(format):
    path = save(smooth_clip(2, 130, 262), format).args[0]
    if os.path.isdir(path):
        with Image.open(os.path.join(path, "00001.png")) as picture:
            found = picture.text
    elif format == APNG:
        with Image.open(path) as picture:
            found = picture.text
    elif format == "webp":
        with Image.open(path) as picture:
            found = dict(str(text).split(":", 1) for text in picture.getexif().values())
    else:
        with av.open(path, metadata_errors="replace") as container:
            found = {name.lower(): text for name, text in container.metadata.items()}
    assert {name: json.loads(found[name]) for name in GRAPHS} == GRAPHS


@pytest.mark.parametrize("format", offered())
def test_films_have_sound_and_the_frames_keep_their_order(format):
    images = torch.stack([torch.from_numpy(numbered_frame(number, 320, 256)) / 255 for number in range(16)])
    sound = {"waveform": beep(1, 2)[None], "sample_rate": 48000}
    clip = read_file(save(images, format, audio=sound).args[0], "clip", Selection(), lambda size: Placement(size, size))
    assert numbers(clip.images) == list(range(16)) and clip.fps == 8.0
    assert abs(beep_time(clip.audio) - 1) < 0.06


def test_sixteen_bits_are_kept():
    images = torch.linspace(0, 1, 64 * 64 * 3).view(1, 64, 64, 3)
    path = os.path.join(save(images, PNG_16).args[0], "00000.png")
    with av.open(path) as container:
        (frame,) = container.decode(video=0)
    assert frame.format.name.startswith("rgb48")
    pixels = frame.to_ndarray(format="rgb48le").astype(np.float64) / 65535
    assert np.abs(pixels - images[0].double().numpy()).max() <= 0.5 / 65535 + 1e-7


@pytest.mark.parametrize("format", offered())
def test_every_pixel_format_that_is_offered_can_be_written(format):
    images = smooth_clip(2, 130, 262)
    for name in encodings()[format].pixel_formats:
        path = save(images, format, pixel_format=name).args[0]
        with av.open(path) as container:
            found = container.streams.video[0].codec_context.pix_fmt
            assert found.startswith(name[:7])  # FFmpeg reads ProRes 4444 as 12 bits
        assert (read(path)[:, :130, :262] - images).abs().mean() < 0.02


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_h265_of_few_frames_is_written_every_time(frames):
    """x265 failed in one of three, with times out of uninitialised memory."""
    for _ in range(12):
        assert len(read(save(smooth_clip(frames, 66, 70), "h265").args[0])) == frames


@pytest.mark.parametrize("size", [(256, 16), (16, 130), (66, 24), (1, 1), (90, 3)])
def test_av1_of_narrow_pictures_is_written(size):
    """SVT-AV1 waited for ever for the first three and refused the others."""
    picture = torch.linspace(0.2, 0.8, size[0]).expand(size[1], -1)[None, ..., None].expand(1, -1, -1, 3)
    (seen,) = read(save(picture, "av1").args[0])
    assert seen.mean().item() == pytest.approx(picture.mean().item(), abs=0.03) and seen.shape[1] >= size[0]


@pytest.mark.parametrize(
    "format, size, saved",
    [
        ("DNxHR", (64, 64), "256x256"),
        ("DNxHR", (320, 64), "600x120"),
        ("av1", (1, 1), "4x4"),
        ("av1", (90, 3), "120x4"),
    ],
)
def test_pictures_smaller_than_an_encoder_takes_are_scaled_up_and_said(format, size, saved):
    output = save(torch.full((1, size[1], size[0], 3), 0.5), format)
    assert f"so {size[0]}x{size[1]} is saved as {saved}; png" in output.ui["text"][0]
    height, width = read(output.args[0]).shape[1:3]
    assert f"{width}x{height}" == saved


@pytest.mark.parametrize("fps", [300, 1000])
@pytest.mark.parametrize("format", ["av1", "h265", "ProRes", "ffv1", "webp"])
def test_high_rates_are_kept(format, fps):
    path = save(smooth_clip(10, 64, 64), format, fps=float(fps)).args[0]
    clip = read_file(path, "clip", Selection(), lambda size: Placement(size, size))
    assert len(clip.images) == 10 and clip.fps == pytest.approx(fps, rel=1e-3)


def test_odd_sizes_are_padded_only_where_colours_are_kept_for_pairs():
    images = smooth_clip(2, 65, 71)
    assert read(save(images, "h265").args[0]).shape[1:3] == (66, 72)
    assert read(save(images, "ProRes").args[0]).shape[1:3] == (65, 72)
    assert read(save(images, "ffv1").args[0]).shape[1:3] == (65, 71)
    assert read(save(images, "mp4", pixel_format="yuv444p").args[0]).shape[1:3] == (65, 71)


@pytest.mark.parametrize("format", ["mp4", "webm", "h265", "av1"])
def test_crf_is_heeded(format):
    noise = torch.rand(3, 64, 64, 3)
    best, worst = (os.path.getsize(save(noise, format, crf=crf).args[0]) for crf in (4, 45))
    assert best > 2 * worst


@pytest.mark.parametrize(
    "format, settings, message",
    [
        ("mp4", dict(crf=60), "'crf' is 60; mp4 takes 0 (best) to 51, or -1 for 'quality'."),
        ("av1", dict(pixel_format="yuv444p"), "'pixel format' is yuv444p, which av1 does not have; choose auto or "),
        ("mp5", {}, "'format' is mp5; choose mp4, webm, gif, png, "),
    ],
)
def test_what_a_format_does_not_have_is_one_sentence(folders, format, settings, message):
    with pytest.raises(Refusal) as refused:
        save(smooth_clip(1, 64, 64), format, **settings)
    assert str(refused.value).startswith(f"Video Save: {message}") and os.listdir(folders / "output") == []


@pytest.mark.parametrize(
    "typed, message",
    [
        (dict(format="mp4", crf=60), "'crf' is 60; mp4 takes 0 (best) to 51, or -1 for 'quality'."),
        (dict(format="gif", crf=64), "'crf' is 64; choose -1 to 63."),
        (dict(format="webm", pixel_format="yuv420p10le"), "'pixel format' is yuv420p10le, which webm does not have; "),
        (dict(format="webm", pixel_format="x"), "'pixel format' is x, which webm does not have; "),
        (dict(format="gif", pixel_format="x"), "'pixel format' is x; choose auto, "),
        (dict(format="mp5"), "'format' is mp5; choose mp4, webm, gif, png, "),
    ],
)
def test_what_a_format_does_not_have_is_said_before_anything_runs(typed, message):
    given = {"filename_prefix": "clip", "crf": -1, "pixel_format": "auto", **typed}
    assert str(VideoSave.validate_inputs(**given)).startswith(f"Video Save: {message}")
    linked = dict.fromkeys(typed)  # arrives as None, and is looked at when the node runs
    assert VideoSave.validate_inputs(**{**given, **linked}) is True


def test_every_choice_that_fits_passes_before_the_run():
    for format in formats():
        for pixel_format in encodings()[format].pixel_formats if format in encodings() else ["auto"]:
            assert VideoSave.validate_inputs("clip", format, -1, pixel_format) is True


def test_a_codec_that_pyav_lacks_is_one_sentence(monkeypatch):
    def unknown(name, mode):
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av, "Codec", unknown)
    sentence = "Video Save: 'format' is h265, but this PyAV has no libx265; choose mp4"
    with pytest.raises(Refusal, match=sentence):
        save(smooth_clip(1, 64, 64), "h265")
    assert VideoSave.validate_inputs("clip", "h265").startswith(sentence)


def test_what_a_graphics_card_encodes_is_offered_only_where_it_does(monkeypatch):
    ours = [name for name, one in encodings().items() if one.graphics_card]
    assert ours == ["av1 nvenc", "h264 nvenc", "h265 nvenc"]
    monkeypatch.setattr(encoding, "_opens", lambda codec: codec == "hevc_nvenc")
    assert [name for name in formats() if name in ours] == ["h265 nvenc"]
    assert VideoSave.validate_inputs("clip", "h265 nvenc") is True
    sentence = "Video Save: 'format' is h264 nvenc, but no graphics card here encodes it"
    assert VideoSave.validate_inputs("clip", "h264 nvenc").startswith(sentence)
    with pytest.raises(Refusal, match=sentence):
        save(smooth_clip(1, 64, 64), "h264 nvenc")


def test_encodings_name_what_pyav_knows():
    """What they say of a codec, also where it cannot be opened here: its pixel formats and options."""
    for one in encodings().values():
        codec = av.Codec(one.codec, "w")
        assert set(one.pixel_formats) <= {format.name for format in codec.video_formats}
        assert set(one.pixel_options) <= set(one.pixel_formats) <= set(pixel_formats())


@pytest.mark.parametrize("format", ["mp4", "gif", "png", "webp", APNG])
def test_ping_pong_plays_back_again(format):
    images = torch.stack([torch.from_numpy(numbered_frame(number)) / 255 for number in range(5)])
    assert numbers(read(save(images, format, ping_pong=True).args[0])) == [0, 1, 2, 3, 4, 3, 2, 1]


@pytest.mark.parametrize("loops", [0, 1, 3])
def test_how_often_an_animation_plays(loops):
    images = smooth_clip(3, 32, 32)
    for format in ("webp", APNG):
        with Image.open(save(images, format, loops=loops).args[0]) as picture:
            assert picture.info["loop"] == loops and picture.n_frames == 3
    with Image.open(save(images, "gif", loops=loops).args[0]) as picture:  # which counts how often it is repeated
        assert picture.info.get("loop") == {0: 0, 1: None, 3: 2}[loops]


def test_a_webp_keeps_the_rate():
    path = save(smooth_clip(30, 32, 32), "webp", fps=29.97).args[0]
    with Image.open(path) as picture:
        total = 0
        for index in range(picture.n_frames):
            picture.seek(index)
            picture.load()
            total += picture.info["duration"]
    assert abs(total - 30 * 1000 / 29.97) <= 1


def test_a_preview_goes_to_the_temp_folder(folders):
    output = save(smooth_clip(2, 32, 32), "mp4", preview_only=True)
    assert output.args[0].startswith(str(folders / "temp")) and output.ui["images"][0]["type"] == "temp"
    assert os.listdir(folders / "output") == []


def test_the_first_frames_can_be_left_out():
    images = torch.stack([torch.from_numpy(numbered_frame(number)) / 255 for number in range(4)])
    assert numbers(read(save(images, "mp4", skip_first=1).args[0])) == [1, 2, 3]
    beside = read(save(images, "png", skip_first=2, compare_with=images).args[0])
    assert beside.shape[:3] == (2, images.shape[1], 2 * images.shape[2])
    with pytest.raises(Refusal, match="Video Save: 'skip first' is 4, which leaves none of 4 images; choose fewer."):
        save(images, "mp4", skip_first=4)
