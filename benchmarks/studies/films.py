"""A film from file to file: what 2,000 frames take beside 100.

`python -m benchmarks.studies.films [--frames 100 2000] [--folder FOLDER]`, with COMFYUI_PATH set: draws clips of the
demo world, edits each with `dev.py batch --frames 50`, and prints the greatest RSS of the server that computes and of
the program that gives it work and joins the parts. Few steps, since memory is asked for and not the picture.
With a folder, a run that was stopped goes on with its next part; the sizes are the greatest of all its runs.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil

from fatezero_pack.demo.clips import CLIPS, write_mp4
from fatezero_pack.demo.world import caption, render, video
from tools.lifeline import Lifeline

ROOT = Path(__file__).resolve().parents[2]
CLIP, WORKFLOW, PART, STEPS = "red_circle_on_grass", "fatezero_video_edit_demo_color_edit", 50, 2


def draw_film(path: Path, frames: int) -> str:
    """Writes a film of so many frames of 128x128 and returns its prompt."""
    scene, _, seed, height, width = CLIPS[CLIP]
    write_mp4(path, [render(moment, height, width) for moment in video(scene, frames, seed)])
    return caption(scene)


def greatest_sizes(command: list[str], kept: Path) -> dict[str, float]:
    """Runs a command; the greatest RSS in MB of what it runs on this side ("batch") and of the server, and the seconds.

    Args:
        command: What to run.
        kept: A JSON file of these figures, written on the way, from which a second run goes on.

    Raises:
        RuntimeError: If it fails.
    """
    before = json.loads(kept.read_text()) if kept.exists() else {"batch": 0.0, "server": 0.0, "seconds": 0.0}
    started, figures = time.monotonic(), dict(before)
    process = psutil.Popen(command, cwd=ROOT)
    while process.poll() is None:
        for one in [process, *process.children(recursive=True)]:
            size, serves = size_of(one)
            program = "server" if serves else "batch"
            figures[program] = max(figures[program], size)
        figures["seconds"] = before["seconds"] + time.monotonic() - started
        kept.write_text(json.dumps(figures))
        time.sleep(0.5)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return figures


def size_of(process: psutil.Process) -> tuple[float, bool]:
    """What a process holds in MB, and whether it is ComfyUI."""
    try:
        return process.memory_info().rss / 1e6, "main.py" in " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return 0.0, False


def edit_film(frames: int, folder: Path) -> dict[str, float]:
    """As `greatest_sizes`, of a film of so many frames, from its file to the edited one, all in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    clip, table = folder / "film.mp4", folder / "edits.csv"
    if not table.exists():
        prompt = draw_film(clip, frames)
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["clip", "source prompt", "target prompt", "size", "count", "steps"])
            writer.writerow([clip.name, prompt, prompt.replace("red", "blue"), "small", 0, STEPS])
    with Lifeline() as lifeline:
        command = lifeline.command(sys.executable, "dev.py", "batch", table, "--workflow", WORKFLOW, "--frames", PART)
        return greatest_sizes([*command, "--out", str(folder / "out")], folder / "sizes.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 2000])
    parser.add_argument("--folder", type=Path, help="where a stopped run goes on (default: a temporary folder)")
    options = parser.parse_args()
    print("frames  batch MB  server MB  seconds")
    for frames in options.frames:
        with tempfile.TemporaryDirectory() as temporary:
            figures = edit_film(frames, (options.folder or Path(temporary)) / str(frames))
        print(f"{frames:6}  {figures['batch']:8.0f}  {figures['server']:9.0f}  {figures['seconds']:7.0f}", flush=True)


if __name__ == "__main__":
    main()
