"""What a hostile or broken file must not do: make us read another file, take the memory, or stay without a sentence."""

import io
import struct
import time
import zlib
from types import SimpleNamespace

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.video import memory
from fatezero_pack.fatezero.video.clip import Selection
from fatezero_pack.fatezero.video.frames import Placement, placement
from fatezero_pack.fatezero.video.matroska import is_linked
from fatezero_pack.fatezero.video.read import read_file
from fatezero_pack.fatezero.video.whole import is_cut_off
from video_clips import beep, numbered_frame, numbers, write_numbered

SECRET = 700  # the number that only the frames of the other file show


def read(path, start=0, count=0, every_nth=1):
    return read_file(str(path), path.name, Selection(start, count, every_nth), lambda size: Placement(size, size))


def refused(path, *words):
    with pytest.raises(Refusal) as refusal:
        read(path)
    text = str(refusal.value)
    assert text.startswith(path.name) or words, text
    assert text.endswith(".") and "\n" not in text and all(word in text for word in words), text


@pytest.fixture
def secret(tmp_path):
    """A clip outside the input folder, in a format that playlists can name."""
    path = tmp_path / "outside" / "secret.ts"
    path.parent.mkdir()
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 80, 48, "yuv420p"
        for _ in range(8):
            output.mux(video.encode(av.VideoFrame.from_ndarray(numbered_frame(SECRET), "rgb24")))
        output.mux(video.encode(None))
    return path


