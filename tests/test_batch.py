"""Edits from a table: rows, fields, what is done and kept, without a server. See also test_batch_parts.py."""

import errno
import json
import os
import shutil
from io import BytesIO
from pathlib import Path

import pytest
from filelock import FileLock

from batch_cases import DEFINITIONS, node, write_clip
from batch_cases import workflow as edit_workflow
from tools import commands
from tools.batch.__main__ import _as_prompt, _options, _workflow, main, run
from tools.batch.failure import failure_of
from tools.batch.graph import Graph, filled
from tools.batch.local import OneServer, own_folder
from tools.batch.measured import with_report
from tools.batch.on_ray import shares
from tools.batch.parts import Splitting
from tools.batch.results import Result, about, is_done, keep
from tools.batch.run_task import Failure, run_task, upload_name
from tools.batch.summary import write_summary
from tools.batch.table import BatchError, Row, read_table
from tools.batch.tasks import Job, Task, in_order, make_job
from tools.comfyui_client import Run


@pytest.fixture
def prompt():
    return edit_workflow()


@pytest.fixture
def clip(tmp_path):
    """Eleven frames of 32x32 at 8 a second, with a tone of two channels."""
    path = tmp_path / "clip.mp4"
    write_clip(path, range(11), sound=True)
    return path


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
        ("name,clip\nSummary.csv,a\n", "as a file that the batch writes itself"),
        ("name,clip\nindex.html,a\n", "as a file that the batch writes itself"),
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
    sampler = graph.prompt["3"]["inputs"]
    assert sampler == {"model": ["2", 0], "preset": "shape", "preset.self_until": 0.3}, "a preset brings its values"
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


class FakeServer:
    """Answers as ComfyUI does, and remembers what it was sent; has: the names of the files that it has."""

    def __init__(self, run, has=()):
        self.answer, self.sent, self.has = run, [], has

    def has_input(self, name, subfolder, size):
        return name in self.has

    def upload(self, name, file, subfolder):
        file.seek(0)
        self.sent.append((name, file.read()))
        return f"{subfolder}/{name}"

    def run(self, prompt, longest_silence):
        assert longest_silence is None, "what waits behind others is not stuck"
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
    files = {("1", "file"): ("ab_clip.mp4", lambda: BytesIO(b"clip"))}
    result = run_task(server, prompt, files, stored)
    assert result.files == {"Edited.mp4": b"x_00001_.mp4", "Beside/0.png": b"0.png", "Beside/1.png": b"1.png"}
    assert result.texts == {"Inflate UNet": "a\nb"} and result.numbers == {"PSNR, outside mask": 31.5}
    assert server.sent[0] == ("ab_clip.mp4", b"clip") and server.sent[1]["1"]["inputs"]["file"] == "batch/ab_clip.mp4"
    assert prompt["1"]["inputs"]["file"] == "demo/a.mp4"
    run_task(server, prompt, files, stored)
    assert len(server.sent) == 3 and server.sent[2] == server.sent[1], "a file goes up once"


def test_what_a_server_has_is_not_written_over(prompt):
    server = FakeServer(Run("id", "success"), has=["ab_clip.mp4"])
    run_task(server, prompt, {("1", "file"): ("ab_clip.mp4", lambda: BytesIO(b"clip"))}, {})
    (sent,) = server.sent
    assert sent["1"]["inputs"]["file"] == "batch/ab_clip.mp4"


def test_nodes_with_one_title_lose_nothing(prompt):
    prompt["4"]["_meta"]["title"] = prompt["5"]["_meta"]["title"] = "Video Save"
    prompt["2"]["_meta"]["title"] = prompt["3"]["_meta"]["title"] = "Inflate"
    saved = {name: [{"filename": f"{name}.mp4", "subfolder": "", "type": "output"}] for name in "45"}
    outputs = {"5": {"images": saved["5"]}, "4": {"images": saved["4"]}, "3": {"text": ["b"]}, "2": {"text": ["a"]}}
    result = run_task(FakeServer(Run("id", "success", outputs)), prompt, {}, {})
    assert result.files == {"Video Save.mp4": b"4.mp4", "Video Save 2.mp4": b"5.mp4"}
    assert result.texts == {"Inflate": "a", "Inflate 2": "b"}


@pytest.mark.parametrize(
    "name",
    ["clip.mp4", "x" * 240 + ".mp4", "line\nbreak.MP4", 'a "b" \\c;d.mp4', "東京" * 40 + ".mov", "no ending", "a.b c"],
)
def test_a_name_on_a_server_fits_every_disk_and_keeps_its_ending(tmp_path, name):
    if os.name == "nt" and not name.isascii() | name.isalnum():
        pytest.skip("Windows has no such names")
    path = tmp_path / name
    try:
        path.write_bytes(name.encode())
    except OSError:
        pytest.skip("this disk has no such names")
    uploaded = upload_name(path)
    assert len(uploaded.encode()) <= 255 and not set(uploaded) & set('\n"\\ ;')
    assert Path(uploaded).suffix == ("" if " " in path.suffix else path.suffix)
    assert name != "clip.mp4" or uploaded.endswith("_clip.mp4")


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


