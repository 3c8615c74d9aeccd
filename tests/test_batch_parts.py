"""Long clips in parts: what is cut and what is not, and how the parts become one clip again. Without a server."""

import struct
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from batch_cases import node, shades_of, workflow, write_clip
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.video.frames import Placement
from fatezero_pack.fatezero.video.measure import measure_file, measured_sound
from fatezero_pack.fatezero.video.read import Selection, read_file
from tools.batch.graph import Graph
from tools.batch.join import join, join_videos
from tools.batch.parts import Part, Splitting, cut, graph_of_part
from tools.batch.results import Result, keep
from tools.batch.table import BatchError
from tools.batch.whole_only import NEAR_ONLY, note_on_seams
from video_clips import beep, beep_time, write_numbered

PACK = Path(__file__).resolve().parent.parent


@pytest.fixture
def graph(tmp_path):
    """Of a clip of eleven frames at 8 a second with a tone of two channels."""
    path = tmp_path / "clip.mp4"
    write_clip(path, range(11), sound=True)
    return Graph(workflow(), {("1", "file"): path})


def problem(graph, splitting=Splitting(parts=2), **changes):  # noqa: B008
    """Why the graph is not cut; changes: {"n4_format": "gif"} for the inputs of its nodes."""
    graph = graph.copy()
    for name, value in changes.items():
        of, _, key = name.partition("_")
        graph.prompt[of[1:]]["inputs"][key] = value
    with pytest.raises(BatchError) as told:
        cut(graph, splitting)
    return str(told.value)


def test_parts_carry_the_middle_frame(graph):
    graph.prompt["4"]["inputs"]["fps"] = ["1", 1]
    parts = cut(graph, Splitting(frames=2))  # frames 1, 3, 5, 7 and 9 of the file
    assert parts == [Part(0, 1, 2, 4.0), Part(1, 2, 2, 4.0), Part(3, 2, 2, 4.0)]
    part = graph_of_part(graph, parts[1]).prompt
    assert (part["1"]["inputs"]["start"], part["1"]["inputs"]["count"]) == (3, 2)
    assert (part["key frame"]["inputs"]["start"], part["key frame"]["inputs"]["count"]) == (5, 1)
    assert part["2"]["inputs"]["key_frames"] == "custom"
    assert part["2"]["inputs"]["custom_key_frames"] == "current, first"
    assert part["with key frame"]["inputs"] == {"image1": ["key frame", 0], "image2": ["1", 0]}
    assert part["4 images"]["inputs"] == {"image": ["with key frame", 0], "batch_index": 1, "length": 2}
    assert part["4"]["inputs"]["images"] == ["4 images", 0] and "audio" not in part["4"]["inputs"]
    assert part["4"]["inputs"]["fps"] == 4.0, "a part alone could have another"
    assert cut(graph, Splitting(parts=1, frames=5)) is None and cut(graph, Splitting()) is None


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"n2_normalise_across_frames": True}, "normalise across frames"),
        ({"n2_key_frames": "custom", "n2_custom_key_frames": "-1, first"}, "'-1, first'"),
        ({"n1_force_rate": 12}, "'force rate' is 12"),
        ({"n1_key_frame_first": True}, "Video Load: 'key frame first' is True"),
        ({"n4_skip_first": 1}, "Edited: 'skip first' is 1"),
        ({"n4_skip_first": ["9", 0]}, "Edited: 'skip first' is connected"),
        ({"n1_start": ["9", 0]}, "'start' is connected to another node"),
        ({"n1_every_nth": None}, "'every nth' is None"),
        ({"n1_start": 11}, "'start' is 11 but clip.mp4 has 11 frames"),
        ({"n4_format": "gif"}, "Edited: parts are joined as mp4"),
        ({"n4_audio": ["9", 0]}, "the sound of Edited goes another way"),
        ({"n2_sound": ["1", 2]}, "the sound of Inflate UNet goes another way"),
        ({"n3_model": ["9", 0]}, "the model of Sampler does not come from Inflate UNet"),
        ({"n3_fit": ["1", 4]}, "the fit of Video Load is used"),
    ],
)
def test_what_cannot_be_cut_is_told(graph, changes, told):
    assert told in problem(graph, **changes)


@pytest.mark.parametrize(
    "kind, told",
    [
        ("FateZeroNullText", "one null text is found for the whole clip (Mine)"),
        ("FateZeroCoupledSampler", "a video model looks at all frames (Mine)"),
        ("FateZeroInvert", "the model of Mine does not come from Inflate UNet"),
        ("KSampler", "the model of Mine does not come from Inflate UNet"),
        ("SaveVideo", "the parts of Mine (SaveVideo) cannot be joined"),
    ],
)
def test_a_node_for_the_whole_clip_is_told(graph, kind, told):
    graph.prompt["6"] = node(kind, "Mine", format="mp4", **{"filename_prefix": "x"} if kind == "SaveVideo" else {})
    assert told in problem(graph)
    assert cut(graph, Splitting(frames=5)) is None, "what fits into one part is not cut"


