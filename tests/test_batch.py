"""Edits from a table: rows, fields, parts and their joining, without a server. See test_batch_server.py."""

import json
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tools import commands
from tools.batch.__main__ import _as_prompt, _options, _workflow, main
from tools.batch.graph import Graph, filled
from tools.batch.join import Sound, join_videos
from tools.batch.measured import with_report
from tools.batch.on_ray import shares
from tools.batch.parts import Part, Splitting, cut, graph_of_part
from tools.batch.results import Result, about, is_done, keep
from tools.batch.run_task import Failure, run_task
from tools.batch.summary import write_summary
from tools.batch.table import BatchError, Row, read_table
from tools.batch.tasks import Job, Task, in_order
from tools.comfyui_client import Run

PRESETS = [
    {"key": "style", "inputs": {"required": {"self_until": ["FLOAT", {"default": 0.8}]}}},
    {"key": "shape", "inputs": {"required": {"self_until": ["FLOAT", {"default": 0.3}]}}},
]
DEFINITIONS = {
    "FateZeroVideoLoad": {
        "input": {
            "required": {
                "file": ["COMBO", {"options": [], "video_upload": True}],
                "start": ["INT", {}],
                "count": ["INT", {}],
                "every_nth": ["INT", {}],
            }
        }
    },
    "FateZeroInflate": {
        "input": {
            "required": {
                "key_frames": [["current + middle (paper)", "custom"], {}],
                "custom_key_frames": ["STRING", {}],
                "normalise_across_frames": ["BOOLEAN", {}],
            }
        }
    },
    "FateZeroBlendSampler": {"input": {"required": {"preset": ["COMFY_DYNAMICCOMBO_V3", {"options": PRESETS}]}}},
    "FateZeroVideoSave": {
        "input": {"required": {"filename_prefix": ["STRING", {}], "format": [["mp4", "png", "gif"], {}]}}
    },
}


def node(kind, title, **inputs):
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}


@pytest.fixture
def prompt():
    return {
        "1": node("FateZeroVideoLoad", "Video Load", file="demo/a.mp4", start=1, count=0, every_nth=2),
        "2": node(
            "FateZeroInflate",
            "Inflate UNet",
            key_frames="current + middle (paper)",
            custom_key_frames="current, middle",
            normalise_across_frames=False,
        ),
        "3": node("FateZeroBlendSampler", "Sampler", preset="style", **{"preset.self_until": 0.7}),
        "4": node("FateZeroVideoSave", "Edited", images=["1", 0], audio=["1", 2], filename_prefix="x", format="mp4"),
        "5": node("FateZeroVideoSave", "Beside", images=["1", 0], filename_prefix="y", format="mp4"),
    }


@pytest.fixture
def clip(tmp_path):
    """Eleven frames of 32x32 at 8 a second, with a tone of two channels."""
    path = tmp_path / "clip.mp4"
    write_clip(path, range(11), sound=True)
    return path


