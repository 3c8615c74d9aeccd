"""Texts of our objects: whatever their fields hold, ComfyUI can write them into an error report."""

import importlib
import pkgutil
from dataclasses import fields, is_dataclass

import pytest

from edit_cases import prompt_edit
from fatezero_pack import fatezero
from fatezero_pack.fatezero.edit.settings import BlendSettings
from fatezero_pack.fatezero.edit.unet.source_attention import AttentionPlan
from fatezero_pack.fatezero.network.unet.inflation import Inflation
from fatezero_pack.fatezero.prompts.prompt_edit import PromptEdit
from fatezero_pack.fatezero.prompts.tokens import PromptTokens
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.attention_cache import AttentionCache, CacheBytes
from fatezero_pack.fatezero.source.source_run import NullText, SourceRun
from fatezero_pack.fatezero.tuning.memory import TuningMemory
from fatezero_pack.fatezero.tuning.tuned_state import TunedState

# What travels between nodes, on wires of its own or within a MODEL, LATENT or CONDITIONING.
TRAVELLING = [
    AttentionCache,
    AttentionPlan,
    BlendSettings,
    CacheBytes,
    Inflation,
    NullText,
    PromptEdit,
    PromptTokens,
    SourceRun,
    TunedState,
    TuningMemory,
    Window,
]


class Broken:
    """Raises for whatever is asked of it."""

    def __getattribute__(self, name):
        raise RuntimeError("broken")

    __repr__ = __str__ = __len__ = __iter__ = __float__ = __getitem__ = __format__ = lambda *_: 1 / 0


def our_classes():
    """Every class that a module of the pack's library defines."""
    found = set()
    for module in pkgutil.walk_packages(fatezero.__path__, fatezero.__name__ + "."):
        if not module.ispkg:
            imported = importlib.import_module(module.name)
            found |= {kind for kind in vars(imported).values() if getattr(kind, "__module__", "") == module.name}
    return {kind for kind in found if isinstance(kind, type)}


def has_own_text(kind) -> bool:
    """Whether somebody wrote a text for a class, other than Python's own for dataclasses and errors.

    Private classes stay within their module.
    """
    if issubclass(kind, (BaseException, tuple)) or kind.__name__.startswith("_"):
        return False
    written = {"__str__", "__len__"} if is_dataclass(kind) else {"__str__", "__len__", "__repr__"}
    return bool(written & vars(kind).keys())


def test_every_class_that_writes_its_own_text_is_looked_at():
    assert {kind for kind in our_classes() if has_own_text(kind)} <= set(TRAVELLING)


def malformed(kind):
    """Objects of a class without any fields, and with fields that hold what they should not."""
    yield kind.__new__(kind)
    if is_dataclass(kind):
        for value in (None, 3, "text", [], object(), float("nan"), Broken()):
            one = kind.__new__(kind)
            for item in fields(kind):
                object.__setattr__(one, item.name, value)
            yield one


@pytest.mark.parametrize("kind", TRAVELLING, ids=lambda kind: kind.__name__)
def test_a_malformed_object_has_a_text(kind):
    for one in malformed(kind):
        assert isinstance(str(one), str) and isinstance(repr(one), str) and isinstance(f"{[one]} {one}", str)
    broken = kind.__new__(kind)
    assert str(broken) and kind.__name__ in repr(broken)


def test_a_sound_object_keeps_its_text():
    edit = prompt_edit()
    assert str(edit) == edit.summary() and "silver" in str(edit) and edit.source.text in repr(edit)
    assert str(Inflation(("first",))) == "key frames first"
    assert str(CacheBytes(ram=2_000_000)) == "2.0 MB RAM"
    assert repr(Window(0.2, 0.5)) == "Window(start=0.2, end=0.5)"


def test_comfyui_goes_on_after_an_error_over_a_malformed_object(server):
    """The text of a node's inputs is written into the error report; an error in there would end the worker thread."""
    prompt = {
        "bad": {"class_type": "TestMalformedSource", "inputs": {}},
        "save": {"class_type": "FateZeroSaveSource", "inputs": {"source": ["bad", 0], "filename_prefix": "x"}},
    }
    for _ in range(2):
        run = server.run(prompt, longest_silence=60)
        assert (run.status, run.error["node_id"]) == ("error", "save")
