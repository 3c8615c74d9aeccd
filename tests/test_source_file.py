"""Source runs as files: exact to the last bit, whole or not at all, and never trusted."""

import builtins
import errno
import json
import os
import re
from dataclasses import replace

import comfy.model_management
import pytest
import torch
from comfy.model_base import ModelType
from comfy.sdxl_clip import SDXLTokenizer

from edit_cases import clip_latent, conditioning, edited, inverted, prompt_edit, random_controlnet, small_model
from fatezero_pack.fatezero import tensor_file
from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.settings import WORDS, BlendSettings
from fatezero_pack.fatezero.masks.source_mask import source_mask
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.inversion import invert
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from fatezero_pack.fatezero.source.source_document import NEWEST_VERSION
from fatezero_pack.fatezero.source.source_file import read_source, write_source
from fatezero_pack.fatezero.source.source_run import CURRENT_LABEL, UNI_INV, VIDEO_VERSION, NullText, SourceRun
from fatezero_pack.nodes.invert import Invert
from fatezero_pack.nodes.source_load import LoadSourceRun
from fatezero_pack.nodes.source_save import SaveSourceRun
from sdxl_cases import sdxl_conditioning

EDIT = prompt_edit("a silver jeep, (shiny:1.3) on a road", "a red jeep, (shiny:1.3) on a road")
SETTINGS = BlendSettings(Window(0, 1), Window(0, 1), mask_from=WORDS, threshold=0.5, latent_window=Window(0.2, 1))
INFLATION = Inflation(("-1", "first"), minimum_width=8, normalise_across_frames=True)


@pytest.fixture(scope="module")
def model():
    return inflate(small_model(), INFLATION)


@pytest.fixture(scope="module")
def source(model):
    run = inverted(model, EDIT, label=CURRENT_LABEL, refinement=1)
    embeddings = torch.randn(3, 2, 20, 64, generator=torch.Generator().manual_seed(5))
    return replace(run, null_text=NullText(embeddings, 7.5, {"pooled_output": torch.ones(1, 8), "width": 64}))


@pytest.fixture
def path(tmp_path, source):
    path = str(tmp_path / "run.safetensors")
    write_source(path, source)
    return path


def check_equal(loaded: SourceRun, source: SourceRun):
    for name in ("sigmas", "trajectory", "word_maps"):
        ours, theirs = getattr(loaded, name), getattr(source, name)
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), name
    for name in ("label", "refinement", "tokens", "inflation", "fingerprint", "version"):
        assert getattr(loaded, name) == getattr(source, name), name
    assert (loaded.null_text is None) == (source.null_text is None)
    if source.null_text is not None:
        assert torch.equal(loaded.null_text.embeddings, source.null_text.embeddings)
        assert loaded.null_text.guidance == source.null_text.guidance
        assert torch.equal(loaded.null_text.options.pop("pooled_output"), source.null_text.options["pooled_output"])
        assert loaded.null_text.options == {"width": 64}
    ((embedding, options),) = loaded.conditioning
    assert embedding.dtype == source.conditioning[0][0].dtype and torch.equal(embedding, source.conditioning[0][0])
    assert options.keys() == source.conditioning[0][1].keys()
    for name, value in source.conditioning[0][1].items():
        if isinstance(value, torch.Tensor):
            assert options[name].dtype == value.dtype and torch.equal(options[name], value), name
        else:
            assert type(options[name]) is type(value) and options[name] == value, name
    assert str(loaded) == str(source)


def test_all_comes_back(source, path, model):
    loaded = read_source(path)
    check_equal(loaded, source)
    os.remove(path)  # the tensors do not live in the file
    assert torch.equal(edited(model, loaded, EDIT, SETTINGS), edited(model, source, EDIT, SETTINGS))
    assert torch.equal(source_mask(loaded, None, "jeep", 0.3, None), source_mask(source, None, "jeep", 0.3, None))


def test_every_kind_of_value_comes_back(source, tmp_path):
    numbers = torch.tensor([1e-45, -0.0, 3.4e38, 0.1], dtype=torch.float32)
    options = {
        "none": None,
        "yes": True,
        "width": 1024,
        "weight": 0.1 + 0.2,
        "text": "é中\n\"'",
        "numbers": numbers,
        "one": torch.tensor(0.3, dtype=torch.bfloat16),
        "mask_of_tokens": torch.tensor([[True, False, True]]),
        "empty": torch.zeros(0, 3),
        "half": numbers[:2].half(),
        "whole": torch.tensor([2**62]),
        "slice": torch.arange(12.0).reshape(3, 4)[:, 1],
    }
    embedding = source.conditioning[0][0].half()
    for other in (
        replace(source, tokens=None, inflation=None, null_text=None, conditioning=[[embedding, options]]),
        replace(source, conditioning=[[embedding, {**source.conditioning[0][1], **options}]]),
    ):
        write_source(str(tmp_path / "x.safetensors"), other)
        check_equal(read_source(str(tmp_path / "x.safetensors")), other)


