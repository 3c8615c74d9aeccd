"""A short part of `dev.py fuzz` and `dev.py faults`: bad inputs are refused in a sentence, faults leave nothing."""

import asyncio
import sys

import folder_paths
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.robustness.bad_inputs import TEXTS
from benchmarks.robustness.faults import NONE, OK, FaultTable, parts_of, same
from benchmarks.robustness.fuzz import Fuzzer
from benchmarks.robustness.graph import NODES
from benchmarks.robustness.outcomes import ACCEPTED, CLEAR, REFUSED, UNCLEAR, outcome
from benchmarks.robustness.soak import slope
from edit_cases import TOKENIZER, prompt_edit
from fatezero_pack.fatezero.network.key_frames import parse_key_frames
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.nodes import FateZeroExtension
from tools.comfyui_client import Run

FAULTS = (
    "Video Save, mp4",
    "Save Inverted Clip",
    "Load Inverted Clip",
    "DDIM Invert + Store Attention, resume",
    "Attention Blend Sampler, cache on disk",
)


@pytest.mark.slow
def test_bad_inputs_and_files_are_refused_in_a_sentence(server):
    fuzzer = Fuzzer(server)
    fuzzer.inputs_in_turn(2, 0)
    fuzzer.files_in_turn(2, 0)
    assert fuzzer.counts.tried > 60
    assert not fuzzer.counts.unclear


def failed(message, traceback=()):
    return Run("", "error", error={"exception_message": message, "traceback": list(traceback)})


def test_outcomes():
    names = ["Video Load", "Attention Blend"]
    assert outcome(Run("", "success"), names) == ACCEPTED
    assert outcome(failed("Video Load: 'start' is -1; choose 0 to 9."), names) == CLEAR
    assert outcome(failed("Video Load: 'start' is -1; choose 0 to 9.\nTraceback"), names) == UNCLEAR
    assert outcome(failed("Video Load: It failed. Look there."), names) == UNCLEAR
    assert outcome(failed("list index out of range", ["File fatezero/edit/x.py"]), names) == UNCLEAR
    assert outcome(failed("list index out of range", ["File nodes.py"]), names) == REFUSED
    assert outcome(failed("NaN came out"), names) == UNCLEAR
    assert outcome(Run("", "rejected", error={"exception_message": "Value too big"}), names) == REFUSED


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.sampled_from(["emphasis", "mask_words", "target_mask_words", "windows"]), TEXTS)
def test_word_fields(field, text):
    one_sentence(lambda: prompt_edit(**{field: text}))


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(TEXTS, TEXTS)
def test_prompts(source, target):
    one_sentence(lambda: prompt_edit(f"a {source}", f"a {target}"))
    one_sentence(lambda: tokenize_prompt(TOKENIZER, source))


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(TEXTS)
def test_key_frames(text):
    one_sentence(lambda: parse_key_frames(text))


def one_sentence(call):
    """It works, or refuses in one sentence."""
    try:
        call()
    except Refusal as refusal:
        assert "\n" not in str(refusal) and str(refusal).endswith(".") and len(str(refusal)) < 450, str(refusal)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """ComfyUI's folders lie elsewhere until the tests of this file end."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("input_directory", "output_directory", "temp_directory", "models_dir"):
            patch.setattr(folder_paths, name, getattr(folder_paths, name))
        patch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
        yield FaultTable(tmp_path_factory.mktemp("faults"), most=1)


def test_every_node_has_a_scenario_and_a_place_in_the_graph(table):
    """Of `dev.py faults`, and of `dev.py fuzz` and `dev.py soak`."""
    nodes = [node.define_schema() for node in asyncio.run(FateZeroExtension().get_node_list())]
    assert {name.partition(",")[0] for name in table.world.scenarios()} == {node.display_name for node in nodes}
    assert {kind for kind, _ in NODES.values()} >= {node.node_id for node in nodes}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor a limit for files")
@pytest.mark.parametrize("scenario", FAULTS)
def test_a_fault_leaves_nothing_and_the_next_run_is_the_same(table, monkeypatch, scenario):
    for name in ("input", "output", "temp"):  # those of the table, not of this test
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(table.world.base / name))
    cells = table.row(table.world.scenarios()[scenario])
    assert all(cell == NONE or cell.endswith(OK) for cell in cells.values()), cells


def test_results_are_the_same_to_the_bit_or_but_for_rounding():
    made = {"a": torch.tensor([1.0, float("nan")]), "b": ["x", 2, None]}
    other = {"a": torch.tensor([1.0 + 1e-6, float("nan")]), "b": ["x", 2, None]}
    parts, others = list(parts_of(made)), list(parts_of(other))
    assert same(parts, list(parts_of(made))) and not same(parts, others)
    assert not same(parts, list(parts_of({**made, "b": ["x", 3, None]}))) and not same(parts, parts[1:])
    far = list(parts_of([torch.ones(3), torch.ones(3) + 1e-4]))
    assert same(far[:1], [torch.ones(3) + 1e-6], 1e-5) and not same(far[:1], far[1:], 1e-5)


def test_slope():
    assert abs(slope([0.0] * 50 + [100 + 0.02 * index for index in range(50)]) - 2.0) < 1e-6
