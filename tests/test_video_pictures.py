"""Right pictures from real clips: how they lie, what their colours mean, what is transparent, interlaced or damaged."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from fatezero_pack.fatezero.video import orientation
from fatezero_pack.fatezero.video.clip import BLACK, Selection
from fatezero_pack.fatezero.video.frames import Placement, placement
from fatezero_pack.fatezero.video.hdr import KNEE, Signal, hlg_light, pq_light, to_sdr, tone_curve
from fatezero_pack.fatezero.video.read import read_file, read_images, read_video
from video_clips import beep, beep_time, numbered_frame, numbers, smooth_clip, write_numbered

GREEN = (0.0, 1.0, 0.0)


def read(path, start=0, count=0, every_nth=1, background=BLACK):
    selection = Selection(start, count, every_nth)
    return read_file(str(path), path.name, selection, lambda size: Placement(size, size), background)


# The matrix a, b, c, d of the file, and the filters that ffmpeg's own player and encoder insert for it.
TURNS = {
    (1, 0, 0, 1): "null",
    (-1, 0, 0, 1): "hflip",
    (1, 0, 0, -1): "vflip",
    (-1, 0, 0, -1): "hflip,vflip",
    (0, 1, -1, 0): "transpose=clock",
    (0, -1, 1, 0): "transpose=cclock",
    (0, 1, 1, 0): "transpose=cclock_flip",
    (0, -1, -1, 0): "transpose=clock_flip",
}


def filtered(frame, filters):
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base
    )
    nodes = [source]
    for text in filters.split(","):
        name, _, options = text.partition("=")
        nodes.append(graph.add(name, options or None))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


def skew_clip(path):
    """A clip whose frames look different in all eight orientations, without loss."""
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264rgb", rate=8, options={"crf": "0"})
        video.width, video.height, video.pix_fmt = 96, 64, "rgb24"
        for _ in range(3):
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        output.mux(video.encode(None))
    return path


@pytest.mark.parametrize("matrix", TURNS)
def test_all_eight_orientations_are_those_that_ffmpeg_shows(tmp_path, matrix):
    path = skew_clip(tmp_path / "turned.mp4")
    with av.open(str(path)) as container:
        expected = filtered(next(container.decode(video=0)), TURNS[matrix]).to_ndarray(format="rgb24")
    content = bytearray(path.read_bytes())
    a, b, c, d = (number << 16 for number in matrix)
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    clip = read(path, count=1)
    assert np.array_equal((clip.images[0] * 255).round().byte().numpy(), expected)
    assert clip.source_size == expected.shape[1::-1]


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_photographs_lie_as_exif_says(tmp_path, number, ending):
    exif = Image.Exif()
    exif[0x0112] = number
    path = tmp_path / f"photograph.{ending}"
    colors = np.random.default_rng(1).integers(0, 2, (2, 3, 1), np.uint8) * 255 * np.ones((1, 1, 3), np.uint8)
    colors[0, 0], colors[0, 2] = 255, 0  # no symmetry
    image = Image.fromarray(colors.repeat(16, 0).repeat(16, 1))
    image.save(path, exif=exif, quality=100)
    from PIL import ImageOps

    image.getexif()[0x0112] = number
    expected = np.array(ImageOps.exif_transpose(image))
    assert np.abs(read(path).images[0].numpy() * 255 - expected).max() < 40


def test_a_turn_that_is_not_a_quarter_is_the_nearest(tmp_path):
    path = skew_clip(tmp_path / "slanted.mp4")
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", 20_000, 60_000, 0, -60_000, 20_000, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    assert read(path, count=1).source_size == (64, 96)


def test_orientation_keeps_its_two_directions_apart():
    pixels = np.arange(6).reshape(2, 3)
    assert orientation.oriented(pixels, (0, 1, -1, 0)).tolist() == [[3, 0], [4, 1], [5, 2]]  # clockwise
    assert orientation.oriented(pixels, (0, -1, 1, 0)).tolist() == [[2, 5], [1, 4], [0, 3]]


# Known values of ITU-R BT.2408, table 1: HDR reference white, 203 cd/m2, is 58 % PQ and 75 % HLG; an 18 % grey card,
# 26 cd/m2, is 38 % in both.
@pytest.mark.parametrize("signal, light", [(0.58, 203), (0.38, 26), (0.7518, 1000), (1.0, 10_000), (0.0, 0)])
def test_pq_is_the_standard_s(signal, light):
    assert pq_light(torch.tensor(signal)).item() == pytest.approx(light, rel=0.03, abs=1e-6)


@pytest.mark.parametrize("signal, light", [(0.75, 203), (0.38, 26), (0.5, 50.7), (1.0, 1000), (0.0, 0)])
def test_hlg_is_the_standard_s(signal, light):
    assert hlg_light(torch.full((3,), signal))[1].item() == pytest.approx(light, rel=0.03, abs=1e-3)


def test_the_tone_curve_changes_nothing_below_its_knee_and_never_falls_or_clips():
    light = torch.linspace(0, 1000 / 203, 4000, dtype=torch.float64)
    curve = tone_curve(light)
    assert torch.equal(curve[light <= KNEE], light[light <= KNEE])
    assert (curve.diff() > 0).all() and curve[-1] == pytest.approx(1, abs=1e-6)
    slopes = curve.diff() / light.diff()
    assert slopes.max() < 1.001 and (slopes.diff().abs() < 0.03).all()  # no corner


SDR = torch.tensor(
    [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 255],
        [128, 128, 128],
        [200, 150, 120],
        [60, 120, 40],
        [30, 60, 160],
    ]
)


def as_hdr(colors, signal):
    """sRGB of 0..1 as light of 203 cd/m2 for white, in BT.2020, coded: written from the standards' inverse formulas."""
    colors = colors.double()
    linear = torch.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    to_2020 = [[0.627404, 0.329283, 0.043313], [0.069097, 0.919540, 0.011362], [0.016391, 0.088013, 0.895595]]
    light = linear @ torch.tensor(to_2020).double().T * 203
    if signal is Signal.PQ:
        m = (light / 10000) ** (2610 / 16384)
        return (((3424 / 4096) + (2413 / 128) * m) / (1 + (2392 / 128) * m)) ** (2523 / 32)
    luminance = (light * torch.tensor([0.2627, 0.6780, 0.0593]).double()).sum(-1, keepdim=True) / 1000
    scene = light / 1000 * luminance.clamp_min(1e-12) ** (1 / 1.2 - 1)
    low, high = (3 * scene).sqrt(), 0.17883277 * (12 * scene - 0.28466892).clamp_min(1e-9).log() + 0.55991073
    return torch.where(scene <= 1 / 12, low, high)