def playlists(secret):
    manifest = f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
        mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet
        mimeType="video/mp4"><Representation id="0" bandwidth="1000"><BaseURL>file://{secret}</BaseURL>
        </Representation></AdaptationSet></Period></MPD>"""
    session = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5000 RTP/AVP 96\n"
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile {secret}\n",
        "concat_of_a_protocol": f"ffconcat version 1.0\nfile concat:{secret}\n",
        "dash": manifest,
        "sdp": session,
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{secret}"/></svg>',
    }


@pytest.mark.parametrize("kind", ["hls", "concat", "concat_of_a_protocol", "dash", "sdp", "svg"])
@pytest.mark.parametrize("ending", ["mp4", "m3u8", "txt"])
def test_a_list_of_other_files_is_refused_at_once(tmp_path, secret, kind, ending):
    path = tmp_path / f"list.{ending}"
    path.write_text(playlists(secret)[kind])
    begun = time.monotonic()
    refused(path, "choose")
    assert time.monotonic() - begun < 5  # no waiting for the network


def test_ffmpeg_alone_would_read_the_other_file(tmp_path, secret):
    """Otherwise the test above could not fail."""
    path = secret.parent / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile {secret.name}\n")
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 8


def test_a_picture_whose_name_looks_like_a_sequence_is_that_picture(tmp_path):
    for name, number in (("seq_%03d.png", 5), ("seq_001.png", SECRET), ("seq_*.png", 6)):
        Image.fromarray(numbered_frame(number)).save(tmp_path / name)
    assert numbers(read(tmp_path / "seq_%03d.png").images) == [5]
    assert numbers(read(tmp_path / "seq_*.png").images) == [6]


def with_reference(content: bytes, entry: bytes) -> bytes:
    """An mp4 whose pictures are said to lie in another file; the table of its frames follows its data."""
    at = content.index(b"dref") - 4
    (size,) = struct.unpack(">I", content[at : at + 4])
    box = struct.pack(">I", 16 + len(entry)) + b"dref" + struct.pack(">II", 0, 1) + entry
    grown = bytearray(content[:at] + box + content[at + size :])
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        start = content.index(parent) - 4
        (old,) = struct.unpack(">I", content[start : start + 4])
        grown[start : start + 4] = struct.pack(">I", old + len(box) - size)
    return bytes(grown)


def mac_alias(path: str) -> bytes:
    name = path.encode() + b"\0" * (len(path) % 2)
    body = bytes(10) + b"\3vol".ljust(28, b"\0") + bytes(12) + b"\4clip".ljust(64, b"\0") + bytes(16)
    body += struct.pack(">hh", 1, 1) + bytes(16) + struct.pack(">hh", 2, len(name)) + name + struct.pack(">hh", -1, 0)
    return struct.pack(">I", 12 + len(body)) + b"alis" + bytes(4) + body


@pytest.mark.parametrize("kind", ["url", "alias"])
def test_pictures_that_an_mp4_says_are_elsewhere_are_not_fetched(tmp_path, secret, kind):
    address = f"file://{secret}".encode() + b"\0"
    entry = (
        struct.pack(">I", 12 + len(address)) + b"url \0\0\0\0" + address if kind == "url" else mac_alias(str(secret))
    )
    path = write_numbered(tmp_path / "reference.mp4", count=4)
    path.write_bytes(with_reference(path.read_bytes(), entry))
    try:
        found = numbers(read(path).images)
    except Refusal:
        found = []
    assert SECRET not in found


def element(kind: bytes, content: bytes) -> bytes:
    return kind + bytes([0x80 | len(content)]) + content


def with_element(content: bytes, added: bytes) -> bytes:
    """An mkv with one more element at the end of its segment."""
    at = content.index(b"\x18\x53\x80\x67") + 4
    size = int.from_bytes(content[at + 1 : at + 8], "big") + len(added)
    return content[: at + 1] + size.to_bytes(7, "big") + content[at + 8 :] + added


INFO, UNIQUE = b"\x15\x49\xa9\x66", bytes(range(16))
LINKS = {
    "the next file": element(INFO, element(b"\x3e\xb9\x23", UNIQUE)),
    "the file before, by name": element(INFO, element(b"\x3c\x83\xab", b"other.mkv")),
    "a chapter elsewhere": element(
        b"\x10\x43\xa7\x70", element(b"\x45\xb9", element(b"\xb6", element(b"\x6e\x67", UNIQUE)))
    ),
}


@pytest.mark.parametrize("link", LINKS)
def test_an_mkv_that_is_linked_to_others_is_refused(tmp_path, link):
    content = write_numbered(tmp_path / "whole.mkv", count=3).read_bytes()
    (tmp_path / "linked.mkv").write_bytes(with_element(content, LINKS[link]))
    refused(tmp_path / "linked.mkv", "linked.mkv is one of several files", "join them")
    (tmp_path / "title.mkv").write_bytes(with_element(content, element(INFO, element(b"\x7b\xa9", b"a title"))))
    assert numbers(read(tmp_path / "title.mkv").images) == [0, 1, 2]


@pytest.mark.parametrize("ending", ["mkv", "webm"])
@pytest.mark.parametrize("cut", [3, 5, 40, 200])
def test_looking_for_links_never_fails(tmp_path, ending, cut):
    codec = "libvpx-vp9" if ending == "webm" else "libx264"
    content = write_numbered(tmp_path / f"clip.{ending}", codec, count=2).read_bytes()
    assert not is_linked(io.BytesIO(content)) and not is_linked(io.BytesIO(content[:cut]))


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "avi"])
def test_a_title_that_is_not_utf8_is_no_obstacle(tmp_path, ending):
    path = tmp_path / f"old.{ending}"
    with av.open(str(path), "w") as output:
        output.metadata["title"] = "cafXYZ"
        video = output.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 80, 48, "yuv420p"
        for number in range(3):
            output.mux(video.encode(av.VideoFrame.from_ndarray(numbered_frame(number), "rgb24")))
        output.mux(video.encode(None))
    content = path.read_bytes()
    assert b"cafXYZ" in content
    path.write_bytes(content.replace(b"cafXYZ", b"caf\xe9\xff\xfe"))
    with pytest.raises(UnicodeDecodeError), av.open(str(path)):
        pass
    assert numbers(read(path).images) == [0, 1, 2]


def huge_gif(side: int) -> bytes:
    """One black pixel on a canvas of side x side."""
    screen = struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + bytes([2, 2, 0x44, 1, 0, 0x3B])


def huge_png(side: int) -> bytes:
    """All black, which packs well."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(side)) + packer.flush()

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def huge_webp(side: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side)).save(stream, "webp", lossless=True, quality=0, method=0)
    return stream.getvalue()


