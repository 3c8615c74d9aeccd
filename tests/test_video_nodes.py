"""The nodes Video Load and Video Save, with ComfyUI's folders in a temporary place."""

import errno
import json
import os
from datetime import datetime

import av
import comfy.cli_args
import folder_paths
import pytest
import torch
from PIL import Image

from fatezero_pack.fatezero.compat import InputImpl, io
from fatezero_pack.nodes import video_save
from fatezero_pack.nodes.shared import clip_preview
from fatezero_pack.nodes.shared.output_name import prefix_problem
from fatezero_pack.nodes.video_load import VideoLoad
from fatezero_pack.nodes.video_save import VideoSave
from video_clips import numbered_frame, numbers

DEFAULTS = dict(start=0, count=8, every_nth=1, width=0, height=0, fit="crop", grid="8")
PROMPT = {"1": {"class_type": "FateZeroVideoSave", "inputs": {"text": "Ü"}}}
WORKFLOW = {"nodes": [{"id": 1}], "version": 0.4}

pytestmark = pytest.mark.usefixtures("folders")


def load(file="clip.mp4", **settings):
    return VideoLoad.execute(file=file, **{**DEFAULTS, **settings})


def save(images=None, fps=8.0, filename_prefix="a/clip", format="mp4", quality=70, hidden=True, **optional):
    given = {io.Hidden.prompt: PROMPT, io.Hidden.extra_pnginfo: {"workflow": WORKFLOW}} if hidden else {}
    node = VideoSave.PREPARE_CLASS_CLONE({"hidden_inputs": given})
    return node.execute(
        images=torch.rand(3, 16, 16, 3) if images is None else images,
        fps=fps,
        filename_prefix=filename_prefix,
        format=format,
        quality=quality,
        **optional,
    )


def options():
    return VideoLoad.INPUT_TYPES()["required"]["file"][1]["options"]


def files(folder):
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)


def test_load_offers_the_input_folder_and_the_demo_clips(clip):
    for name in ("b.PNG", "c.gif", "d.mkv", "e.webm", "notes.txt", "model.safetensors"):
        (clip.parent / name).write_bytes(b"")
    found = options()
    assert [name for name in found if "demo/" not in name] == ["b.PNG", "c.gif", "clip.mp4", "d.mkv", "e.webm"]
    demos = [name for name in found if name.startswith("demo/")]
    assert "demo/red_circle_on_grass.mp4" in demos and "demo/clips.json" not in demos
    for name in demos:
        assert VideoLoad.validate_inputs(name) is True
        assert len(load(name, count=2).args[0]) == (1 if name.endswith("png") else 2)


def test_load_returns_frames_rate_and_sound_and_shows_them(clip, folders):
    images, fps, audio, mask, fit = load(start=2, count=4, every_nth=2, width=160, grid="16").args
    assert numbers(images) == [2, 4, 6, 8] and images.shape == (4, 96, 160, 3) and images.dtype == torch.float32
    assert fps == 4.0 and audio["waveform"].shape == (1, 1, 48000)
    shown = load(start=20).ui
    assert shown["text"] == (
        "4 frames (20 to 23) of clip.mp4\n80x48 -> 80x48, 0 % cut\n8 frames per second, with sound\n"
        "The clip ends there: 8 frames were asked for.",
    )
    (preview,) = shown["images"]
    assert preview["type"] == "temp" and shown["animated"] == (True,)
    with av.open(str(folders / "temp" / preview["subfolder"] / preview["filename"])) as container:
        assert container.streams.video[0].frames == 4


def test_load_reads_names_with_comfyui_s_endings(clip, folders):
    os.replace(clip, folders / "output" / "made.mp4")
    assert VideoLoad.validate_inputs("made.mp4 [output]") is True
    assert numbers(load("made.mp4 [output]", count=2).args[0]) == [0, 1]


def test_load_takes_a_video_or_images_instead_of_the_file(clip):
    video = InputImpl.VideoFromFile(str(clip))
    assert numbers(load("gone.mp4", start=3, count=2, video=video).args[0]) == [3, 4]
    pictures = torch.stack([torch.from_numpy(numbered_frame(number)) / 255 for number in range(4)])
    assert numbers(load("gone.mp4", start=1, images=pictures).args[0]) == [1, 2, 3]
    assert load("gone.mp4", images=pictures[:1]).args[0].shape == (1, 48, 80, 3)


def test_load_is_repeated_only_when_the_file_changed(clip):
    before = VideoLoad.fingerprint_inputs(file="clip.mp4", **DEFAULTS)
    assert VideoLoad.fingerprint_inputs(file="clip.mp4", **DEFAULTS) == before
    os.utime(clip, (1, 1))
    assert VideoLoad.fingerprint_inputs(file="clip.mp4", **DEFAULTS) != before
    assert VideoLoad.fingerprint_inputs(file="gone.mp4", **DEFAULTS) == ""
    assert VideoLoad.fingerprint_inputs(file="clip.mp4", video=None, **DEFAULTS) == ""