@pytest.mark.parametrize("signal", [Signal.HLG, Signal.PQ])
def test_what_was_sdr_before_it_became_hdr_comes_back(signal):
    found = to_sdr(as_hdr(SDR[None] / 255, signal).float(), signal)[0] * 255
    dim = SDR.amax(1) < 240
    assert (found - SDR)[dim].abs().max() < 1
    assert (found - SDR)[~dim].abs().max() < 7  # the room that highlights need above white


def test_highlights_are_told_apart_and_keep_their_hue():
    white = torch.tensor([203.0, 400, 1000])[:, None].expand(-1, 3)
    power = (white / 10000) ** (2610 / 16384)
    signal = (((3424 / 4096) + (2413 / 128) * power) / (1 + (2392 / 128) * power)) ** (2523 / 32)
    levels = to_sdr(signal[None], Signal.PQ)[0, :, 0] * 255
    assert 248 < levels[0] < levels[1] < levels[2] <= 255.01
    orange = to_sdr(as_hdr(torch.tensor([[[1.0, 0.5, 0.1]]]), Signal.PQ).float() + 0.1, Signal.PQ)[0, 0]
    assert orange[0] > orange[1] + 0.1 > orange[2] + 0.2


@pytest.mark.parametrize("signal, transfer", [(Signal.HLG, 18), (Signal.PQ, 16)])
def test_an_hdr_clip_of_a_phone_becomes_sdr_and_says_so(tmp_path, signal, transfer):
    coded = as_hdr(SDR / 255, signal).repeat_interleave(16, 0)[None].repeat(64, 1, 1)
    path = tmp_path / "phone.mov"
    with av.open(str(path), "w") as output:
        tags = f"lossless=1:log-level=none:colorprim=9:transfer={transfer}:colormatrix=9:range=limited"
        video = output.add_stream("libx265", rate=24, options={"crf": "2", "x265-params": tags})
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p10le"
        frame = av.VideoFrame(128, 64, "yuv420p10le")
        red, green, blue = (coded * 1.0).unbind(-1)
        luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
        planes = (64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746)
        for index, plane in enumerate(planes):
            step = 1 if index == 0 else 2
            values = plane[::step, ::step].round().numpy().astype(np.uint16)
            line = frame.planes[index].line_size // 2
            padded = np.zeros((values.shape[0], line), np.uint16)
            padded[:, : values.shape[1]] = values
            frame.planes[index].update(padded.tobytes())
        for index in range(3):
            frame.pts, frame.time_base = index, Fraction(1, 24)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    clip = read(path)
    found = clip.images[0, 32, 8::16] * 255
    assert (found - SDR).abs().max() < 18  # dark shades beside bright ones: 10 bits end there
    assert (found - SDR)[SDR.amax(1) < 240].abs().max() < 5
    assert clip.notes == (f"Its {signal.value} colours were converted to SDR.",)