@pytest.fixture
def little_memory(monkeypatch):
    """Free memory in bytes, as the system tells it."""

    def set_free(free):
        monkeypatch.setattr(memory, "psutil", SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=free)))
        monkeypatch.setattr(memory, "_CONTAINER", memory.Path("/nowhere"))

    return set_free


@pytest.mark.parametrize("make, side", [(huge_gif, 12000), (huge_png, 8000), (huge_webp, 7600)])
@pytest.mark.parametrize("free", [300e6, 1.1e9])
def test_pictures_that_memory_cannot_hold_are_refused_before_they_are_decoded(
    tmp_path, little_memory, make, side, free
):
    path = tmp_path / f"bomb.{make.__name__.removeprefix('huge_')}"
    path.write_bytes(make(side))
    assert path.stat().st_size < 200_000
    little_memory(free)
    before = psutil.Process().memory_info().rss
    refused(path, "memory")
    assert psutil.Process().memory_info().rss - before < 100e6


def test_large_photographs_are_read(tmp_path):
    path = tmp_path / "photograph.png"
    path.write_bytes(huge_png(3000))
    clip = read_file(str(path), path.name, Selection(), lambda size: placement(size, (64, 64), "crop", 8))
    assert clip.images.shape == (1, 64, 64, 3) and clip.source_size == (3000, 3000)


def test_the_memory_of_a_container_counts(tmp_path, monkeypatch):
    for name, text in (
        ("memory.max", "5000000"),
        ("memory.current", "4000000"),
        ("memory.stat", "inactive_file 500\n"),
    ):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    assert memory.free_memory() == 1_000_500
    (tmp_path / "memory.max").write_text("max")
    assert memory.free_memory() > 1_000_500


def test_sound_takes_no_more_memory_than_the_clip_has_of_it(tmp_path):
    path = write_numbered(tmp_path / "b.mp4", count=10, audio=beep(0.1, 2))
    clip = read(path, every_nth=1_000_000)
    assert numbers(clip.images) == [0]
    assert clip.audio["waveform"].shape[-1] == round(10 / 24 * clip.audio["sample_rate"])


def test_a_clip_of_a_forged_length_gets_no_endless_silence(tmp_path):
    path = write_numbered(tmp_path / "forged.mkv", count=2, times=[0, 20_000_000], audio=beep(0.1, 2))
    clip = read(path)
    assert clip.audio["waveform"].shape[-1] < 70 * clip.audio["sample_rate"]
    assert clip.fps == 0.01 and "'fps' is 0.01" in clip.notes[0]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.avi", "clip.gif", "clip.png", "clip.jpg"])
def test_files_that_are_cut_off_are_known(tmp_path, name):
    path = tmp_path / name
    if name.endswith(("png", "jpg")):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    else:
        codec, pixels = {"webm": ("libvpx-vp9", "yuv420p"), "gif": ("gif", "rgb8")}.get(
            path.suffix[1:], ("libx264", "yuv420p")
        )
        write_numbered(path, codec, 40, pixel_format=pixels)
    content = path.read_bytes()
    assert not is_cut_off(io.BytesIO(content))
    assert not is_cut_off(io.BytesIO(content + bytes(9)))  # padded by a file system or an editor
    for share in (0.3, 0.6, 0.95):
        assert is_cut_off(io.BytesIO(content[: round(share * len(content))])), share


def test_what_is_left_of_a_cut_file_is_read_and_said(tmp_path):
    whole = write_numbered(tmp_path / "whole.mkv", count=100, options={"g": "10"}).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: len(whole) // 2])
    clip = read(path)
    assert 20 < len(clip.images) < 90 and numbers(clip.images)[:20] == list(range(20))
    assert clip.notes == ("The file is cut off: its end is missing.",)
    assert read(tmp_path / "whole.mkv").notes == ()


def test_a_cut_mp4_without_its_table_is_refused_as_such(tmp_path):
    whole = write_numbered(tmp_path / "whole.mp4", count=40).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "is cut off: the file ends in the middle; copy or download it again")