def test_an_sdxl_run(sdxl_model, tmp_path):  # noqa: F811
    tokens = [tokenize_prompt(SDXLTokenizer(), f"a {color} jeep") for color in ("silver", "red")]
    prompt = sdxl_conditioning(tokens[0], tokens[0].length, 1)
    prompt[0][1].update(width=192, height=128, crop_w=8, target_width=192)
    target, negative = sdxl_conditioning(tokens[1], tokens[1].length, 2), sdxl_conditioning(None, 77, 3)
    latent = torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(4)) / 0.13025
    edit, path = make_prompt_edit(*tokens), str(tmp_path / "xl.safetensors")
    run = invert(sdxl_model, prompt, latent, sigmas=inversion_sigmas(sdxl_model, OFFICIAL, 2), disable_pbar=True)
    write_source(path, run)
    loaded = read_source(path)
    check_equal(loaded, run)
    results = [
        sample_edit(sdxl_model, source, edit, SETTINGS, target, negative, 3.0, disable_pbar=True)
        for source in (run, loaded)
    ]
    assert torch.equal(*results)


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("control", lambda: random_controlnet(1.0), "a ControlNet"),
        ("hooks", object, "hooks"),
        ("gligen", lambda: ("position", object(), []), "GLIGEN"),
        ("something", object, "'something'"),
        ("weight", lambda: float("nan"), "'weight'"),
        ("a_list", lambda: [1], "'a_list'"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(source, tmp_path, name, value, words):
    with pytest.raises(ValueError) as refusal:
        write_source(
            str(tmp_path / "x.safetensors"), replace(source, conditioning=conditioning(EDIT.source, **{name: value()}))
        )
    check_sentence(refusal.value, "the conditioning of 'inverted clip' carries", words, "; invert again with")
    assert not list(tmp_path.iterdir())


def test_a_run_with_nan_is_refused_before_it_is_needed(source, tmp_path):
    with pytest.raises(ValueError) as refusal:
        write_source(str(tmp_path / "x.safetensors"), replace(source, trajectory=source.trajectory * float("nan")))
    check_sentence(refusal.value, "'inverted clip' cannot be saved", "NaN", "; invert the clip again")
    assert not list(tmp_path.iterdir())


def check_sentence(error, *words):
    message = str(error)
    for word in words:
        assert word in message, message
    assert "\n" not in message and message.endswith(".") and not re.search(r"[a-z)]\. [A-Z]", message), message


# Disks and cancelling.


def test_a_full_disk_leaves_nothing(source, path, monkeypatch, tmp_path):
    before = open(path, "rb").read()

    def full_disk(file, mode="r", *arguments, **options):
        opened = builtins.open(file, mode, *arguments, **options)
        if "w" in mode:

            class Full:
                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    opened.close()

                def write(self, data):
                    if opened.tell() > 10_000:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    return opened.write(data)

            return Full()
        return opened

    monkeypatch.setattr(tensor_file, "open", full_disk, raising=False)
    with pytest.raises(OSError) as refusal:
        write_source(path, source)
    check_sentence(refusal.value, "run.safetensors could not be written (No space left on device)", "; free space")
    assert open(path, "rb").read() == before and os.listdir(tmp_path) == ["run.safetensors"]


def test_a_folder_that_is_none(source, tmp_path, folders):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as refusal:
        write_source(str(tmp_path / "file" / "x.safetensors"), source)
    check_sentence(refusal.value, "x.safetensors could not be written", "; choose another folder")
    (folders / "output" / "fatezero").write_text("")
    with pytest.raises(OSError) as refusal:
        SaveSourceRun.execute(source, "fatezero/source")
    check_sentence(refusal.value, "Save Inverted Clip: 'filename prefix' has the folder 'fatezero', but", "; choose")


def test_cancelling_leaves_nothing(source, tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_file, "_BLOCK", 1000)
    comfy.model_management.interrupt_current_processing(True)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            write_source(str(tmp_path / "x.safetensors"), source)
    finally:
        comfy.model_management.interrupt_current_processing(False)
    assert not list(tmp_path.iterdir())


# Defects, each a change of a good file: of its bytes or header, its document, or its tensors.


def parts_of(data: bytes):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: dict, content: bytes, length=None) -> bytes:
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + content