@pytest.mark.parametrize(
    "splitting, option",
    [
        (Splitting(parts=2), "--split"),
        (Splitting(frames=2), "--frames"),
        (Splitting(frames=2, shots=True), "--frames and --shots"),
    ],
)
def test_what_asked_for_parts_is_named(graph, splitting, option):
    if splitting.shots:
        pytest.importorskip("scenedetect")
    told = problem(graph, splitting, n3_mask=["1", 3])
    assert told.endswith(f"since the mask of Video Load is used; leave {option} out.")
    graph.prompt["6"] = node("FateZeroTune", "Tune", steps=1)
    assert problem(graph, splitting).endswith(f"(Tune); leave {option} out.")


def test_a_clip_that_cannot_be_read_is_told_as_video_load_tells_it(graph, tmp_path):
    for content in (b"", b"text"):
        (tmp_path / "clip.mp4").write_bytes(content)
        told = problem(graph)
        assert told.startswith("Video Load: clip.mp4 ") and "leave" not in told.lower()


def shifted(path, target, seconds):
    """A copy whose sound comes later than its pictures."""
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                late = round(seconds / packet.time_base) if packet.stream.type == "audio" else 0
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
                packet.stream = streams[packet.stream.index]
                output.mux(packet)
    return target


def trimmed(path):
    """A clip whose edit list leaves out its first frames, as a phone trims."""
    content = bytearray(path.read_bytes())
    start = content.index(b"elst") + 16
    (begin,) = struct.unpack(">i", content[start : start + 4])
    content[start : start + 4] = struct.pack(">i", begin + 5 * 512)
    path.write_bytes(content)
    return path


def animation(path):
    pictures = [Image.new("RGB", (32, 32), (40 * i, 0, 0)) for i in range(6)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=125)
    return path


UNEVEN = [*range(0, 400, 40), *range(460, 1460, 100)]  # 25 frames a second, then 10
CLIPS = {
    "uneven.mkv": lambda path: write_numbered(path, count=20, times=UNEVEN, audio=beep(1.0, 1.5)),
    "trimmed.mp4": lambda path: trimmed(write_numbered(path, count=40, options={"g": "12", "bf": "2"})),
    "late.mp4": lambda path: shifted(
        write_numbered(path.with_name("l.mp4"), count=48, audio=beep(0.5, 1.2)), path, 0.7
    ),
    "stream.ts": lambda path: write_numbered(path, count=72, audio=beep(2.5, 3)),
    "no_time_stamps.264": lambda path: write_numbered(path, count=20, options={"bf": "3"}, format="h264"),
    "animation.webp": animation,
    "animation.gif": animation,
}


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_is_measured_as_it_is_read(tmp_path, name):
    path = CLIPS[name](tmp_path / name)
    for selection in (Selection(), Selection(start=2, every_nth=3), Selection(start=1, count=4)):
        clip = read_file(str(path), name, selection, lambda size: Placement(size, size))
        measured = measure_file(str(path), name, selection)
        assert (measured.count, measured.fps) == (len(clip.images), pytest.approx(clip.fps))
        sound = measured_sound(str(path), name, measured)
        assert (sound is None) == (clip.audio is None)
        assert sound is None or torch.equal(sound["waveform"], clip.audio["waveform"])


def test_clips_are_measured_where_there_is_no_comfyui(graph):
    """dev.py's own process does not have ComfyUI on its path."""
    program = """
import sys
from pathlib import Path
import tools.batch.__main__
from tools.batch.clip import measured, sound_of
node = {"inputs": {"start": 1, "count": 0, "every_nth": 2}, "_meta": {"title": "Video Load"}}
path = Path(sys.argv[1])
print(measured(path, node).count, sound_of(path, node)["waveform"].shape[1], "comfy" in sys.modules)
"""
    command = [sys.executable, "-c", program, str(graph.uploads["1", "file"])]
    told = subprocess.run(command, cwd=PACK, capture_output=True, text=True)
    assert told.stdout.split() == ["5", "2", "False"], told.stderr


