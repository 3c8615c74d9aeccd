"""What Video Load gives, Video Save takes; disks, names and links that stand in the way are said with their remedy."""

import errno
import os
import sys
import time

import av
import folder_paths
import numpy as np
import pytest
import torch

from fatezero_pack.fatezero import disk
from fatezero_pack.fatezero.disk import remove_unfinished, unfinished_folder
from fatezero_pack.fatezero.video import write as video_write
from fatezero_pack.fatezero.video.clip import Selection
from fatezero_pack.fatezero.video.encoding import offered
from fatezero_pack.fatezero.video.frames import Placement
from fatezero_pack.fatezero.video.read import read_file
from fatezero_pack.fatezero.video.write import write_clip
from fatezero_pack.nodes import video_save
from fatezero_pack.nodes.compare_videos import CompareVideos
from fatezero_pack.nodes.edit_report import EditReport
from fatezero_pack.nodes.shared import clip_preview
from fatezero_pack.nodes.shared.clip_preview import show_clip, show_pictures
from fatezero_pack.nodes.shared.output_name import prefix_problem
from fatezero_pack.nodes.source_load import LoadSourceRun
from fatezero_pack.nodes.video_load import VideoLoad
from fatezero_pack.nodes.video_save import VideoSave
from video_clips import beep, beep_time, numbered_frame, numbers, smooth_clip, write_numbered

LOAD = dict(start=0, count=8, every_nth=1, width=0, height=0, fit="crop", grid="8")
DAY = 24 * 3600

pytestmark = pytest.mark.usefixtures("folders")


def load(file="clip.mp4", **settings):
    return VideoLoad.execute(file=file, **{**LOAD, **settings})


def save(images=None, fps=8.0, filename_prefix="a/clip", format="mp4", quality=70, **optional):
    images = smooth_clip(3, 16, 16) if images is None else images
    node = VideoSave.PREPARE_CLASS_CLONE({"hidden_inputs": {}})
    return node.execute(
        images=images, fps=fps, filename_prefix=filename_prefix, format=format, quality=quality, **optional
    )


def read(path):
    return read_file(str(path), "clip", Selection(), lambda size: Placement(size, size))


def text(output):
    return output.ui["text"][0] if isinstance(output.ui, dict) and "text" in output.ui else ""


def refusal_of(**settings):
    with pytest.raises((ValueError, OSError)) as refused:
        save(**settings)
    sentence = str(refused.value)
    assert sentence.startswith("Video Save: ") and sentence.endswith(".") and "\n" not in sentence
    return sentence


@pytest.mark.parametrize("fps", [960, 480, 1, 0.1, 0.05, 0.01])
@pytest.mark.parametrize("format", ["mp4", "webm", "gif"])
def test_every_rate_that_is_loaded_can_be_saved(folders, fps, format):
    write_numbered(folders / "input" / "clip.mp4", count=8, fps=str(fps))
    images, rate, audio, *_ = load().args
    assert rate == pytest.approx(fps, rel=1e-3)
    saved = save(images, rate, format=format, audio=audio)
    clip = read(saved.args[0])
    if format == "gif" and fps > 50:
        assert clip.fps <= 50.1 and "one of" in text(saved)
    else:
        assert clip.fps == pytest.approx(fps, rel=2e-2) and len(clip.images) == 8 and text(saved) == ""


def test_a_gif_of_60_frames_a_second_is_thinned_and_keeps_the_speed():
    images = torch.stack([torch.from_numpy(numbered_frame(number)) / 255 for number in range(60)])
    saved = save(images, 60000 / 1001, format="gif")
    assert text(saved) == "gif plays at most 50 frames per second; one of 2 frames is saved."
    clip = read(saved.args[0])
    assert numbers(clip.images) == list(range(0, 60, 2)) and clip.fps == pytest.approx(30, rel=0.02)