def test_wide_gamut_without_hdr_is_brought_to_srgb():
    grey = torch.full((1, 1, 3), 0.5)
    found = to_sdr(grey, Signal.BT2020)
    assert found.std() < 1e-4 and 0.4 < found.mean() < 0.55
    red = to_sdr(torch.tensor([[[0.8, 0.3, 0.2]]]), Signal.BT2020)[0, 0]
    assert red[0] > 0.8 and red[1] < 0.3  # the same red has larger numbers in the smaller gamut


def test_dolby_vision_says_what_was_taken(tmp_path):
    path = tmp_path / "dolby.mp4"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx265", rate=24, options={"x265-params": "log-level=none"})
        video.width, video.height, video.pix_fmt = 80, 48, "yuv420p10le"
        video.codec_context.codec_tag = "hvc1"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), "rgb24").reformat(format="yuv420p10le")
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    content = path.read_bytes()
    assert content.count(b"hvc1") == 1
    path.write_bytes(content.replace(b"hvc1", b"dvh1"))
    (note,) = read(path).notes
    assert "Dolby Vision" in note and "colours are wrong" in note and "export it as SDR or HDR10" in note


def clear_half(size=(96, 64)):
    """RGBA: the left half solid with a number, the right half transparent with other colours hidden in it."""
    pixels = np.dstack([numbered_frame(341, *size), np.full(size[::-1], 255, np.uint8)])
    pixels[:, size[0] // 2 :, :3], pixels[:, size[0] // 2 :, 3] = (250, 20, 240), 0
    return pixels


def write_clear(path):
    """A clip of three such frames in the format of the path's ending."""
    pixels = clear_half()
    if path.suffix in (".png", ".webp", ".tiff"):
        animated = {"save_all": True, "append_images": [Image.fromarray(pixels)] * 2, "duration": 100}
        lossless = {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
        Image.fromarray(pixels).save(path, **(animated if path.suffix == ".webp" else {}), **lossless)
        return
    codecs = {
        ".gif": ("gif", "bgra"),
        ".apng": ("apng", "rgba"),
        ".webm": ("libvpx-vp9", "yuva420p"),
        ".mov": ("prores_ks", "yuva444p10le"),
        ".mkv": ("ffv1", "bgra"),
    }
    codec, kind = codecs[path.suffix]
    if path.suffix == ".gif":
        picture = Image.fromarray(pixels)
        picture.save(path, save_all=True, append_images=[picture, picture], duration=100, disposal=2)
        return
    options = {"crf": "0", "b": "0", "auto-alt-ref": "0"} if codec == "libvpx-vp9" else {}
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=10, options=options)
        video.width, video.height, video.pix_fmt = pixels.shape[1], pixels.shape[0], kind
        for _ in range(3):
            output.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgba").reformat(format=kind)))
        output.mux(video.encode(None))


@pytest.mark.parametrize("ending", ["gif", "apng", "webm", "mov", "mkv", "png", "webp", "tiff"])
def test_transparency_is_one_rule_in_every_format(tmp_path, ending):
    path = tmp_path / f"clear.{ending}"
    write_clear(path)
    for background in (BLACK, GREEN):
        clip = read(path, background=background)
        right = clip.images[:, 4:-4, 56:88]
        assert (right - torch.tensor(background)).abs().max() < 0.03
        left = clip.images[:, 32, 4::10][:, :4]
        assert (left - torch.tensor(clear_half()[32, 4::10][:4, :3] / 255)).abs().max() < 0.06
        assert clip.alpha.shape == clip.images.shape[:3]
        assert (clip.alpha[:, 4:-4, 8:40] > 0.98).all() and (clip.alpha[:, 4:-4, 56:88] < 0.02).all()
        assert "Transparent places" in clip.notes[-1]


def test_hidden_colours_do_not_bleed_into_the_edges_when_scaled(tmp_path):
    path = tmp_path / "clear.png"
    write_clear(path)
    small = read_file(str(path), "", Selection(), lambda size: placement(size, (24, 16), "stretch", 8), (0.5, 0.5, 0.5))
    edge = small.images[0, :, 12:]
    assert (edge[..., 0] < 0.56).all() and (edge[..., 1] > 0.4).all()  # no trace of magenta


def test_bars_are_black_and_opaque(tmp_path):
    path = tmp_path / "clear.png"
    write_clear(path)
    clip = read_file(str(path), "", Selection(), lambda size: placement(size, (96, 96), "pad", 8), GREEN)
    assert clip.images[0, :12].abs().max() == 0 and (clip.alpha[0, :12] == 1).all()


def test_the_fourth_channel_of_images_is_the_opacity():
    images = torch.from_numpy(clear_half()[None].repeat(2, 0)).float() / 255
    clip = read_images(images, "'images'", Selection(), lambda size: Placement(size, size), background=GREEN)
    assert torch.equal(clip.images[:, :, 50], torch.tensor(GREEN).expand(2, 64, 3))
    assert torch.equal(clip.alpha, images[..., 3])
    opaque = read_images(torch.ones(1, 8, 8, 4), "'images'", Selection(), lambda size: Placement(size, size))
    assert opaque.alpha is None and opaque.notes == ()


def test_a_video_of_components_may_be_transparent():
    from fatezero_pack.fatezero.compat import InputImpl, Types

    images = torch.from_numpy(clear_half()[None]).float() / 255
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=None, frame_rate=Fraction(8)))
    clip = read_video(video, "'video'", Selection(), lambda size: Placement(size, size), GREEN)
    assert torch.equal(clip.alpha, images[..., 3])


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_default_tracks_are_taken(tmp_path, ending):
    path = tmp_path / f"tracks.{ending}"
    with av.open(str(path), "w") as output:
        small, film = (output.add_stream("libx264", rate=24) for _ in range(2))
        for stream, size in ((small, (32, 32)), (film, (80, 48))):
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
        talk, music = (output.add_stream("aac", rate=48000, layout="mono") for _ in range(2))
        for stream in (small, talk):
            stream.disposition = av.stream.Disposition(0).value
        for stream in (film, music):
            stream.disposition = av.stream.Disposition.default.value
        for stream, at in ((talk, 0.2), (music, 0.7)):
            frame = av.AudioFrame.from_ndarray(beep(at, 1).numpy(), "fltp", "mono")
            frame.sample_rate, frame.pts = 48000, 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        for number in range(24):
            output.mux(small.encode(av.VideoFrame.from_ndarray(numbered_frame(9, 32, 32), "rgb24")))
            output.mux(film.encode(av.VideoFrame.from_ndarray(numbered_frame(number), "rgb24")))
        output.mux(small.encode(None))
        output.mux(film.encode(None))
    clip = read(path)
    assert clip.source_size == (80, 48) and numbers(clip.images) == list(range(24))
    assert beep_time(clip.audio) == pytest.approx(0.7, abs=0.03)