@pytest.mark.parametrize("ending, codec", [("mp4", "libx264"), ("webm", "libvpx-vp9")])
@pytest.mark.parametrize("rate", [8, 24, Fraction(30000, 1001), 60])
def test_joined_frames_come_at_their_times(tmp_path, ending, codec, rate):
    quick = {"bf": "3"} if ending == "mp4" else {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    parts = [Part(0, 13, 0, float(rate)), Part(13, 1, 0, float(rate)), Part(14, 13, 0, float(rate))]
    paths = [tmp_path / f"{part.start}.{ending}" for part in parts]
    for path, part in zip(paths, parts):
        write_numbered(path, codec, part.count, rate, quick)
    join_videos(paths, parts, tmp_path / f"joined.{ending}", None)
    with av.open(str(tmp_path / f"joined.{ending}")) as container:
        assert container.streams.video[0].average_rate == rate
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([index / float(rate) for index in range(27)], abs=0.00051)


def parts_of(folder, *shades):
    """Results as `join` finds them, with a film and pictures of each."""
    folders = []
    for number, of_part in enumerate(shades):
        write_clip(folder / "part.mp4", of_part)
        film, frames = (folder / "part.mp4").read_bytes(), {f"Frames/{shade}.png": b"%d" % shade for shade in of_part}
        folders.append(folder / str(number))
        keep(Result({"Edited.mp4": film, "Beside.mp4": film, **frames}), folders[-1], "key")
    return folders


def test_parts_are_joined_with_the_sound_of_the_whole(graph, tmp_path):
    graph.prompt["1"]["inputs"] |= {"every_nth": 1, "count": 5}
    folders = parts_of(tmp_path, [1, 2, 3], [4, 5])
    joined = join(folders, [Part(0, 3, 2, 8.0), Part(3, 2, 2, 8.0)], graph, tmp_path)
    assert [joined.files[f"Frames/{number:05d}.png"] for number in range(5)] == [b"1", b"2", b"3", b"4", b"5"]
    assert shades_of(tmp_path / "Edited.mp4") == shades_of(tmp_path / "Beside.mp4") == [1, 2, 3, 4, 5]
    with av.open(str(tmp_path / "Edited.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(8)
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert abs(len(heard) / 48000 - 5 / 8) < 0.05 and np.abs(heard).max() > 0.5
    with av.open(str(tmp_path / "Beside.mp4")) as container:
        assert not container.streams.audio, "it takes no sound"


def test_joined_sound_is_in_its_place_and_has_all_channels(graph, tmp_path):
    path = tmp_path / "late.mp4"
    shifted(write_numbered(tmp_path / "l.mp4", count=16, fps=8, audio=beep(0.5, 1.2).expand(2, -1)), path, 0.7)
    graph.uploads["1", "file"] = path
    graph.prompt["1"]["inputs"] |= {"start": 0, "every_nth": 1}
    folders = parts_of(tmp_path, range(10), range(6))
    join(folders, [Part(0, 10, 2, 8.0), Part(10, 6, 2, 8.0)], graph, tmp_path)
    clip = read_file(str(tmp_path / "Edited.mp4"), "joined", Selection(), lambda size: Placement(size, size))
    assert clip.audio["waveform"].shape[1] == 2 and abs(beep_time(clip.audio) - 1.2) < 0.03


def test_a_part_that_lacks_frames_is_told(graph, tmp_path):
    folders = parts_of(tmp_path, [1, 2, 3], [4, 5])
    for counts in ((3, 3), (2, 2)):
        parts = [Part(0, counts[0], 0, 8.0), Part(counts[0], counts[1], 0, 8.0)]
        with pytest.raises(BatchError, match=r"frames \d to \d came back as \d frames, expected"):
            join(folders, parts, graph, tmp_path)


def test_each_shot_has_a_key_frame_of_its_own(graph, tmp_path):
    pytest.importorskip("scenedetect")
    path = tmp_path / "film.mp4"
    write_clip(path, [1] * 20 + [11] * 24)
    graph.prompt["1"]["inputs"] |= {"start": 2, "every_nth": 1}
    parts = cut(replace(graph, uploads={("1", "file"): path}), Splitting(frames=12, shots=True))
    assert [(part.start, part.count, part.key) for part in parts] == [(0, 9, 8), (9, 9, 8), (18, 12, 29), (30, 12, 29)]


def test_presets_that_look_at_the_whole_clip_are_known():
    whole = {name for name, preset in PRESETS.items() if preset.agree_until or preset.fresh_noise}
    assert set(NEAR_ONLY) == whole


@pytest.mark.parametrize(
    "preset, noise, told",
    [
        ("style", "as the preset", ""),
        ("replace", "as the preset", "preset replace looks at the whole clip: "),
        ("automatic", "as the preset", "preset automatic may take one that looks at the whole clip (add, "),
        ("style", "fresh", "fresh noise is drawn for the whole clip: "),
    ],
)
def test_seams_that_may_show_are_told(graph, preset, noise, told):
    graph.prompt["3"]["inputs"] |= {"preset": preset, "mask_noise": noise}
    note = note_on_seams(graph, [4, 8])
    assert note.startswith(told) and bool(note) == bool(told)
    assert not told or note.endswith("seams may show at frames 4, 8.")
