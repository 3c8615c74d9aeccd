import io as bytes_io
import struct
from fractions import Fraction
from functools import partial

import av
import comfy.model_management
import pytest
import torch
from av.video.reformatter import Colorspace
from PIL import Image

from fatezero_pack.fatezero.compat import InputImpl, Types
from fatezero_pack.fatezero.video import decode as video_decode
from fatezero_pack.fatezero.video import stream as video_stream
from fatezero_pack.fatezero.video.clip import STILL_FPS
from fatezero_pack.fatezero.video.frames import placement
from fatezero_pack.fatezero.video.read import Selection, read_file, read_images, read_video
from video_clips import beep, beep_time, numbered_frame, numbers, write_numbered

KINDS = {
    "b_frames.mp4": dict(options={"g": "30", "bf": "3"}),
    "b_frames.mkv": dict(options={"g": "30", "bf": "3"}),
    "open_gop.mp4": dict(options={"x264-params": "keyint=24:open-gop=1:bframes=3"}),
    "seeks_late.avi": dict(codec="mpeg4", options={"g": "12", "bf": "2"}),
    "hidden_references.webm": dict(codec="libvpx-vp9", options={"g": "30", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "seeks_late.ts": dict(options={"g": "30", "bf": "3"}),
    "wrong_time_stamps.mpg": dict(codec="mpeg2video", options={"g": "12", "bf": "2"}),
    "no_time_stamps.264": dict(options={"bf": "3"}, format="h264"),
    "intra_only.mov": dict(codec="prores_ks", pixel_format="yuv422p10le"),
    "animation.gif": dict(codec="gif", pixel_format="rgb8", fps=20),
    "animation.apng": dict(codec="apng", pixel_format="rgb24", format="apng", options={"pred": "none"}),
}


def fit(size, width=0, height=0, how="crop", grid=8):
    return placement(size, (width, height), how, grid)


def read(path, start=0, count=0, every_nth=1, **size):
    return read_file(str(path), path.name, Selection(start, count, every_nth), partial(fit, **size))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def long_clip(folder):
    return write_numbered(folder / "long.mp4", count=600, options={"g": "48", "bf": "3"})


@pytest.mark.parametrize("name", KINDS)
def test_exactly_the_selected_frames_are_read_from_every_format(folder, name):
    path = write_numbered(folder / name, count=100, **KINDS[name])
    for start in (0, 1, 11, 23, 24, 25, 29, 30, 31, 47, 57, 60, 98, 99):
        for count, every_nth in ((1, 1), (3, 1), (2, 7), (0, 40)):
            clip = read(path, start, count, every_nth)
            assert numbers(clip.images) == list(range(start, 100, every_nth))[: count or None], (
                start,
                count,
                every_nth,
            )


def test_eight_frames_of_a_long_file_decode_and_keep_little(long_clip, monkeypatch):
    decoded, converted = [], []
    decode, convert = video_decode.decoded, video_stream.frame_picture

    def counting_decode(*given):
        for frame in decode(*given):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video_decode, "decoded", counting_decode)
    monkeypatch.setattr(video_stream, "frame_picture", lambda *given: converted.append(1) or convert(*given))
    clip = read(long_clip, start=300, count=8)
    assert numbers(clip.images) == list(range(300, 308))
    assert clip.images.untyped_storage().nbytes() == 8 * 48 * 80 * 3 * 4
    assert len(converted) == 8
    assert len(decoded) <= 48 + 8  # at most one group of pictures before the first


def test_late_seeking_is_mended_without_reading_everything(folder, monkeypatch):
    path = write_numbered(folder / "long.ts", count=900, options={"g": "48", "bf": "3"})
    decoded, decode = [], video_decode.decoded
    monkeypatch.setattr(
        video_decode, "decoded", lambda *given: (decoded.append(1) or frame for frame in decode(*given))
    )
    assert numbers(read(path, start=860, count=3).images) == [860, 861, 862]
    assert len(decoded) < 400


def test_frames_outside_the_edit_list_do_not_count(folder):
    content = bytearray(write_numbered(folder / "unedited.mp4", count=40, options={"g": "12", "bf": "2"}).read_bytes())
    start = content.index(b"elst") + 16
    (media_time,) = struct.unpack(">i", content[start : start + 4])
    content[start : start + 4] = struct.pack(">i", media_time + 5 * 512)  # five frames of 1/24 s at 12288 Hz
    path = folder / "edited.mp4"
    path.write_bytes(content)
    everything = numbers(read(path).images)
    assert everything[0] == 5
    for begin in (0, 1, 6, 20):
        assert numbers(read(path, start=begin, count=3).images) == everything[begin : begin + 3]
    with pytest.raises(ValueError, match=f"has {len(everything)} frames"):
        read(path, start=len(everything))


def test_count_beyond_the_end_takes_what_there_is(long_clip):
    assert numbers(read(long_clip, start=595, count=50).images) == list(range(595, 600))


def test_start_beyond_the_end_is_refused(long_clip):
    with pytest.raises(ValueError, match="'start' is 600 but long.mp4 has 600 frames; choose a start below 600"):
        read(long_clip, start=600, count=8)


def test_frames_are_counted_not_believed(folder):
    whole = write_numbered(folder / "whole.avi", codec="mpeg4").read_bytes()
    path = folder / "truncated.avi"
    path.write_bytes(whole[: len(whole) // 2])
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 120
    found = numbers(read(path).images)
    assert 20 < len(found) < 100 and found == list(range(len(found)))
    with pytest.raises(ValueError, match="'start' is 100 but truncated.avi has"):
        read(path, start=100)


def test_a_damaged_file_gives_its_whole_frames(folder):
    content = bytearray(write_numbered(folder / "sound.mkv", options={"g": "12"}).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 60] = bytes(60)
    path = folder / "damaged.mkv"
    path.write_bytes(content)
    images = read(path).images
    assert 40 < len(images) <= 120
    assert numbers(images[:30]) == list(range(30))


def test_fps_keeps_the_speed(long_clip, folder):
    assert read(long_clip, 10, 8).fps == 24
    assert read(long_clip, 10, 8, every_nth=3).fps == 8
    ntsc = write_numbered(folder / "ntsc.mkv", fps=Fraction(30000, 1001), count=40)  # time stamps in whole ms
    assert read(ntsc).fps == pytest.approx(30000 / 1001, abs=1e-9)


def test_variable_frame_rate_gives_frames_by_index_and_the_mean_rate(folder):
    times = [0, 40, 80, 300, 340, 500, 900, 1000, 1040, 2000]
    path = write_numbered(folder / "variable.mkv", count=10, times=times, options={"bf": "2"})
    clip = read(path, start=3, count=5)
    assert numbers(clip.images) == [3, 4, 5, 6, 7]
    assert clip.fps == pytest.approx(4 / 0.7, rel=1e-3)
    assert clip.notes == ()  # the worst is off by less than a frame
    assert read(path).notes == (
        "The file shows its frames at uneven times, here up to 0.7 s off; to keep them, set 'force rate'.",
    )
    assert read_file(str(path), path.name, Selection(rate=20), fit).notes == ()


@pytest.mark.parametrize("name", ["sound.mp4", "sound.mkv", "sound.ts"])
def test_sound_is_cut_to_the_selected_frames(folder, name):
    path = write_numbered(folder / name, audio=beep(at=2.5, seconds=5), options={"g": "30"})
    for start, count, every_nth in ((0, 0, 1), (48, 24, 1), (30, 24, 2), (59, 6, 1)):
        clip = read(path, start, count, every_nth)
        seconds = len(clip.images) * every_nth / 24
        waveform, rate = clip.audio["waveform"], clip.audio["sample_rate"]
        assert waveform.shape == (1, 1, round(seconds * rate)) and waveform.dtype == torch.float32
        assert beep_time(clip.audio) == pytest.approx(2.5 - start / 24, abs=0.003), (start, every_nth)
    assert read(path, 0, 24).audio["waveform"].abs().max() < 0.01


@pytest.mark.parametrize("start", [0, 30, 35])
def test_with_a_rate_sound_begins_at_the_tick_and_not_where_its_frame_appeared(folder, start):
    """A screen recording has a frame where something changes; here none between 0.1 and 6 seconds."""
    times = [0, 100, *range(6000, 8000, 100)]
    path = write_numbered(folder / "held.mkv", count=22, times=times, audio=beep(at=4.0, seconds=8))
    clip = read_file(str(path), path.name, Selection(start=start, count=50, rate=10), fit)
    assert beep_time(clip.audio) == pytest.approx(4.0 - start / 10, abs=0.003)


def test_the_sound_of_batches_with_a_rate_follows_without_gaps(folder):
    path = write_numbered(folder / "slow.mp4", count=16, fps=2, audio=beep(at=4.0, seconds=8))
    whole = read_file(str(path), path.name, Selection(rate=10), fit).audio
    batches = [
        read_file(str(path), path.name, Selection(count=13, rate=10, batch=batch), fit).audio for batch in range(5)
    ]
    joined = torch.cat([audio["waveform"] for audio in batches], dim=-1)
    same = slice(0, joined.shape[-1])
    assert torch.allclose(joined[..., same], whole["waveform"][..., same], atol=1e-4)


@pytest.mark.parametrize("name", ["tone.mp4", "tone.mkv"])
def test_sound_is_right_from_its_first_sample_and_has_no_clicks(folder, name):
    tone = torch.sin(torch.arange(5 * 48000) * (2 * torch.pi * 375 / 48000))[None] * 0.5
    path = write_numbered(folder / name, audio=tone, options={"g": "30"})
    waveform = read(path, start=41, count=24).audio["waveform"][0, 0]
    periods = waveform.reshape(-1, 128)  # of 375 Hz at 48 kHz
    assert (periods - periods[100]).abs().max() < 0.05


def test_sound_shorter_than_the_frames_is_followed_by_silence(folder):
    path = write_numbered(folder / "short_sound.mp4", audio=beep(at=0.5, seconds=1))
    audio = read(path).audio
    assert audio["waveform"].shape[-1] == 5 * 48000 and audio["waveform"][..., 52000:].abs().max() == 0


def test_no_sound_track_gives_no_audio(long_clip):
    assert read(long_clip, count=2).audio is None


def rotated(path, quarter_turns):
    """The same mp4, with a display matrix that turns it clockwise."""
    content = bytearray(path.read_bytes())
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns]
    matrix = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    start = content.index(b"tkhd") + 44
    content[start : start + 36] = struct.pack(">9i", *matrix)
    result = path.with_name(f"turned_{quarter_turns}.mp4")
    result.write_bytes(content)
    return result


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_rotation_is_applied(folder, quarter_turns):
    path = write_numbered(folder / "upright.mp4", count=4)
    upright, turned = read(path, start=1), read(rotated(path, quarter_turns), start=1)
    torch.testing.assert_close(turned.images, torch.rot90(upright.images, -quarter_turns, (1, 2)))
    assert turned.source_size == ((48, 80) if quarter_turns % 2 else (80, 48))


def test_pixels_that_are_not_square_are_made_so(folder):
    path = write_numbered(folder / "anamorphic.mp4", count=3, pixel_aspect=Fraction(2))
    clip = read(path)
    assert clip.source_size == (160, 48) and clip.images.shape == (3, 48, 160, 3) and numbers(clip.images) == [0, 1, 2]


def test_a_size_that_changes_on_the_way_is_fitted_to_the_first(folder):
    parts = [
        write_numbered(folder / f"{size[0]}.264", count=10, size=size, format="h264").read_bytes()
        for size in ((80, 48), (160, 112))
    ]
    (folder / "changing.264").write_bytes(b"".join(parts))
    clip = read(folder / "changing.264")
    assert clip.images.shape == (20, 48, 80, 3) and numbers(clip.images) == 2 * list(range(10))


@pytest.mark.parametrize("colors", ["bt709", "smpte170m"])
def test_colours_are_true_whatever_the_matrix(folder, colors):
    palette = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 50], [30, 60, 90], [255, 255, 255]])
    pixels = palette.repeat_interleave(32, 0)[None].repeat(64, 1, 1).to(torch.uint8).numpy()
    path = folder / f"{colors}.mp4"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=8, options={"crf": "1"})
        video.width, video.height, video.pix_fmt = pixels.shape[1], pixels.shape[0], "yuv420p"
        tag, matrix = (1, Colorspace.ITU709) if colors == "bt709" else (6, Colorspace.ITU601)
        video.codec_context.colorspace, video.codec_context.color_range = tag, 1
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
        output.mux(video.encode(frame.reformat(format="yuv420p", dst_colorspace=matrix)))
        output.mux(video.encode(None))
    found = read(path).images[0, 32, 16::32] * 255
    assert (found - palette).abs().max() <= 3