def test_lost_frames_are_counted(tmp_path):
    path = write_numbered(tmp_path / "damaged.avi", codec="mjpeg", pixel_format="yuvj420p", count=40)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for index in (10, 11, 30):
        at, size = places[index]
        content[at : at + size] = bytes(size)
    path.write_bytes(content)
    clip = read(path)
    assert len(clip.images) == 37 and clip.notes == (
        "Left out as damaged: 3 of 40 frames; others may show the damage.",
    )
    assert read(path, start=12, count=8).notes == ()


def test_interlaced_frames_become_whole_pictures(tmp_path):
    """A bar that moves between the two fields of a frame: combed as it was taken, smooth afterwards."""
    path = tmp_path / "camera.mpg"
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "q": "2", "top": "1"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for index in range(12):
            picture = np.zeros((64, 96, 3), np.uint8)
            for field in range(2):
                at = 4 + 6 * index + 3 * field
                picture[field::2, at : at + 12] = 255
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 12 and frames[3].interlaced_frame
    combed = torch.from_numpy(frames[3].to_ndarray(format="gray")).float() / 255
    clip = read(path)
    assert len(clip.images) == 12 and clip.notes == ("Its interlaced frames were deinterlaced.",)
    whole = clip.images[3].mean(-1)

    def comb(image):
        return (image[1:-1] - (image[:-2] + image[2:]) / 2).abs()[8:-8].mean()

    assert comb(whole) < comb(combed) / 4
    later = read(path, start=5, count=3)
    assert len(later.images) == 3 and (later.images[1:] - clip.images[6:8]).abs().mean() < 0.02