def write_clip(path, shades, sound=False):
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=8)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        audio = output.add_stream("aac", rate=48000, layout="stereo") if sound else None
        for shade in shades:
            picture = np.full((32, 32, 3), 20 * shade, np.uint8)
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        output.mux(video.encode(None))
        if audio:
            seconds = np.arange(48000 * len(shades) // 8) / 48000
            tone = np.sin(2 * np.pi * 440 * seconds).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
            frame.rate = 48000
            output.mux(audio.encode(frame))
            output.mux(audio.encode(None))


def shades_of(path):
    with av.open(str(path)) as container:
        return [round(frame.to_ndarray(format="rgb24").mean() / 20) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.csv", 'name,clip,target prompt\none,a.mp4,"a cat, asleep"\n,b.mp4,a dog\n'),
        ("a.csv", "\ufeffname;clip;target prompt\r\none;a.mp4;a cat, asleep\r\n;b.mp4;a dog\r\n;;\r\n"),
        ("a.csv", 'name, clip, target prompt\none, a.mp4, "a cat, asleep"\n , b.mp4 , a dog\n , , \n'),
        (
            "a.jsonl",
            '{"name": "one", "clip": "a.mp4", "target prompt": "a cat, asleep"}\n\n'
            '{"clip": "b.mp4", "target prompt": "a dog"}\n',
        ),
    ],
)
def test_rows_come_from_csv_and_jsonl(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_table(tmp_path / name) == [
        Row("one", {"clip": "a.mp4", "target prompt": "a cat, asleep"}),
        Row("002", {"clip": "b.mp4", "target prompt": "a dog"}),
    ]


@pytest.mark.parametrize(
    "name, text", [("a.csv", "clip\n{}\nb.mp4\n"), ("a.jsonl", '{{"clip": "{}"}}\n{{"clip": "b.mp4"}}\n')]
)
@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\u2029"])
def test_only_an_end_of_line_ends_a_row(tmp_path, name, text, mark):
    (tmp_path / name).write_text(text.format(f"a{mark}a.mp4"), encoding="utf-8")
    assert [row.fields["clip"] for row in read_table(tmp_path / name)] == [f"a{mark}a.mp4", "b.mp4"]


def test_a_table_that_grows_keeps_the_names_of_its_rows(tmp_path):
    names = []
    for count in (9, 10, 100):
        (tmp_path / "a.csv").write_text("clip\n" + "a.mp4\n" * count, encoding="utf-8")
        names.append([row.name for row in read_table(tmp_path / "a.csv")][:9])
    assert names[0] == names[1] == names[2]


@pytest.mark.parametrize(
    "text, told",
    [
        ("clip\n", "has no rows"),
        ("clip,prompt\na.mp4,one,two\n", "row 1 has more values"),
        ("name,clip\nx,a\nX,b\n", "Rows 1 and 2 are both named X"),
        ("name,clip\n../x,a\n", "cannot name a folder"),
        ('clip,target prompt\na.mp4,one\nb.mp4,"two\nc.mp4,three\n', "row 2 cannot be read .* not closed"),
        ("clip,Target prompt,target prompt \na.mp4,one,two\n", "the column 'target prompt' twice"),
    ],
)
def test_a_bad_table_is_told(tmp_path, text, told):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BatchError, match=told):
        read_table(tmp_path / "a.csv")


def test_fields_go_where_their_columns_say(prompt, clip):
    row = Row("one", {"clip": clip.name, "start": "3", "preset": "shape", "Beside.format": "png"})
    graph = filled(prompt, DEFINITIONS, row, clip.parent)
    assert graph.uploads == {("1", "file"): clip}
    assert graph.prompt["1"]["inputs"]["start"] == 3
    assert graph.prompt["3"]["inputs"] == {"preset": "shape", "preset.self_until": 0.3}, "a preset brings its values"
    assert [graph.prompt[n]["inputs"]["format"] for n in "45"] == ["mp4", "png"]
    assert [graph.prompt[n]["inputs"]["filename_prefix"] for n in "45"] == ["batch/one/4", "batch/one/5"]
    assert prompt["3"]["inputs"]["preset"] == "style", "the workflow stays as it is"
    row = Row("two", {"self until": "0,25", "preset": "shape"})
    assert filled(prompt, DEFINITIONS, row, clip.parent).prompt["3"]["inputs"]["preset.self_until"] == 0.25


@pytest.mark.parametrize(
    "column, value, told",
    [
        ("format", "png", "on 2 nodes .Edited, Beside."),
        ("stert", "1", "did you mean 'start'"),
        ("start", "many", "expected a whole number"),
        ("preset", "shapes", "choose style, shape"),
        ("clip", "nowhere.mp4", "there is no file .*test_a_bad_field.*nowhere.mp4.$"),
        ("clip", "/none/nowhere.mp4", "there is no file /none/nowhere.mp4.$"),
        ("normalise across frames", "perhaps", "choose true or false"),
    ],
)
def test_a_bad_field_is_told(prompt, tmp_path, column, value, told):
    with pytest.raises(BatchError, match=told):
        filled(prompt, DEFINITIONS, Row("one", {column: value}), tmp_path)


@pytest.mark.parametrize("name, value", [("path", "shots"), ("video", ["9", 0]), ("images", ["9", 0])])
def test_a_clip_that_would_not_be_read_is_told(prompt, clip, name, value):
    prompt["1"]["inputs"][name] = value
    with pytest.raises(BatchError, match=f"'clip' would not be read, since '{name}' of Video Load is set"):
        filled(prompt, DEFINITIONS, Row("a", {"clip": clip.name}), clip.parent)


