import errno
import gc
import json
import os
import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import av
import comfy.model_management
import numpy as np
import pytest
import torch
from PIL import Image

from fatezero_pack.fatezero.video import movie
from fatezero_pack.fatezero.video import write as video_write
from fatezero_pack.fatezero.video.frames import Placement, to_bytes, to_float
from fatezero_pack.fatezero.video.read import Selection, read_file
from fatezero_pack.fatezero.video.write import write_clip
from video_clips import beep, beep_time, smooth_clip

GRAPHS = {"prompt": json.dumps({"1": {"class_type": "Ü"}}), "workflow": json.dumps({"nodes": [], "text": 'a "b"\\ c'})}


def read(path):
    return read_file(str(path), path.name, Selection(), lambda size: Placement(size, size))


def tags(path):
    with av.open(str(path)) as container:
        return {name.lower(): text for name, text in container.metadata.items()}


@pytest.mark.parametrize("ending, error", [("mp4", 0.006), ("webm", 0.006), ("gif", 0.06)])
@pytest.mark.parametrize("height, width", [(64, 96), (97, 53), (48, 41)])
def test_frames_rate_and_size_survive(tmp_path, ending, error, height, width):
    images = smooth_clip(20, height, width)
    path = tmp_path / f"clip.{ending}"
    write_clip(str(path), images, 12.5, quality=95)
    clip = read(path)
    assert len(clip.images) == 20 and clip.fps == pytest.approx(12.5)
    if ending != "gif":
        assert clip.source_size == (width + width % 2, height + height % 2)
        torch.testing.assert_close(
            clip.images[:, :height, width:],
            clip.images[:, :height, width - 1 : width].expand(-1, -1, width % 2, -1),
            atol=0.03,
            rtol=0,
        )
    difference = clip.images[:, :height, :width] - images
    assert difference.abs().mean() < error
    assert difference.mean(dim=(0, 1, 2)).abs().max() < 0.5 / 255 or ending == "gif"  # no shift of the colours
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_players_are_told_the_colour_matrix(tmp_path, ending):
    write_clip(str(tmp_path / f"clip.{ending}"), smooth_clip(2, 16, 16), 8.0)
    with av.open(str(tmp_path / f"clip.{ending}")) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (6, 1)  # SMPTE 170M, limited


@pytest.mark.parametrize("fps", [0.5, 8, 23.976, 30000 / 1001, 60, 120])
@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_every_frame_rate_survives(tmp_path, ending, fps):
    path = tmp_path / f"clip.{ending}"
    write_clip(str(path), smooth_clip(6, 16, 16), fps)
    clip = read(path)
    assert len(clip.images) == 6 and clip.fps == pytest.approx(fps, rel=1e-3)


def test_png_frames_are_exact(tmp_path):
    images = to_float(np.random.default_rng(0).integers(0, 256, (3, 13, 7, 3), np.uint8))
    write_clip(str(tmp_path / "frames"), images, 8.0, metadata=GRAPHS)
    assert sorted(os.listdir(tmp_path)) == ["frames"]
    assert sorted(os.listdir(tmp_path / "frames")) == ["00000.png", "00001.png", "00002.png"]
    for index, image in enumerate(images):
        with Image.open(tmp_path / "frames" / video_write.png_name(index)) as picture:
            assert np.array_equal(np.array(picture), to_bytes(image)) and picture.text == GRAPHS
            assert torch.equal(to_float(np.array(picture)), image)


def test_quality_changes_the_size(tmp_path):
    images = torch.rand(4, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    for ending in ("mp4", "webm"):
        sizes = []
        for quality in (0, 50, 100):
            write_clip(str(tmp_path / f"clip.{ending}"), images, 8.0, quality=quality)
            sizes.append((tmp_path / f"clip.{ending}").stat().st_size)
        assert sizes[0] < sizes[1] / 2 and sizes[1] < sizes[2]


@pytest.mark.parametrize("ending", ["mp4", "webm"])
@pytest.mark.parametrize("rate, channels", [(48000, 1), (44100, 2), (22050, 1), (96000, 2), (48000, 6)])
def test_sound_survives_and_ends_with_the_frames(tmp_path, ending, rate, channels):
    audio = {"waveform": beep(at=1.25, seconds=9, rate=rate).expand(channels, -1)[None], "sample_rate": rate}
    path = tmp_path / f"clip.{ending}"
    write_clip(str(path), smooth_clip(16, 32, 32), 8.0, audio=audio)
    found = read(path).audio
    assert found["waveform"].shape == (1, channels, 2 * found["sample_rate"])
    assert beep_time(found) == pytest.approx(1.25, abs=0.005)
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_the_workflow_survives(tmp_path, ending):
    path = tmp_path / f"clip.{ending}"
    write_clip(str(path), smooth_clip(2, 16, 16), 8.0, metadata=GRAPHS)
    assert GRAPHS.items() <= tags(path).items()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.gif", "clip"])
def test_a_comparison_shows_the_other_clip_on_the_left(tmp_path, name):
    images = smooth_clip(4, 32, 48)
    path = tmp_path / name
    write_clip(str(path), images, 8.0, beside=1 - images)
    found = read(path / "00003.png" if name == "clip" else path).images
    for half, expected in zip(found.chunk(2, dim=2), (1 - images, images)):
        assert (half - expected[-len(found) :]).abs().mean() < 0.06


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.gif", "clip"])
@pytest.mark.parametrize(
    "problem", [OSError(errno.ENOSPC, "No space left on device"), comfy.model_management.InterruptProcessingException()]
)
def test_nothing_is_left_after_an_error_or_a_cancel(tmp_path, monkeypatch, name, problem):
    frames = []

    def fail_at_the_fifth_frame():
        frames.append(1)
        if len(frames) == 5:
            assert os.listdir(tmp_path) != []
            raise problem

    monkeypatch.setattr(movie, "heed_cancel", fail_at_the_fifth_frame)
    with pytest.raises(type(problem)):
        write_clip(str(tmp_path / name), smooth_clip(8, 16, 16), 8.0)
    assert len(frames) == 5 and os.listdir(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk without room, as Linux has one")
@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.gif"])
def test_no_file_stays_open_where_the_disk_is_full(tmp_path, monkeypatch, name):
    """As of FFmpeg, where a film's first bytes find no room."""

    def open_files():
        links = (Path("/proc/self/fd") / number for number in os.listdir("/proc/self/fd"))
        return sum(os.path.realpath(link) == "/dev/full" for link in links)

    (tmp_path / name).symlink_to("/dev/full")
    monkeypatch.setattr(video_write, "unfinished_folder", lambda path: nullcontext(str(tmp_path)))
    with pytest.raises(OSError, match="No space left"):
        write_clip(str(tmp_path / name), torch.rand(2, 64, 64, 3), 8)
    gc.collect()
    assert open_files() == 0


def test_the_clip_is_never_copied_as_a_whole(tmp_path):
    images = smooth_clip(40, 64, 64)
    frame = 64 * 64 * 3
    for name in ("clip.mp4", "clip.gif", "clip"):
        write_clip(str(tmp_path / f"first_{name}"), images[:1], 8.0)  # imports what it needs
        tracemalloc.start()
        write_clip(str(tmp_path / name), images, 8.0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20 * frame, name