def test_an_ordinary_clip_has_no_notes(tmp_path):
    path = write_numbered(tmp_path / "ordinary.mp4", count=12)
    clip = read(path)
    assert clip.notes == () and clip.alpha is None
    assert smooth_clip(1, 8, 8).shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    "name, codec, settings",
    [
        ("a.3gp", "mpeg4", {}),
        ("a.m2ts", "libx264", {"format": "mpegts"}),
        ("a.vob", "mpeg2video", {}),
        ("a.mxf", "mpeg2video", {"fps": 25}),
        ("a.f4v", "libx264", {}),
        ("a.asf", "wmv2", {}),
        ("a.divx", "mpeg4", {"format": "avi"}),
        ("a.y4m", "wrapped_avframe", {"format": "yuv4mpegpipe"}),
        ("a.mjpg", "mjpeg", {"format": "mjpeg", "pixel_format": "yuvj420p"}),
        ("a.nut", "ffv1", {}),
        ("a.ogv", "libtheora", {}),
        ("a.flv", "flv", {}),
        ("a.wmv", "wmv2", {"format": "asf"}),
        ("a.ivf", "libvpx-vp9", {}),
        ("a.hevc", "libx265", {"format": "hevc", "options": {"x265-params": "log-level=none"}}),
    ],
)
def test_formats_of_cameras_and_old_files_are_read_and_offered(tmp_path, name, codec, settings):
    from fatezero_pack.fatezero.video.formats import is_readable_name

    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this PyAV has no {codec} to write the clip with")
    path = write_numbered(tmp_path / name, codec, 10, **settings)
    assert numbers(read(path).images) == list(range(10)) and is_readable_name(name)