@pytest.mark.parametrize("format", ["mp4", "webm"])
@pytest.mark.parametrize("channels", range(1, 11))
def test_sound_of_any_number_of_channels_is_saved(format, channels):
    audio = {"waveform": beep(1.25, 3).expand(channels, -1)[None], "sample_rate": 48000}
    saved = save(smooth_clip(16, 32, 32), 8.0, format=format, audio=audio)
    found = read(saved.args[0]).audio
    assert found["waveform"].shape == (1, channels if channels <= 8 else 1, 96000)
    assert beep_time(found) == pytest.approx(1.25, abs=0.01)
    assert ("mixed into one" in text(saved)) == (channels > 8)


@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_sound_that_is_far_too_loud_is_cut_to_full_scale_and_said(format):
    audio = {"waveform": beep(0.1, 1)[None] * 1e30, "sample_rate": 48000}
    saved = save(smooth_clip(8, 32, 32), 8.0, format=format, audio=audio)
    assert "louder than full scale" in text(saved)
    waveform = read(saved.args[0]).audio["waveform"]
    assert torch.isfinite(waveform).all() and 0.5 < waveform.abs().max() < 3
    quiet = save(smooth_clip(8, 32, 32), 8.0, format=format, audio={"waveform": beep(0, 1)[None], "sample_rate": 48000})
    assert text(quiet) == ""