@pytest.mark.parametrize("file", ["gone.mp4", "../input/../../clip.mp4", "demo/gone.mp4", "demo/../../README.md"])
def test_load_refuses_files_that_are_not_there_before_anything_runs(clip, file):
    message = VideoLoad.validate_inputs(file)
    assert message == (
        f"Video Load: 'file' is {file}, which is not in ComfyUI's input folder; upload it or choose another one."
    )
    with pytest.raises(ValueError, match="is not in ComfyUI's input folder"):
        load(file)
    assert VideoLoad.validate_inputs(file, video=None) is True  # a connected input takes the file's place


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(start=-1), "'start' is -1; choose 0 to 1000000"),
        (dict(count=-8), "'count' is -8; choose 0 to"),
        (dict(every_nth=0), "'every nth' is 0; choose 1 to"),
        (dict(width=-512), "'width' is -512; choose 0 to 16384"),
        (dict(height=-1), "'height' is -1; choose 0 to 16384"),
        (dict(start=24), "'start' is 24 but clip.mp4 has 24 frames; choose a start below 24"),
        (dict(images=torch.full((2, 8, 8, 3), torch.nan)), "'images' has invalid numbers .* in frame 0"),
        (dict(images=torch.zeros(0, 8, 8, 3)), r"'images' has the shape \[0, 8, 8, 3\]"),
        (dict(images=torch.zeros(8, 8, 3)), r"'images' has the shape \[8, 8, 3\]"),
        (dict(images=torch.zeros(1, 8, 8, 3), video=InputImpl.VideoFromFile("")), "both .* are connected"),
    ],
)
def test_load_refuses_in_one_sentence(clip, folders, settings, message):
    with pytest.raises(ValueError, match=message) as refused:
        load(**settings)
    text = str(refused.value)
    assert text.startswith("Video Load: ") and text.endswith(".") and "\n" not in text
    assert files(folders / "temp") == []


@pytest.mark.parametrize("format", ("mp4", "webm", "gif", "png"))
def test_save_writes_shows_and_numbers_its_files(folders, format):
    first, second = save(format=format), save(format=format)
    ending = "" if format == "png" else f".{format}"
    output = folders / "output" / "a"
    assert sorted(os.listdir(output)) == [f"clip_00001_{ending}", f"clip_00002_{ending}"]
    assert first.args[0] == str(output / f"clip_00001_{ending}") and os.path.exists(second.args[0])
    shown = first.ui
    assert bool(shown.get("animated")) == (format in ("mp4", "webm"))
    for picture in shown["images"]:
        assert picture["type"] == "output"
        assert (folders / "output" / picture["subfolder"] / picture["filename"]).is_file()
    assert len(shown["images"]) == (3 if format == "png" else 1)


def test_save_knows_comfyui_s_name_tokens(folders):
    images = torch.rand(2, 16, 24, 3)
    save(filename_prefix="%width%x%height%/%year%", images=images, compare_with=images)
    assert files(folders / "output")[0].startswith(os.path.join("48x16", "20"))


def test_save_writes_out_dates_which_the_page_does_for_comfyui_s_own_nodes_alone(folders):
    save(filename_prefix="%date:yyyy/MM%/clip %date:d%", images=torch.rand(2, 16, 24, 3))
    today = datetime.now()
    (made,) = files(folders / "output")
    assert made == os.path.join(f"{today:%Y}", f"{today:%m}", f"clip {today.day}_00001_.mp4")
    assert prefix_problem("%date:yyyy%/../../clip"), "what it becomes is looked at"


@pytest.mark.parametrize("disabled", [False, True])
def test_save_puts_the_workflow_into_the_file_unless_told_not_to(monkeypatch, disabled):
    monkeypatch.setattr(comfy.cli_args.args, "disable_metadata", disabled)
    expected = {} if disabled else {"prompt": PROMPT, "workflow": WORKFLOW}
    for format in ("mp4", "webm", "png"):
        path = save(format=format).args[0]
        if format == "png":
            with Image.open(os.path.join(path, "00000.png")) as picture:
                found = picture.text
        else:
            with av.open(path) as container:
                found = {name.lower(): text for name, text in container.metadata.items()}
        assert {name: json.loads(found[name]) for name in ("prompt", "workflow") if name in found} == expected
    assert save(hidden=False).args[0]


def test_save_takes_what_load_gives(clip):
    images, fps, audio, *_ = load(count=16).args
    for format in ("mp4", "webm"):
        path = save(images, fps, format=format, audio=audio, compare_with=images).args[0]
        with av.open(path) as container:
            assert len(container.streams.audio) == 1 and container.streams.video[0].width == 160
            assert container.streams.video[0].average_rate == 8
    assert load(os.path.relpath(path, folder_paths.output_directory) + " [output]", count=0).args[0].shape[0] == 16


