"""Binds every import and call of comfy.* in this repository to an unpacked ComfyUI, without running either.

comfy-import-guard does it. It reads ComfyUI out of a git repository, so we make it one of what we have unpacked.
"""

import shutil
import subprocess

from .comfyui_server import link_folder
from .environment import ROOT, InstallError


def guard_against(comfyui, name):
    """What follows `python -m` to check this repository against the ComfyUI in a folder, kept in .run under a name."""
    home = ROOT / ".run" / "import_guard" / name
    if not (home / "ComfyUI").is_dir():
        _make_repository(comfyui, home / "ComfyUI")
    link_folder(ROOT, home / "custom_nodes" / "fatezero")
    places = ["--cache-dir", str(home), "--comfy-dir", str(home), "--target", "HEAD"]
    return ["comfy_import_guard.cli", "check", "--quiet", "--offline", "--no-update", *places]


def _make_repository(comfyui, repository):
    """A git repository with the package `comfy` of a ComfyUI as its one commit, there only once it is whole."""
    if not shutil.which("git"):
        raise InstallError("`check` compares with ComfyUI by way of git; install git and run the command again.")
    unfinished = repository.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    git = ["git", "--git-dir", str(unfinished / ".git"), "--work-tree", str(comfyui)]
    git += ["-c", "user.name=dev.py", "-c", "user.email=dev.py@localhost", "-c", "commit.gpgsign=false"]
    for step in (["init"], ["add", "--force", "comfy"], ["commit", "--no-verify", "--message", "ComfyUI"]):
        subprocess.run([*git, *step], check=True, capture_output=True)
    unfinished.rename(repository)