def job_of(prompt, clip, out, name="one", **fields):
    splitting = fields.pop("splitting", Splitting())
    return make_job(Row(name, {"clip": clip.name, **fields}), prompt, DEFINITIONS, clip.parent, out, splitting)


def test_what_no_batch_has_put_there_stays(prompt, clip, tmp_path):
    out = tmp_path / "films"
    (out / "one").mkdir(parents=True)
    (out / "one" / "precious.mp4").write_bytes(b"mine")
    (out / "two").write_bytes(b"mine")
    for name in ("one", "two"):
        assert "is there already and no result of a batch" in job_of(prompt, clip, out, name).problem
        with pytest.raises(FileExistsError):
            keep(Result({}), out / name, "key")
    for told in ("[]", "{}", "text"):
        (out / "one" / "row.json").write_text(told)
        assert job_of(prompt, clip, out).problem
    assert (out / "one" / "precious.mp4").read_bytes() == (out / "two").read_bytes() == b"mine"
    (out / "three").mkdir()
    assert job_of(prompt, clip, out, "three").problem is None, "an empty folder"


@pytest.mark.parametrize("name", ["summary.csv", "index.html"])
def test_a_summary_that_no_batch_has_written_stays(tmp_path, capsys, name):
    (tmp_path / "a.csv").write_text("clip\na.mp4\n", encoding="utf-8")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text("mine")
    assert main([str(tmp_path / "a.csv"), "--comfyui", "http://127.0.0.1:1"]) == 2
    assert f"{name} is there already" in capsys.readouterr().err and (tmp_path / "a" / name).read_text() == "mine"