def test_paths_begin_where_the_command_was_given(tmp_path, monkeypatch):
    """dev.py runs the batch in the folder of the pack."""
    called = []
    monkeypatch.setattr(commands, "environment", lambda: "python")
    monkeypatch.setattr(commands, "_run_module", lambda python, arguments: called.extend(map(str, arguments)))
    (tmp_path / "mine.json").write_text('{"mine": 1}')
    with monkeypatch.context() as there:
        there.chdir(tmp_path)
        given = ["--workflow", "mine.json", "--comfyui", "../ComfyUI", "--python", "venv/bin/python"]
        commands.batch(None, ["edits.csv", *given])
    options = _options(called[1:])
    assert (options.table, options.out) == (tmp_path / "edits.csv", tmp_path / "edits")
    assert _workflow(options.workflow, options.here) == {"mine": 1}
    assert Path(options.comfyui).resolve() == tmp_path.parent / "ComfyUI"
    assert Path(options.python) == tmp_path / "venv/bin/python"
    assert _options(["edits.csv", "--python", "python3"]).python == "python3", "a command"
    assert _options(["edits.csv", "--comfyui", "localhost:8188"]).comfyui == "http://localhost:8188"


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--python", "nope"], "--python: nope cannot be started"),
        (["--comfyui", "nowhere"], "nowhere holds no ComfyUI"),
        (["--comfyui", "http://127.0.0.1:1"], "No ComfyUI answers at http://127.0.0.1:1 "),
        (["--comfyui", os.environ["COMFYUI_PATH"], "--python", "nope"], "there is no interpreter nope"),
        (["--workflow", "a.csv"], "--workflow a.csv cannot be read"),
    ],
)
def test_a_batch_that_cannot_begin_says_why(tmp_path, capsys, arguments, told):
    (tmp_path / "a.csv").write_text("clip\na.mp4\n", encoding="utf-8")
    assert main([str(tmp_path / "a.csv"), "--from", str(tmp_path), *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("workflow", [[], {}, "text", {"1": {"class_type": "Lost"}}, {"prompt": {}}])
def test_what_is_no_workflow_is_told(workflow):
    with pytest.raises(BatchError):
        _as_prompt(workflow, DEFINITIONS)


def test_parts_carry_the_middle_frame(prompt, clip):
    graph = Graph(prompt, {("1", "file"): clip})
    parts = cut(graph, Splitting(frames=2))  # frames 1, 3, 5, 7 and 9 of the file
    assert parts == [Part(0, 1, 2), Part(1, 2, 2), Part(3, 2, 2)]
    part = graph_of_part(graph, parts[1]).prompt
    assert (part["1"]["inputs"]["start"], part["1"]["inputs"]["count"]) == (3, 2)
    assert (part["key frame"]["inputs"]["start"], part["key frame"]["inputs"]["count"]) == (5, 1)
    assert part["2"]["inputs"]["key_frames"] == "custom"
    assert part["2"]["inputs"]["custom_key_frames"] == "current, first"
    assert part["with key frame"]["inputs"] == {"image1": ["key frame", 0], "image2": ["1", 0]}
    assert part["4 images"]["inputs"] == {"image": ["with key frame", 0], "batch_index": 1, "length": 2}
    assert part["4"]["inputs"]["images"] == ["4 images", 0] and "audio" not in part["4"]["inputs"]
    assert cut(graph, Splitting(parts=1, frames=5)) is None and cut(graph, Splitting()) is None


def test_what_cannot_be_cut_is_told(prompt, clip):
    def problem(**changes):
        changed = json.loads(json.dumps(prompt))
        for name, value in changes.items():
            node, _, key = name.partition("_")
            changed[node[1:]]["inputs"][key] = value
        with pytest.raises(BatchError) as told:
            cut(Graph(changed, {("1", "file"): clip}), Splitting(parts=2))
        return str(told.value)

    assert "normalise across frames" in problem(n2_normalise_across_frames=True)
    assert "'-1, first'" in problem(n2_key_frames="custom", n2_custom_key_frames="-1, first")
    assert "'force rate' is 12" in problem(n1_force_rate=12)
    assert "Edited: parts are joined as mp4" in problem(n4_format="gif")
    prompt["6"] = node("FateZeroNullText", "Null-Text", inner_steps=1)
    assert "one null text is found for the whole clip (Null-Text)" in problem()


@pytest.mark.parametrize(
    "splitting, option",
    [
        (Splitting(parts=2), "--split"),
        (Splitting(frames=2), "--frames"),
        (Splitting(frames=2, shots=True), "--frames and --shots"),
    ],
)
def test_what_asked_for_parts_is_named(prompt, clip, tmp_path, splitting, option):
    def problem(path):
        with pytest.raises(BatchError) as told:
            cut(Graph(prompt, {("1", "file"): path}), splitting)
        return str(told.value)

    (tmp_path / "no_clip.mp4").write_bytes(b"text")
    assert problem(tmp_path / "no_clip.mp4").endswith(f"Leave {option} out.")
    if not splitting.shots:
        prompt["3"]["inputs"]["mask"] = ["1", 3]
        assert problem(clip).endswith(f"since the mask of Video Load is used; leave {option} out.")
    prompt["6"] = node("FateZeroTune", "Tune", steps=1)
    assert problem(clip).endswith(f"(Tune); leave {option} out.")


def test_videos_are_joined_with_the_sound_of_the_whole(tmp_path, clip):
    write_clip(tmp_path / "a.mp4", [1, 2, 3])
    write_clip(tmp_path / "b.mp4", [4, 5])
    joined = tmp_path / "joined.mp4"
    join_videos([tmp_path / "a.mp4", tmp_path / "b.mp4"], [3, 2], joined, Sound(clip, 1 / 8, 5 / 8))
    assert shades_of(joined) == [1, 2, 3, 4, 5]
    with av.open(str(joined)) as container:
        assert container.streams.video[0].average_rate == Fraction(8)
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert abs(len(heard) / 48000 - 5 / 8) < 0.05 and np.abs(heard).max() > 0.5


class FakeServer:
    """Answers as ComfyUI does, and remembers what it was sent."""

    def __init__(self, run):
        self.answer, self.sent = run, []

    def upload(self, name, content, subfolder):
        self.sent.append((name, content))
        return f"{subfolder}/{name}"

    def run(self, prompt):
        self.sent.append(prompt)
        return self.answer

    def download(self, saved):
        return saved["filename"].encode()


def test_files_texts_and_numbers_come_down(prompt):
    files = [{"filename": f"{n}.png", "subfolder": "", "type": "output"} for n in "01"]
    outputs = {
        "4": {"images": [{"filename": "x_00001_.mp4", "subfolder": "", "type": "output"}], "animated": [True]},
        "5": {"images": files},
        "2": {"images": [{"filename": "preview.png", "subfolder": "", "type": "temp"}], "text": ["a", "b"]},
        "3": {"fatezero_numbers": [{"PSNR, outside mask": 31.5}]},
    }
    server = FakeServer(Run("id", "success", outputs))
    stored = {}
    files = {("1", "file"): ("ab_clip.mp4", lambda: b"clip")}
    result = run_task(server, prompt, files, stored)
    assert result.files == {"Edited.mp4": b"x_00001_.mp4", "Beside/0.png": b"0.png", "Beside/1.png": b"1.png"}
    assert result.texts == {"Inflate UNet": "a\nb"} and result.numbers == {"PSNR, outside mask": 31.5}
    assert server.sent[0] == ("ab_clip.mp4", b"clip") and server.sent[1]["1"]["inputs"]["file"] == "batch/ab_clip.mp4"
    assert prompt["1"]["inputs"]["file"] == "demo/a.mp4"
    run_task(server, prompt, files, stored)
    assert len(server.sent) == 3 and server.sent[2] == server.sent[1], "a file goes up once"


def test_a_failure_is_told_with_its_nodes_title(prompt):
    told = {"node_id": "3", "exception_message": "'cfg' is 0.\n"}
    assert run_task(FakeServer(Run("id", "error", error=told)), prompt, {}, {}) == Failure("Sampler: 'cfg' is 0.")
    assert "saved nothing" in run_task(FakeServer(Run("id", "success")), prompt, {}, {}).message


def test_a_missing_checkpoint_says_where_one_is_found(prompt):
    error = {"exception_message": "Value not in list: ckpt_name: 'a.safetensors' not in []", "node_id": "1"}
    failure = run_task(FakeServer(Run("1", "rejected", error=error)), prompt, {}, {})
    assert failure.message.endswith("name the one that has it by --comfyui")


def test_a_result_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "one"
    keep(Result({"a.mp4": b"old"}), folder, "old")
    with pytest.raises(TypeError):
        keep(Result({"a.mp4": b"new", "b.mp4": None}), folder, "new")
    assert (folder / "a.mp4").read_bytes() == b"old" and is_done(folder, "old") and not is_done(folder, "new")
    keep(Result({"frames/0.png": b"new"}, numbers={"psnr": 3.0}), folder, "new")
    assert not (folder / "a.mp4").exists() and (folder / "frames/0.png").read_bytes() == b"new"
    assert about(folder)["numbers"] == {"psnr": 3.0} and [path.name for path in tmp_path.iterdir()] == ["one"]


def test_the_summary_tells_each_row_and_no_html_of_a_prompt_runs(tmp_path):
    keep(Result({"Edited.mp4": b""}, {"Edit Report": "31.5 dB <b>"}, {"psnr": 31.5}, 2.0), tmp_path / "one", "k")
    jobs = [
        Job(Row("one", {"prompt": "<script>alert(1)</script>"}), tmp_path / "one"),
        Job(Row("two", {"prompt": "b"}), tmp_path / "two"),
        Job(Row("three", {}), tmp_path / "three"),
    ]
    write_summary(tmp_path, jobs, {"two": "no file"})
    lines = (tmp_path / "summary.csv").read_text("utf-8-sig").splitlines()
    assert lines[0] == "name,state,seconds,problem,prompt,psnr"
    assert lines[1:] == ["one,done,2.0,,<script>alert(1)</script>,31.5", "two,failed,,no file,b,", "three,not run,,,,"]
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "<script>" not in page and "one/Edited.mp4" in page and "1 of 3 edits" in page
    assert "<figcaption>Edited.mp4</figcaption>" in page and "<pre>31.5 dB &lt;b&gt;</pre>" in page


def test_tasks_that_share_an_inversion_stay_together(tmp_path):
    tasks = [Task(Graph({}), tmp_path / str(i), str(i), group) for i, group in enumerate("abacbada")]
    assert "".join(task.group for task in in_order(tasks)) == "aaaabbcd"
    assert sorted("".join(task.group for task in share) for share in shares(tasks, 2)) == ["aaaa", "bbcd"]
    assert [len(share) for share in shares(tasks[:1], 3)] == [1, 0, 0]


def test_each_shot_has_a_key_frame_of_its_own(prompt, tmp_path):
    pytest.importorskip("scenedetect")
    path = tmp_path / "film.mp4"
    write_clip(path, [1] * 20 + [11] * 24)
    prompt["1"]["inputs"] |= {"start": 2, "every_nth": 1}
    parts = cut(Graph(prompt, {("1", "file"): path}), Splitting(frames=12, shots=True))
    assert [(part.start, part.count, part.key) for part in parts] == [(0, 9, 8), (9, 9, 8), (18, 12, 29), (30, 12, 29)]


@pytest.mark.parametrize("name", ["sd15_video_p2p", "fatezero_video_edit_sd15_video_p2p"])
def test_a_template_is_found_by_the_name_it_had_in_0_1_0_too(name):
    assert any(node["type"] == "FateZeroNullText" for node in _workflow(name)["nodes"])


def edit_of_a_clip(prompt):
    """The fixture's workflow with the nodes of an edit between loading and saving."""
    prompt["6"] = node("VAEEncode", "VAE Encode", pixels=["1", 0])
    prompt["7"] = node("FateZeroInvert", "DDIM Invert", latent=["6", 0])
    prompt["3"]["inputs"] |= {"source": ["7", 1], "edit": ["8", 1]}
    prompt["9"] = node("VAEDecode", "VAE Decode", samples=["3", 0])
    return prompt


def test_a_workflow_without_a_report_is_given_one(prompt):
    definitions = {**DEFINITIONS, "FateZeroEditReport": {"display_name": "Edit Report"}}
    measured = with_report(edit_of_a_clip(prompt), definitions)
    assert measured.pop("report") == node(
        "FateZeroEditReport",
        "Edit Report",
        before=["1", 0],
        after=["9", 0],
        source=["7", 1],
        made_by=["3", 0],
        edit=["8", 1],
    )
    assert measured == prompt


@pytest.mark.parametrize(
    "change",
    [
        lambda prompt: prompt["6"]["inputs"].update(pixels=["10", 0]),  # scaled between: another size
        lambda prompt: prompt.update(r=node("FateZeroEditReport", "Mine")),
        lambda prompt: prompt.pop("2"),  # perhaps a video model, which has fewer frames
        lambda prompt: prompt.update(l=node("FateZeroVideoLoad", "Another")),
    ],
)
def test_no_report_is_given_where_it_might_fail_or_is(prompt, change):
    definitions = {**DEFINITIONS, "FateZeroEditReport": {"display_name": "Edit Report"}}
    change(edit_of_a_clip(prompt))
    assert with_report(prompt, definitions) == prompt