@pytest.mark.parametrize("rate", [1_000_000, 8000])
@pytest.mark.parametrize("format", offered())
def test_sound_of_any_rate_is_loaded_and_saved(folders, format, rate):
    """Video Save takes 768,000 samples a second at most, so Video Load gives no more."""
    with av.open(str(folders / "input" / "clip.mkv"), "w", format="matroska") as file:
        video, audio = file.add_stream("ffv1", rate=8), file.add_stream("pcm_s16le", rate=rate, layout="mono")
        video.width, video.height, video.pix_fmt = 16, 16, "bgr0"
        for _ in range(4):
            file.mux(video.encode(av.VideoFrame(16, 16, "rgb24")))
        tone = (np.sin(np.arange(rate // 2) * 2 * np.pi * 440 / rate) * 20000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        file.mux([*video.encode(None), *audio.encode(frame), *audio.encode(None)])
    images, fps, audio, *_ = load("clip.mkv").args
    assert audio["sample_rate"] == min(rate, 768_000) and audio["waveform"].shape[-1] == audio["sample_rate"] // 2
    found = read(save(images, fps, format=format, audio=audio).args[0]).audio
    assert found["waveform"].abs().max() == pytest.approx(20000 / 32768, abs=0.15)


@pytest.mark.parametrize("size", [(17000, 16), (16, 17000)])
def test_pictures_wider_than_the_encoder_takes_are_made_smaller_and_said(size):
    images = torch.rand(1, size[1], size[0], 3)
    saved = save(images, format="mp4")
    assert f"{size[0]}x{size[1]} is saved as" in text(saved) and "png keeps every size" in text(saved)
    assert max(read(saved.args[0]).source_size) == 16384
    assert text(save(images, format="png")) == ""


def test_a_comparison_counts_with_its_whole_width():
    saved = save(torch.rand(1, 16, 9000, 3), compare_with=torch.rand(1, 16, 9000, 3))
    assert "18000x16 is saved as 16384x14" in text(saved)


def test_video_load_says_beforehand_what_saving_will_change():
    wide = load(images=torch.rand(1, 16, 17000, 3), file="").ui["text"][0]
    assert "mp4 and webm hold at most 16384 pixels a side" in wide
    assert "16384" not in load(images=torch.rand(1, 16, 16, 3), file="").ui["text"][0]


def test_what_an_encoder_refuses_is_one_sentence(monkeypatch):
    def refuse(*given):
        raise av.error.ExternalError(-542398533, "Generic error in an external library", "libx264")

    monkeypatch.setattr(video_write, "write_video", refuse)
    assert "the encoder of mp4 refused the clip" in refusal_of()


@pytest.mark.parametrize("format", ["mp4", "webm", "gif"])
def test_a_full_disk_is_known_from_the_encoder_s_error(monkeypatch, format):
    """What PyAV raises where the disk is full is an OSError."""
    assert issubclass(av.error.classes[errno.ENOSPC], OSError) and issubclass(av.error.classes[errno.EACCES], OSError)

    def full(*given):
        raise av.error.classes[errno.ENOSPC](errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(video_write, "write_gif" if format == "gif" else "write_video", full)
    assert "could not be written (No space left on device); free space on the disk" in refusal_of(format=format)


def test_a_saved_clip_that_cannot_be_shown_is_saved_all_the_same(monkeypatch):
    def refuse(*given, **named):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(video_save, "_shown", refuse)
    saved = save(format="png")
    assert os.listdir(saved.args[0])
    assert text(saved).endswith(f"_ is saved, but it cannot be shown here ({os.strerror(errno.EIO)}).")


@pytest.mark.parametrize(
    "prefix, words",
    [
        ("a/\ud800b", "the character \\ud800, which no file name can have; leave it out"),
        ("x" * 245, "a name of 245 bytes; shorten it to 200"),
        ("ä" * 130, "a name of 260 bytes; shorten it to 200"),
        ("a/" * 2000 + "b", "2000 folders in it; shorten it to 32"),
        ("file/clip", "has the folder 'file', but that is a file; choose another folder"),
        ("out/clip", "leads out of the output folder by the link 'out'; choose another folder"),
        ("a\0b", "expected a name"),
    ],
)
def test_names_that_cannot_be_are_refused_before_anything_runs(folders, prefix, words):
    (folders / "output" / "file").write_text("")
    (folders / "elsewhere").mkdir()
    os.symlink(folders / "elsewhere", folders / "output" / "out")
    checked = VideoSave.validate_inputs(filename_prefix=prefix)
    assert checked.startswith("Video Save: 'filename prefix'") and words in checked and checked.endswith(".")
    assert words in refusal_of(filename_prefix=prefix)
    assert os.listdir(folders / "elsewhere") == []


def test_long_and_deep_names_that_are_possible_are_allowed():
    prefix = "/".join(["folder"] * 30 + ["x" * 200])
    assert prefix_problem(prefix) is None
    assert os.path.isfile(save(filename_prefix=prefix).args[0])


def test_linked_names_are_checked_when_the_node_runs():
    assert refusal_of(filename_prefix=5) == "Video Save: 'filename prefix' is 5; expected a text."


@pytest.mark.parametrize(
    "code, remedy",
    [
        (errno.ENOSPC, "free space on the disk"),
        (errno.ENAMETOOLONG, "shorten the name"),
        (errno.EROFS, "make the folder writable"),
        (errno.EACCES, "make the folder writable"),
        (errno.ENOTDIR, "a file has the name of this one"),
        (errno.EIO, "choose another name or output folder"),
    ],
)
def test_disk_errors_have_the_right_remedy(monkeypatch, code, remedy):
    def fail(*given, **named):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(folder_paths, "get_save_image_path", fail)
    assert remedy in refusal_of()


def test_links_that_leave_the_input_folder_are_neither_offered_nor_read(folders):
    (folders / "outside").mkdir()
    secret = write_numbered(folders / "outside" / "secret.mp4", count=3)
    run = folders / "outside" / "secret.safetensors"
    run.write_bytes(b"")
    inside = write_numbered(folders / "input" / "inside.mp4", count=3)
    os.symlink(secret, folders / "input" / "link.mp4")
    os.symlink(folders / "outside", folders / "input" / "folder")
    os.symlink(inside, folders / "input" / "same.mp4")
    os.symlink(run, folders / "input" / "link.safetensors")
    (folders / "output" / "fatezero").mkdir()
    os.symlink(run, folders / "output" / "fatezero" / "link.safetensors")
    offered = VideoLoad.INPUT_TYPES()["required"]["file"][1]["options"]
    assert [name for name in offered if "demo/" not in name] == ["inside.mp4", "same.mp4"]
    for name in ("link.mp4", "folder/secret.mp4", "../outside/secret.mp4"):
        assert "is not in ComfyUI's input folder" in VideoLoad.validate_inputs(name)
        with pytest.raises(ValueError, match="is not in ComfyUI's input folder"):
            load(name)
    assert numbers(load("same.mp4").args[0]) == [0, 1, 2]
    runs = LoadSourceRun.INPUT_TYPES()["required"]["file"][1]["options"]
    assert runs == []
    for name in ("link.safetensors", "fatezero/link.safetensors [output]"):
        assert "is not in ComfyUI's output or input folder" in LoadSourceRun.validate_inputs(name)


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not allow")
def test_names_of_every_kind_are_offered_and_read(folders):
    for name in (
        "seq_%03d.mp4",
        "a?b*[c].mp4",
        'q"uote.mp4',
        "new\nline.mp4",
        "深い.MP4",
        "file:a.mp4",
        "concat:a|b.mp4",
    ):
        write_numbered(folders / "input" / name, count=2, format="mp4")
        assert name in VideoLoad.INPUT_TYPES()["required"]["file"][1]["options"]
        assert numbers(load(name).args[0]) == [0, 1]


def test_the_picker_knows_animations_pictures_and_old_videos(folders):
    names = [
        "a.gif",
        "b.webp",
        "c.png",
        "d.jpg",
        "e.apng",
        "f.3gp",
        "g.m2ts",
        "h.vob",
        "i.mxf",
        "j.f4v",
        "k.asf",
        "l.divx",
    ]
    for name in [*names, "m.y4m", "x.svg", "x.m3u8", "x.txt", "x.mp3", "x.safetensors"]:
        (folders / "input" / name).write_bytes(b"")
    offered = VideoLoad.INPUT_TYPES()["required"]["file"][1]["options"]
    assert [name for name in offered if "demo/" not in name] == [*names, "m.y4m"]


def test_two_previews_at_a_time_have_two_names(monkeypatch):
    """Video Load's page asks for one while a run writes another: neither file is there yet when both are named."""
    paths = []
    monkeypatch.setattr(clip_preview, "write_clip", lambda path, *given, **named: paths.append(path))
    names = [show_clip(torch.zeros(2, 8, 8, 3))["images"][0]["filename"] for _ in range(2)]
    folders = [show_pictures(VideoLoad, torch.zeros(1, 8, 8, 3))["images"][0]["subfolder"] for _ in range(2)]
    assert [os.path.basename(path) for path in paths] == [*names, *folders] and len(set(paths)) == 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_preview_that_cannot_be_written_is_only_a_note(folders, monkeypatch, code):
    write_numbered(folders / "input" / "clip.mp4", count=3)

    def fail(*given, **named):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(clip_preview, "write_clip", fail)
    output = load()
    assert numbers(output.args[0]) == [0, 1, 2] and "images" not in output.ui
    assert f"No preview: ComfyUI's temp folder is not writable ({os.strerror(code)})." in output.ui["text"][0]
    assert list(show_clip(torch.rand(1, 8, 8, 3))) == ["text"]
    for node, inputs in ((EditReport, (torch.rand(2, 8, 8, 3),) * 2), (CompareVideos, (torch.rand(2, 8, 8, 3),) * 2)):
        shown = node.execute(*inputs).ui
        assert "images" not in shown and "No preview" in shown["text"][0]


def test_a_temp_folder_that_is_gone_or_a_file_is_only_a_note(folders):
    write_numbered(folders / "input" / "clip.mp4", count=3)
    (folders / "temp").rmdir()
    (folders / "temp").write_text("")
    assert "No preview" in load().ui["text"][0]


def test_the_background_is_a_colour(folders):
    assert VideoLoad.validate_inputs(file=None, background="#12g") == (
        "Video Load: 'background' is '#12g'; write a colour such as #ffffff."
    )
    assert VideoLoad.validate_inputs(file=None, background="#fff") is True
    assert VideoLoad.validate_inputs(file=None, background="image") is True  # of a workflow that has no background yet
    with pytest.raises(ValueError, match="Video Load: 'background' is 'red'"):
        load(images=torch.rand(1, 8, 8, 4), background="red")
    images, _, _, mask, _ = load(images=torch.zeros(1, 8, 8, 4), background="#ff8000").args
    assert torch.allclose(images[0, 0, 0], torch.tensor([1, 128 / 255, 0])) and mask.max() == 0
    _, _, _, mask, _ = load(images=torch.rand(2, 8, 8, 3)).args
    assert mask.shape == (2, 8, 8) and mask.min() == 1


@pytest.mark.parametrize("settings", [dict(fit="squeeze"), dict(grid="7")])
def test_linked_choices_are_checked(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"Video Load: '{name}' is .*; choose"):
        load(images=torch.rand(1, 8, 8, 3), **settings)


def make_old(path, age=2 * DAY):
    os.utime(path, (time.time() - age, time.time() - age))


def test_what_a_killed_save_has_left_goes_at_the_next_start(folders):
    output = folders / "output"
    again = f".unfinished_{os.getpid()}_x"  # of a process that is younger than the folder: its number was given again
    gone = [output / ".unfinished_abc", output / "a" / "b" / ".unfinished_999999999_x", output / again]
    kept = [output / "video", output / ".unfinished_young", output / "unfinished_notes"]
    for folder in [*gone, *kept]:
        folder.mkdir(parents=True)
        (folder / "clip.mp4").write_bytes(b"x")
        make_old(folder, 3600 if "young" in folder.name else 2 * DAY)
    remove_unfinished(str(output))
    assert [folder.exists() for folder in gone] == [False] * len(gone)
    assert [folder.exists() for folder in kept] == [True] * len(kept)


def test_a_save_that_goes_on_for_days_is_left_alone(folders, monkeypatch):
    monkeypatch.setattr(disk, "_DAY", -10)
    with unfinished_folder(str(folders / "output" / "clip.mp4")) as folder:
        remove_unfinished(str(folders / "output"))
        assert os.path.isdir(folder)
    assert os.listdir(folders / "output") == []


def test_tidying_up_never_raises_and_keeps_to_its_time(folders, monkeypatch):
    remove_unfinished(str(folders / "nowhere"))
    (folders / "output" / ".unfinished_old").mkdir()
    make_old(folders / "output" / ".unfinished_old")
    remove_unfinished(str(folders / "output"), seconds=-1)
    assert (folders / "output" / ".unfinished_old").exists()


def test_tidying_up_follows_no_links(folders):
    (folders / "elsewhere" / ".unfinished_old").mkdir(parents=True)
    make_old(folders / "elsewhere" / ".unfinished_old")
    os.symlink(folders / "elsewhere", folders / "output" / "link")
    os.symlink(folders / "elsewhere", folders / "output" / ".unfinished_link")
    remove_unfinished(str(folders / "output"))
    assert (folders / "elsewhere" / ".unfinished_old").exists()


def test_comfyui_s_start_tidies_up(folders):
    import asyncio

    from fatezero_pack.nodes import FateZeroExtension

    left = folders / "output" / "video" / ".unfinished_old"
    left.mkdir(parents=True)
    make_old(left)
    asyncio.run(FateZeroExtension().on_load())
    deadline = time.monotonic() + 5
    while left.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left.exists()


def test_write_clip_names_its_unfinished_folder_after_the_process(folders, monkeypatch):
    seen = []

    def look(path, *given):
        seen.append(os.path.basename(os.path.dirname(path)))
        open(path, "wb").close()

    monkeypatch.setattr(video_write, "write_video", look)
    write_clip(str(folders / "output" / "clip.mp4"), smooth_clip(1, 8, 8), 8.0)
    assert seen[0].startswith(f".unfinished_{os.getpid()}_")


def test_the_upload_button_offers_what_is_read():
    from pathlib import Path

    from fatezero_pack.fatezero.video.formats import ENDINGS

    script = (Path(__file__).resolve().parent.parent / "web" / "pick_clips.js").read_text()
    listed = script[script.index("(\n") : script.index(").split")]
    assert [word.strip('"+\n ') for word in listed.split() if "." in word] == list(ENDINGS)


@pytest.mark.parametrize("prefix", [".unfinished_clip", "video/.unfinished_1/clip"])
def test_names_of_what_will_be_removed_are_refused(prefix):
    assert "begins with .unfinished_" in VideoSave.validate_inputs(filename_prefix=prefix)