def test_a_second_batch_does_not_write_into_the_folder_of_one_that_runs(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("clip\na.mp4\n", encoding="utf-8")
    left = tmp_path / "a" / ".unfinished1"
    left.mkdir(parents=True)
    arguments = [str(tmp_path / "a.csv"), "--comfyui", "http://127.0.0.1:1"]
    with FileLock(tmp_path / "a" / ".lock"):
        assert main(arguments) == 2
        assert "Another batch is writing into" in capsys.readouterr().err and left.exists()
    assert main(arguments) == 2
    assert "No ComfyUI answers" in capsys.readouterr().err and not left.exists()


class FakeRunner:
    """Gives every task the result that `give` makes of it."""

    def __init__(self, give):
        self.give = give

    def run(self, tasks):
        for task in tasks:
            yield task, self.give(task)


def test_a_row_that_fails_in_any_way_stops_no_other(prompt, clip, tmp_path, monkeypatch):
    """While it is made, uploaded, run, kept or joined; also when the batch is started again."""
    out = tmp_path / "out"
    unreadable = clip.with_name("unreadable.mp4")
    unreadable.write_bytes(b"")

    def opened(path, *mode):
        if path == unreadable:
            raise OSError(errno.EIO, "Input/output error")
        return open(path, *mode)

    monkeypatch.setattr("tools.batch.tasks.open", opened, raising=False)
    broken = edit_workflow()
    del broken["1"]["inputs"]["every_nth"]
    jobs = [
        job_of(prompt, unreadable, out, "eio"),
        job_of(broken, clip, out, "broken", splitting=Splitting(frames=2)),
        job_of(prompt, clip, out, "cut", splitting=Splitting(frames=3)),
        job_of(prompt, clip, out, "good"),
    ]
    films = FakeRunner(lambda task: Result({"Edited.mp4": b"no film"}))
    for _ in range(2):
        failures = run(films, jobs, out)
        assert failures.keys() == {"eio", "broken", "cut"}
        assert failures["eio"].startswith(f"{unreadable} cannot be read (Input/output error)")
        assert "'every nth' is None" in failures["broken"]
        assert "InvalidDataError" in failures["cut"] and jobs[3].done
    assert (out / "summary.csv").read_text("utf-8-sig").count("failed") == 3


def test_one_server_goes_on_after_an_error_of_any_kind(prompt, clip, tmp_path):
    class Breaks(FakeServer):
        def run(self, prompt, longest_silence):
            if not self.sent:
                self.sent.append(prompt)
                raise KeyError("prompt_id")
            return Run("id", "success", {"4": {"images": [{"filename": "x.mp4", "type": "output"}]}})

    jobs = [job_of(prompt, clip, tmp_path, name) for name in ("one", "two")]
    server = OneServer(Breaks(None, has=[upload_name(clip)]))
    results = [result for _, result in server.run([job.tasks[0] for job in jobs])]
    assert results[0] == Failure("KeyError: 'prompt_id'") and results[1].files == {"Edited.mp4": b"x.mp4"}


def test_the_folder_of_a_batch_that_is_gone_goes(tmp_path):
    (ours := own_folder(tmp_path)).mkdir()
    (gone := tmp_path / "batch_999999999" / "input").mkdir(parents=True)
    (kept := tmp_path / "import_guard").mkdir()
    assert own_folder(tmp_path) == ours and ours.exists() and kept.exists() and not gone.parent.exists()


def test_a_full_disk_stops_the_batch(prompt, clip, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tools.batch.__main__.keep", full)
    with pytest.raises(OSError, match="No space"):
        run(FakeRunner(lambda task: Result({})), [job_of(prompt, clip, tmp_path / "out")], tmp_path)
    assert failure_of(OSError(errno.EIO, "Input/output error")).message.startswith("OSError")


def test_a_clip_in_parts_that_only_come_near_has_a_note(prompt, clip, tmp_path, capsys):
    job = job_of(prompt, clip, tmp_path, preset="shape", splitting=Splitting(frames=3))
    assert job.note.endswith("seams may show at frames 2.") and not job.problem
    assert not job_of(prompt, clip, tmp_path, splitting=Splitting(frames=3)).note
    write_summary(tmp_path, [job], {})
    lines = (tmp_path / "summary.csv").read_text("utf-8-sig").splitlines()
    assert lines[0].endswith(",note") and "seams may show" in lines[1]
    assert "seams may show" in (tmp_path / "index.html").read_text("utf-8")


def test_the_summary_tells_each_row_and_no_html_of_a_prompt_runs(tmp_path):
    keep(Result({"Edited.mp4": b""}, {"Edit Report": "31.5 dB <b>"}, {"psnr": 31.5}, 2.0), tmp_path / "one", "k")
    jobs = [
        Job(Row("one", {"prompt": "<script>alert(1)</script>"}), tmp_path / "one", key="k"),
        Job(Row("two", {"prompt": "b"}), tmp_path / "two"),
        Job(Row("three", {}), tmp_path / "three"),
    ]
    write_summary(tmp_path, jobs, {"two": "no file"})
    lines = (tmp_path / "summary.csv").read_text("utf-8-sig").splitlines()
    assert lines[0] == "name,state,seconds,problem,prompt,psnr,note"
    assert lines[1:] == [
        "one,done,2.0,,<script>alert(1)</script>,31.5,",
        "two,failed,,no file,b,,",
        "three,not run,,,,,",
    ]
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "<script>" not in page and "one/Edited.mp4" in page and "1 of 3 edits" in page
    assert "<figcaption>Edited.mp4</figcaption>" in page and "<pre>31.5 dB &lt;b&gt;</pre>" in page


def test_a_result_of_another_edit_is_not_shown_as_that_of_the_row(tmp_path):
    keep(Result({"Edited.mp4": b""}, numbers={"psnr": 31.5}), tmp_path / "one", "before the table changed")
    write_summary(tmp_path, [Job(Row("one", {}), tmp_path / "one", key="after")], {})
    assert "one,not run,,,\n" in (tmp_path / "summary.csv").read_text("utf-8-sig").replace("\r", "")
    assert "Edited.mp4" not in (tmp_path / "index.html").read_text("utf-8")


def test_the_results_of_earlier_versions_are_found_again(prompt, tmp_path):
    """Keys that they gave, of a whole clip and of one in two parts."""
    (tmp_path / "clip.mp4").write_bytes(b"clip")
    whole = job_of(prompt, tmp_path / "clip.mp4", tmp_path)
    assert whole.key == "e7ccafa4c4c372be848c1f53cbd456ae23fd6ba05078efc541f67b56933eec9d"
    demo = Path(__file__).resolve().parent.parent / "demo" / "clips" / "red_circle_on_grass.mp4"
    shutil.copy(demo, tmp_path / "c2.mp4")
    prompt["4"]["inputs"]["fps"] = ["1", 1]
    parts = job_of(prompt, tmp_path / "c2.mp4", tmp_path, splitting=Splitting(frames=2))
    assert parts.key == "b59f2b51c7918fa0886fd5b79e9ef01ec0864c6b657a361386a83e157ea1671c"
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "row.json").write_text(json.dumps({"key": whole.key, "seconds": 1, "files": [], "texts": {}}))
    assert whole.done and not parts.done


def test_tasks_that_share_an_inversion_stay_together(tmp_path):
    tasks = [Task(Graph({}), tmp_path / str(i), str(i), group) for i, group in enumerate("abacbada")]
    assert "".join(task.group for task in in_order(tasks)) == "aaaabbcd"
    assert sorted("".join(task.group for task in share) for share in shares(tasks, 2)) == ["aaaa", "bbcd"]
    assert [len(share) for share in shares(tasks[:1], 3)] == [1, 0, 0]


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