def test_save_leaves_its_inputs_alone():
    images = torch.rand(2, 15, 17, 4)
    before = images.clone()
    save(images)
    assert torch.equal(images, before)


def test_a_video_models_edit_is_shown_beside_the_longer_clip():
    """Its VAE has left the last frames out: of the clip they are left out, too, and that is told."""
    edited, clip = torch.rand(5, 16, 16, 3), torch.rand(8, 16, 16, 3)
    made = save(edited, compare_with=clip)
    with av.open(made.args[0]) as container:
        widths = [frame.width for frame in container.decode(video=0)]
    assert widths == 5 * [32]
    assert "'compare with' has 8 frames; those from frame 5 on are left out, as in the edit." in str(made.ui)


BROKEN = torch.rand(3, 16, 16, 3)
BROKEN[2, 5, 5, 1] = torch.inf


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(images=BROKEN), r"'images' has invalid numbers \(NaN or infinite\) in frame 2"),
        (dict(images=torch.rand(0, 16, 16, 3)), "expected frames, height, width and 3 colours"),
        (dict(images=torch.rand(1, 16, 16, 1)), "expected frames, height, width and 3 colours"),
        (
            dict(compare_with=torch.rand(11, 16, 16, 3)),  # more than any video model's VAE leaves out
            "'compare with' has 11 frames of 16x16 but 'images' has 3 frames of 16x16; connect clips of the same",
        ),
        (
            dict(compare_with=torch.rand(2, 16, 16, 3)),
            "'compare with' has 2 frames of 16x16 but 'images' has 3 frames of 16x16; connect clips of the same length "
            "and size",
        ),
        (dict(compare_with=torch.rand(3, 16, 24, 3)), "'compare with' has 3 frames of 24x16"),
        (dict(compare_with=BROKEN), "'compare with' has invalid numbers"),
        (dict(fps=0.0), "'fps' is 0; choose 0.01 to 1000"),
        (dict(fps=float("nan")), "'fps' is nan; choose"),
        (dict(fps=1001.0), "'fps' is 1001; choose"),
        (dict(format="exe"), "'format' is exe; choose mp4, webm, gif, png"),
        (dict(quality=1000), "'quality' is 1000; choose 0 to 100"),
        (dict(filename_prefix=""), "'filename prefix' is ''; expected a name"),
        (dict(filename_prefix="../clip"), "'filename prefix' is '../clip'; expected a name"),
        (dict(filename_prefix="/clip"), "'filename prefix' is '/clip'; expected a name"),
        (dict(audio=torch.zeros(1, 2, 100)), "'audio' is no AUDIO of ComfyUI"),
        (dict(audio={"waveform": torch.zeros(2, 100), "sample_rate": 48000}), "'audio' is no AUDIO of ComfyUI"),
        (dict(audio={"waveform": torch.zeros(1, 2, 100), "sample_rate": 0}), "'audio' has 0 samples a second"),
        (
            dict(audio={"waveform": torch.full((1, 1, 100), torch.nan), "sample_rate": 48000}),
            "'audio' has invalid numbers",
        ),
    ],
)
def test_save_refuses_in_one_sentence(folders, settings, message):
    with pytest.raises(ValueError, match=message) as refused:
        save(**settings)
    text = str(refused.value)
    assert text.startswith("Video Save: ") and text.endswith(".") and "\n" not in text
    assert files(folders / "output") == []


def test_save_refuses_a_bad_name_before_anything_runs():
    assert VideoSave.validate_inputs(filename_prefix="../clip").startswith("Video Save: 'filename prefix' is '../clip'")
    assert VideoSave.validate_inputs(filename_prefix="a/clip") is True
    assert VideoSave.validate_inputs(filename_prefix=None) is True


def test_save_says_so_when_the_disk_is_full(folders, monkeypatch):
    def full(*given, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(video_save, "write_clip", full)
    with pytest.raises(OSError, match=r"Video Save: clip_00001_.mp4 could not be written \(No space left on device\)"):
        save()


def test_save_ignores_sound_where_there_is_no_place_for_it():
    silent = {"waveform": torch.zeros(1, 1, 0), "sample_rate": 48000}
    assert (
        save(audio=silent).args[0]
        and save(format="gif", audio={"waveform": torch.zeros(1, 5, 9), "sample_rate": 8000}).args[0]
    )


def test_previews_are_short(clip, monkeypatch, folders):
    monkeypatch.setattr(clip_preview, "FRAMES", 5)
    (preview,) = load(count=0).ui["images"]
    with av.open(str(folders / "temp" / preview["filename"])) as container:
        assert container.streams.video[0].frames == 5