def with_document(change):
    def apply(data):
        header, content = parts_of(data)
        document = json.loads(header["__metadata__"]["fatezero"])
        changed = change(document)
        header["__metadata__"]["fatezero"] = changed if isinstance(changed, str) else json.dumps(document)
        return joined(header, content)

    return apply


def with_header(change):
    def apply(data):
        header, content = parts_of(data)
        changed = change(header)
        return joined(header if changed is None else changed, content)

    return apply


def put(*path_and_value):
    *path, name, value = path_and_value

    def change(document):
        for step in path:
            document = document[step]
        document[name] = value

    return change


HEADER_DEFECTS = {
    "empty": lambda data: b"",
    "a few bytes": lambda data: data[:5],
    "text": lambda data: b"not a safetensors file at all" * 100,
    "pickle": lambda data: b"\x80\x04\x95" + data,
    "truncated in the header": lambda data: data[:200],
    "truncated in the tensors": lambda data: data[:-1],
    "longer than it says": lambda data: data + b"\0",
    "an absurd header size": lambda data: (2**63 - 1).to_bytes(8, "little") + data[8:],
    "a negative header size": lambda data: (-8).to_bytes(8, "little", signed=True) + data[8:],
    "a header size of none": lambda data: (0).to_bytes(8, "little") + data[8:],
    "a header that is a list": lambda data: joined([1, 2], b""),
    "a header of brackets": lambda data: (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "negative offsets": with_header(lambda header: header["sigmas"].update(data_offsets=[-16, 0])),
    "overlapping offsets": with_header(
        lambda header: header["word_maps"].update(data_offsets=header["trajectory"]["data_offsets"])
    ),
    "a negative shape": with_header(lambda header: header["sigmas"].update(shape=[-4])),
    "an overflowing shape": with_header(lambda header: header["sigmas"].update(shape=[2**62, 2**62])),
    "an unknown type": with_header(lambda header: header["sigmas"].update(dtype="F8_E8M0", shape=[16])),
    "no metadata": with_header(lambda header: header.pop("__metadata__") and None),
    "another's metadata": with_header(lambda header: header.update(__metadata__={"format": "pt"})),
    "no checksum": with_header(lambda header: header["__metadata__"].pop("crc32") and None),
}
DOCUMENT_DEFECTS = {
    "no JSON": lambda document: "{",
    "JSON of brackets": lambda document: "[" * 100_000,
    "a JSON list": lambda document: "[1, 2]",
    "a JSON number": lambda document: "7",
    "JSON with NaN": lambda document: '{"format": NaN}',
    "JSON with half a character": put("fingerprint", "\ud800"),
    "another format": put("format", "a LoRA"),
    "no version": lambda document: document.pop("version") and None,
    "version as text": put("version", "1"),
    "version true": put("version", True),
    "version 0": put("version", 0),
    "fingerprint as number": put("fingerprint", 5),
    "another label": put("label", "next"),
    "label as list": put("label", ["target"]),
    "negative refinement": put("refinement", -1),
    "refinement of parts": put("refinement", 0.5),
    "no inflation": lambda document: document.pop("inflation") and None,
    "inflation as text": put("inflation", "current"),
    "unknown key frames": put("inflation", "key_frames", ["yesterday"]),
    "key frames as numbers": put("inflation", "key_frames", [1, 2]),
    "no key frames": put("inflation", "key_frames", []),
    "two key frames in one": put("inflation", "key_frames", ["-1, first"]),
    "a negative minimum width": put("inflation", "minimum_width", -3),
    "normalised as text": put("inflation", "normalise_across_frames", "yes"),
    "no tokens": lambda document: document.pop("tokens") and None,
    "tokens as list": put("tokens", [1]),
    "no token ids": put("tokens", "ids", []),
    "76 token ids": put("tokens", "ids", [1] * 76),
    "154 token ids": put("tokens", "ids", [1] * 154),
    "ids of other kinds": put("tokens", "ids", [1.5] * 77),
    "words of other kinds": put("tokens", "words", [3]),
    "words beyond the prompt": put("tokens", "words", [["jeep", [77]]]),
    "words before the prompt": put("tokens", "words", [["jeep", [-1]]]),
    "words of no tokens": put("tokens", "words", [["jeep", []]]),
    "words without end": put("tokens", "words", [["jeep", list(range(1, 77))]]),
    "words over the begin": put("tokens", "words", [["jeep", [0]]]),
    "more words than maps": put("tokens", "words", [["jeep", list(range(1, 60))]]),
    "text as number": put("tokens", "text", 3),
    "conditioning as list": put("conditioning", []),
    "nested conditioning": put("conditioning", {"control": {"a": 1}}),
    "a ControlNet by name": put("conditioning", {"control": 1}),
    "an endless weight": lambda document: json.dumps({**document, "conditioning": {"w": 0.5}}).replace("0.5", "1e999"),
    "tokens in the conditioning": put("conditioning", {"fatezero_tokens": 1}),
    "other steps": put("steps", 7),
    "other frames": put("frames", 1),
    "other channels": put("latent_channels", 16),
    "other height": put("latent_height", 8),
    "width as text": put("latent_width", "16"),
    "huge steps": put("steps", 10**400),
    "null text as number": put("null_text", 1),
    "null text that the document does not name": put("null_text", None),
    "null text without guidance": put("null_text", "guidance", 1.0),
    "whole guidance": put("null_text", "guidance", 7),
    "nested null text": put("null_text", "options", {"a": []}),
    "a ControlNet in null text": put("null_text", "options", {"control": 1}),
}
TENSOR_DEFECTS = {
    "no sigmas": lambda tensors: tensors.pop("sigmas"),
    "no trajectory": lambda tensors: tensors.pop("trajectory"),
    "no word maps": lambda tensors: tensors.pop("word_maps"),
    "no conditioning": lambda tensors: tensors.pop("conditioning"),
    "something else": lambda tensors: tensors.update(weights=torch.ones(1)),
    "a ControlNet": lambda tensors: tensors.update({"conditioning.control": torch.ones(1)}),
    "half sigmas": lambda tensors: tensors.update(sigmas=tensors["sigmas"].half()),
    "whole trajectory": lambda tensors: tensors.update(trajectory=tensors["trajectory"].int()),
    "double word maps": lambda tensors: tensors.update(word_maps=tensors["word_maps"].double()),
    "conditioning of bytes": lambda tensors: tensors.update(conditioning=tensors["conditioning"].to(torch.uint8)),
    "flat trajectory": lambda tensors: tensors.update(trajectory=tensors["trajectory"].reshape(-1)),
    "no frames": lambda tensors: tensors.update(trajectory=tensors["trajectory"][:, :0]),
    "a step too few": lambda tensors: tensors.update(trajectory=tensors["trajectory"][1:]),
    "a map too few": lambda tensors: tensors.update(word_maps=tensors["word_maps"][1:]),
    "a frame too few": lambda tensors: tensors.update(word_maps=tensors["word_maps"][:, 1:]),
    "maps of few tokens": lambda tensors: tensors.update(word_maps=tensors["word_maps"][:, :, :2]),
    "maps finer than latents": lambda tensors: tensors.update(word_maps=tensors["word_maps"].repeat(1, 1, 1, 5, 5)),
    "a shorter conditioning": lambda tensors: tensors.update(conditioning=tensors["conditioning"][:, :20]),
    "1e38 in the trajectory": lambda tensors: tensors["trajectory"][2].fill_(1e38),
    "NaN in the trajectory": lambda tensors: tensors["trajectory"][2].fill_(float("nan")),
    "infinite word maps": lambda tensors: tensors["word_maps"][0, 0, 0].fill_(float("inf")),
    "infinite pooled output": lambda tensors: tensors.update({"conditioning.pooled": torch.tensor(float("inf"))}),
    "falling sigmas": lambda tensors: tensors.update(sigmas=tensors["sigmas"].flip(0)),
    "no null text": lambda tensors: tensors.pop("null_text"),
    "half null text": lambda tensors: tensors.update(null_text=tensors["null_text"].half()),
    "null text a step short": lambda tensors: tensors.update(null_text=tensors["null_text"][1:]),
    "null text for more frames": lambda tensors: tensors.update(null_text=tensors["null_text"].repeat(1, 2, 1, 1)),
    "narrower null text": lambda tensors: tensors.update(null_text=tensors["null_text"][..., :32].contiguous()),
    "NaN in null text": lambda tensors: tensors["null_text"][0, 0, 0].fill_(float("nan")),
    "a mask in null text": lambda tensors: tensors.update({"null_text.mask": torch.ones(1)}),
    "negative sigmas": lambda tensors: tensors["sigmas"].sub_(1),
}


def check_refused(path):
    with pytest.raises(ValueError) as refusal:
        read_source(path)
    check_sentence(refusal.value, "'run.safetensors' cannot be used: ", "; choose another file, or")
    return str(refusal.value)


@pytest.mark.parametrize("name", HEADER_DEFECTS)
def test_a_defective_file(name, path):
    data = open(path, "rb").read()
    open(path, "wb").write(HEADER_DEFECTS[name](data))
    check_refused(path)


@pytest.mark.parametrize("name", DOCUMENT_DEFECTS)
def test_a_defective_document_is_seen_before_tensors_are_loaded(name, path, monkeypatch):
    data = open(path, "rb").read()
    open(path, "wb").write(with_document(DOCUMENT_DEFECTS[name])(data))
    monkeypatch.setattr(tensor_file, "_checksum", None)  # comes after the tensors
    check_refused(path)


@pytest.mark.parametrize("name", TENSOR_DEFECTS)
def test_defective_tensors(name, path):
    document, tensors = tensor_file.read_tensors(path, lambda *_: None)
    TENSOR_DEFECTS[name](tensors)
    tensor_file.write_tensors(path, tensors, document)
    check_refused(path)


def test_a_changed_bit(path):
    data = bytearray(open(path, "rb").read())
    data[-1000] ^= 1
    open(path, "wb").write(data)
    assert "have changed" in check_refused(path)


def test_a_run_by_uni_inv_asks_older_versions_of_the_pack_for_an_update(tmp_path):
    run = inverted(small_model(), EDIT, steps=2, label=UNI_INV)
    path = str(tmp_path / "run.safetensors")
    write_source(path, run)
    read = read_source(path)
    assert (read.label, read.version, read.cell) == (UNI_INV, 3, run.cell)
    assert torch.equal(read.trajectory, run.trajectory)
    data = open(path, "rb").read()
    open(path, "wb").write(with_document(put("version", 1))(data))
    assert "its 'label' is wrong" in check_refused(path)


def test_a_newer_version(path):
    data = open(path, "rb").read()
    open(path, "wb").write(with_document(put("version", VIDEO_VERSION))(data))
    assert "its 'cell' is wrong" in check_refused(path), "a video model's run says what a cell holds"
    open(path, "wb").write(with_document(put("version", NEWEST_VERSION + 1))(data))
    assert "a newer FateZero wrote it" in check_refused(path) and "update" in check_refused(path)


def test_a_file_that_is_a_folder_or_gone(tmp_path):
    check_refused(str(tmp_path / "run.safetensors"))
    (tmp_path / "run.safetensors").mkdir()
    check_refused(str(tmp_path / "run.safetensors"))


def test_random_damage_never_ends_in_another_error(path):
    data = open(path, "rb").read()
    generator = torch.Generator().manual_seed(0)
    header = 8 + int.from_bytes(data[:8], "little")
    for _ in range(300):
        damaged = bytearray(data)
        for place in torch.randint(0, header, (3,), generator=generator).tolist():
            damaged[place] = int(torch.randint(0, 256, (), generator=generator))
        open(path, "wb").write(damaged)
        if damaged != data:
            check_refused(path)


# The nodes.


def test_saved_and_loaded_by_the_nodes(model, source, folders):
    shown = SaveSourceRun.execute(source, "fatezero/mine/source")
    assert shown.result == (source,)
    text = shown.ui.as_dict()["text"][0]
    saved = folders / "output/fatezero/mine/source_00001_.safetensors"
    assert text == f"fatezero/mine/{saved.name}\n{saved.stat().st_size / 1e3:.1f} kB"
    write_source(str(saved.with_name("source_00002_.safetensors")), source)
    (folders / "input" / "copy.safetensors").write_bytes(
        (folders / "output/fatezero/mine/source_00002_.safetensors").read_bytes()
    )
    for hidden in (
        "fatezero/unfinished/abc/step_0001.safetensors",
        "fatezero/.unfinished_x/a.safetensors",
        "other/b.safetensors",
        "fatezero/picture.png",
    ):
        (folders / "output" / hidden).parent.mkdir(parents=True, exist_ok=True)
        (folders / "output" / hidden).write_bytes(b"")
    offered = next(item.options for item in LoadSourceRun.define_schema().inputs if item.id == "file")
    assert offered == [
        "fatezero/mine/source_00001_.safetensors [output]",
        "fatezero/mine/source_00002_.safetensors [output]",
        "copy.safetensors",
    ]
    expected = Invert.execute(
        model,
        conditioning(EDIT.source),
        {"samples": clip_latent()},
        3,
        OFFICIAL,
        evaluate_at="current label (paper)",
        refinement=1,
        reuse=False,
    ).result
    for file in offered:
        assert LoadSourceRun.validate_inputs(file) is True
        latent, loaded, sigmas, report = LoadSourceRun.execute(model, file).result
        assert torch.equal(latent["samples"], expected[0]["samples"])
        assert torch.equal(sigmas, expected[2])
        # The last lines say that three steps are few, and how the frames went through the model.
        summary = expected[3].partition("\n!")[0]
        null_text = "null text for guidance 7.5, one embedding per step and frame"
        assert report == f"{summary}\n{null_text}\nloaded from {file}"
        check_equal(loaded, replace(expected[1], null_text=source.null_text))
    ours, theirs = ([output.io_type for output in node.define_schema().outputs] for node in (LoadSourceRun, Invert))
    assert ours == theirs


@pytest.mark.parametrize(
    "other, words",
    [
        (
            lambda: inflate(small_model(model_type=ModelType.V_PREDICTION), INFLATION),
            "'model' is not the one the source was inverted with",
        ),
        (small_model, "the model is inflated with [nothing]"),
    ],
)
def test_another_model_is_refused_at_once(source, folders, other, words):
    SaveSourceRun.execute(source, "fatezero/source")
    with pytest.raises(ValueError) as refusal:
        LoadSourceRun.execute(other(), "fatezero/source_00001_.safetensors [output]")
    check_sentence(refusal.value, "Load Inverted Clip: ", words, "; ")


@pytest.mark.parametrize(
    "file",
    [
        "gone.safetensors",
        "gone.safetensors [output]",
        "../secret.safetensors",
        "../secret.safetensors [output]",
        "",
        ".",
    ],
)
def test_a_file_that_is_gone_or_outside(folders, file):
    (folders / "secret.safetensors").write_bytes(b"")
    message = LoadSourceRun.validate_inputs(file)
    check_sentence(message, f"Load Inverted Clip: 'file' is {file}, which is not in", "; choose")
    assert LoadSourceRun.fingerprint_inputs(file) == ""
    with pytest.raises(ValueError) as refusal:
        LoadSourceRun.execute(small_model(), file)
    assert str(refusal.value) == message


def test_the_same_run_is_not_written_twice(source, folders):
    first, again = (SaveSourceRun.execute(source, "fatezero/source").ui.as_dict()["text"][0] for _ in range(2))
    assert again == f"{first}\nnot written again: this file holds the same already"
    other = SaveSourceRun.execute(replace(source, refinement=source.refinement + 1), "fatezero/source")
    assert other.ui.as_dict()["text"][0].startswith("fatezero/source_00002_.safetensors\n")
    assert SaveSourceRun.execute(source, "fatezero/source").ui.as_dict()["text"][0] == again
    SaveSourceRun.execute(source, "fatezero/source_2")  # another prefix, though it begins alike
    assert sorted(file.name for file in (folders / "output/fatezero").glob("*.safetensors")) == [
        "source_00001_.safetensors",
        "source_00002_.safetensors",
        "source_2_00001_.safetensors",
    ]


def test_a_changed_file_is_read_again(source, folders):
    SaveSourceRun.execute(source, "fatezero/source")
    file = "fatezero/source_00001_.safetensors [output]"
    before = LoadSourceRun.fingerprint_inputs(file)
    assert before == LoadSourceRun.fingerprint_inputs(file, model=None)
    write_source(str(folders / "output/fatezero/source_00001_.safetensors"), replace(source, refinement=2))
    assert LoadSourceRun.fingerprint_inputs(file) != before


@pytest.mark.parametrize("prefix", ["", "/elsewhere/x", "../x", "fatezero/../../x"])
def test_a_prefix_outside_of_the_output_folder(source, prefix):
    message = SaveSourceRun.validate_inputs(prefix)
    check_sentence(message, f"Save Inverted Clip: 'filename prefix' is '{prefix}'", "; expected a name")
    with pytest.raises(ValueError) as refusal:
        SaveSourceRun.execute(source, prefix)
    assert str(refusal.value) == message
    assert SaveSourceRun.validate_inputs("fatezero/source") is SaveSourceRun.validate_inputs(None) is True
