"""A film from file to file: what 2,000 frames take beside 100.

`python -m benchmarks.studies.films [--frames 100 2000]`, with COMFYUI_PATH set: draws clips of the demo world, edits
each with `dev.py batch --frames 50`, and prints the greatest RSS of the server that computes and of the program that
gives it work and joins the parts. Few steps, since memory is asked for and not the picture.
"""

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path

import psutil

from fatezero_pack.demo.clips import CLIPS, write_mp4
from fatezero_pack.demo.world import caption, render, video

ROOT = Path(__file__).resolve().parents[2]
CLIP, WORKFLOW, PART, STEPS = "red_circle_on_grass", "demo_color_edit", 50, 2


def draw_film(path: Path, frames: int) -> str:
    """Writes a film of so many frames of 128x128 and returns its prompt."""
    scene, _, seed, height, width = CLIPS[CLIP]
    write_mp4(path, [render(moment, height, width) for moment in video(scene, frames, seed)])
    return caption(scene)


def greatest_sizes(command: list[str]) -> tuple[float, float, float]:
    """Runs a command; the greatest RSS in MB of what it runs on this side and of the server, and the seconds it took.

    Raises:
        RuntimeError: If it fails.
    """
    started, here, server = time.monotonic(), 0.0, 0.0
    process = psutil.Popen(command, cwd=ROOT)
    while process.poll() is None:
        for one in [process, *process.children(recursive=True)]:
            size, serves = size_of(one)
            here, server = max(here, size * (not serves)), max(server, size * serves)
        time.sleep(0.2)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return here, server, time.monotonic() - started


def size_of(process: psutil.Process) -> tuple[float, bool]:
    """What a process holds in MB, and whether it is ComfyUI."""
    try:
        return process.memory_info().rss / 1e6, "main.py" in " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return 0.0, False


def edit_film(frames: int) -> tuple[float, float, float]:
    """As `greatest_sizes`, of a film of so many frames, from its file to the edited one."""
    with tempfile.TemporaryDirectory() as folder:
        clip, table = Path(folder, "film.mp4"), Path(folder, "edits.csv")
        prompt = draw_film(clip, frames)
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["clip", "source prompt", "target prompt", "count", "steps"])
            writer.writerow([clip.name, prompt, prompt.replace("red", "blue"), 0, STEPS])
        command = [sys.executable, "dev.py", "batch", str(table), "--workflow", WORKFLOW, "--frames", str(PART)]
        return greatest_sizes([*command, "--out", str(Path(folder, "out"))])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 2000])
    options = parser.parse_args()
    print("frames  batch MB  server MB  seconds")
    for frames in options.frames:
        here, server, seconds = edit_film(frames)
        print(f"{frames:6}  {here:8.0f}  {server:9.0f}  {seconds:7.0f}", flush=True)


if __name__ == "__main__":
    main()
