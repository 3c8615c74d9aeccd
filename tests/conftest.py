"""What every test needs (ComfyUI with the pack as `fatezero_pack`, in inference mode) and what several tests share."""

import gc
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import comfyui_pack  # noqa: E402,F401  (first: it puts ComfyUI on the path)

# isort: split
import folder_paths  # noqa: E402
import torch  # noqa: E402

from sdxl_cases import sdxl_model  # noqa: E402,F401
from server_fixtures import archive, either_server, new_server, old_server, server, start_server  # noqa: E402,F401
from tiny_video_models import conditioning, tokenizer, video_latent, video_model  # noqa: E402,F401

SERVERS = {"server", "old_server", "either_server", "start_server"}


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """Marks `server` what asks for one; puts long files first, so that no process is left alone with one at the end."""
    for item in items:
        if SERVERS.intersection(item.fixturenames):
            item.add_marker("server")
    long = {item.path for item in items if item.get_closest_marker("server") or item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish():
    """What importing has left stays, and is no garbage: ComfyUI looks for garbage each time that a model is gone."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def inference_mode():
    """As ComfyUI loads models and executes nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(autouse=True)
def own_session(monkeypatch, tmp_path):
    """A temp folder of its own for each test: what a session keeps there would be found by the next."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "comfyui_temp"))


@pytest.fixture
def temp_folder(monkeypatch, tmp_path):
    """ComfyUI's temporary folder, empty."""
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))
    return tmp_path


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """ComfyUI's own folders, `input`, `output` and `temp`, empty."""
    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path


@pytest.fixture
def clip(folders):
    """A clip in the input folder: 24 numbered frames of 80x48 at 8 per second, and a beep after a second."""
    from video_clips import beep, write_numbered

    return write_numbered(folders / "input" / "clip.mp4", count=24, fps=8, audio=beep(1, 3))


@pytest.fixture(scope="session")
def judge():
    """The network that judges edits of the toy world."""
    from benchmarks.quality.judge.network import load_judge

    return load_judge()


@pytest.fixture(scope="session")
def latent():
    """A small smooth clip of Wan's, [1, 16, 3, 8, 10]."""
    random = torch.randn(1, 16, 3, 8, 10, generator=torch.Generator().manual_seed(3))
    return 3 * torch.nn.functional.avg_pool3d(random, 3, 1, 1)


@pytest.fixture(scope="module")
def t5_tokens(tmp_path_factory):
    """Makes a text into PromptTokens of T5."""
    from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt

    clip = tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return lambda text: tokenize_prompt(clip, text)


@pytest.fixture(scope="module")
def t5_prompt(t5_tokens):
    """Makes a text into a CONDITIONING of Edit Prompts, as a video model takes it."""
    from fatezero_pack.fatezero.network.option_keys import TOKENS

    def make(text):
        tokens = t5_tokens(text)
        ((embedding, options),) = conditioning(tokens)
        return [[embedding, {**options, TOKENS: tokens}]]

    return make