@pytest.mark.parametrize("name", ["animation.webp", "animation.png", "animation_from_pillow.gif"])
def test_animations_made_by_pillow(folder, name):
    pictures = [Image.fromarray(numbered_frame(number)) for number in range(12)]
    path = folder / name
    lossless = {"lossless": True} if name.endswith("webp") else {}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, **lossless)
    assert numbers(read(path).images) == list(range(12))
    clip = read(path, start=5, count=3, every_nth=2)
    assert numbers(clip.images) == [5, 7, 9] and clip.fps == pytest.approx(5, rel=0.01) and clip.audio is None


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tiff"])
def test_a_picture_is_a_clip_of_one_frame(folder, ending):
    path = folder / f"picture.{ending}"
    Image.fromarray(numbered_frame(341)).save(path)
    clip = read(path)
    assert numbers(clip.images) == [341] and clip.fps == STILL_FPS and clip.audio is None
    with pytest.raises(ValueError, match="has 1 frame; choose a start below 1"):
        read(path, start=1)


def test_photographs_are_turned_as_their_exif_says(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = folder / "photograph.jpg"
    Image.fromarray(numbered_frame(341)).save(path, exif=exif, quality=95)
    clip = read(path)
    assert clip.images.shape == (1, 80, 48, 3)
    assert numbers(torch.rot90(clip.images, 1, (1, 2))) == [341]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("notes.txt", b"not a video\n" * 100, "is not a video or picture that can be read"),
        ("empty.mp4", b"", "is not a video or picture that can be read"),
        ("noise.mp4", bytes(range(256)) * 40, "is not a video or picture that can be read"),
        ("broken.webp", b"RIFF\x00\x01\x00\x00WEBPVP8X" + bytes(300), "broken.webp"),
    ],
)
def test_what_is_not_a_video_is_refused_in_one_sentence(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as refused:
        read(folder / name)
    assert str(refused.value).startswith(f"{name} ") and "\n" not in str(refused.value)


def test_half_an_mp4_is_refused(folder, long_clip):
    (folder / "half.mp4").write_bytes(long_clip.read_bytes()[:5000])
    with pytest.raises(ValueError, match="half.mp4 is cut off: the file ends in the middle; copy or download it again"):
        read(folder / "half.mp4")


def with_cover(mp3: bytes) -> bytes:
    """The same sound with an ID3 tag that holds a picture."""
    picture = bytes_io.BytesIO()
    Image.fromarray(numbered_frame(5)).save(picture, "jpeg")
    frame = b"\x00image/jpeg\x00\x03\x00" + picture.getvalue()
    frame = b"APIC" + struct.pack(">IH", len(frame), 0) + frame
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + frame + mp3


def test_a_sound_file_is_refused_even_with_a_cover(folder):
    path = folder / "song.mp3"
    with av.open(str(path), "w") as output:
        sound = output.add_stream("libmp3lame", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(beep(0, 1).numpy(), "fltp", "mono")
        frame.sample_rate, frame.pts = 48000, 0
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    covered = folder / "covered.mp3"
    covered.write_bytes(with_cover(path.read_bytes()[path.read_bytes().index(b"\xff\xfb") :]))
    with av.open(str(covered)) as container:
        assert len(container.streams.video) == 1
    for song in (path, covered):
        with pytest.raises(ValueError, match=f"{song.name} has no pictures"):
            read(song)


def test_cancelling_stops_the_reading(long_clip):
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        read(long_clip)
    assert numbers(read(long_clip, count=2).images) == [0, 1]


def test_more_than_the_memory_holds_is_refused():
    images = torch.zeros(1, 8, 8, 3).expand(100_000, -1, -1, -1)
    with pytest.raises(
        ValueError, match="100000 frames of 16384x16384 would need 322122.5 GB, .* choose a smaller 'count'"
    ):
        read_images(images, "'images'", Selection(), partial(fit, width=16384))


def test_images_are_selected_and_untouched_where_nothing_is_resized():
    images = torch.rand(10, 16, 24, 3)
    before = images.clone()
    clip = read_images(images, "'images'", Selection(1, 3, 2), fit)
    assert torch.equal(clip.images, images[[1, 3, 5]]) and torch.equal(images, before)
    assert clip.fps == STILL_FPS / 2
    assert read_images(images, "'images'", Selection(1, 3, 2), partial(fit, width=48)).images.shape == (3, 32, 48, 3)
    with pytest.raises(ValueError, match="'start' is 10 but 'images' has 10 frames"):
        read_images(images, "'images'", Selection(10), fit)


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_whole_video_is_streamed_from_its_file(long_clip, monkeypatch, in_memory):
    source = bytes_io.BytesIO(long_clip.read_bytes()) if in_memory else str(long_clip)
    video = InputImpl.VideoFromFile(source)
    monkeypatch.setattr(InputImpl.VideoFromFile, "get_components", lambda self: pytest.fail("decoded the whole video"))
    clip = read_video(video, "'video'", Selection(300, 4, 2), fit)
    assert numbers(clip.images) == [300, 302, 304, 306] and clip.fps == 12


def test_a_trimmed_video_is_read_within_its_limits(long_clip):
    video = InputImpl.VideoFromFile(str(long_clip), start_time=10.0, duration=1.0)
    assert numbers(read_video(video, "'video'", Selection(2, 3), fit).images) == [242, 243, 244]
    with pytest.raises(ValueError, match="'start' is 24 but 'video' has 24 frames"):
        read_video(video, "'video'", Selection(24), fit)


def test_a_video_of_components_keeps_its_sound():
    images = torch.stack([torch.from_numpy(numbered_frame(number)) / 255 for number in range(48)])
    audio = {"waveform": beep(at=1.0, seconds=2)[None], "sample_rate": 48000}
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=audio, frame_rate=Fraction(24)))
    clip = read_video(video, "'video'", Selection(12, 12, 2), fit)
    assert numbers(clip.images) == list(range(12, 36, 2)) and clip.fps == 12
    assert clip.audio["waveform"].shape == (1, 1, 48000) and beep_time(clip.audio) == pytest.approx(0.5, abs=0.003)


def test_images_with_a_rate_keep_the_sound_from_the_tick_on():
    images, audio = torch.rand(4, 8, 8, 3), {"waveform": beep(at=0.9, seconds=2)[None], "sample_rate": 48000}
    clip = read_images(images, "'images'", Selection(start=8, count=4, rate=10), fit, 2.0, audio)
    assert beep_time(clip.audio) == pytest.approx(0.1, abs=0.003)
