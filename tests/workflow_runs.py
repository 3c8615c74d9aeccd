"""The shipped workflows as prompts, whole or in small, and running them on a server."""

import json
from pathlib import Path

import av
import cv2
import numpy as np

from tools.workflow_prompt import prompt_from_workflow

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
LARGE_CLIP = "red_circle_on_grass_large.mp4"
INVERT, SAMPLER = "FateZeroInvert", "FateZeroBlendSampler"


def shipped(server, name):
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    return prompt_from_workflow(workflow, server.object_info())


def nodes(prompt, kind):
    """The ids of the nodes of a class, in the order of the file."""
    return [node for node, entry in prompt.items() if entry["class_type"] == kind]


def shortened(prompt, frames=2, steps=3):
    """The same graph with fewer frames and steps, and the small demo model where there is a small clip, for speed."""
    prompt = json.loads(json.dumps(prompt))
    for entry in prompt.values():
        for name, value in (("steps", steps), ("inner_steps", 1)):
            if name in entry["inputs"]:
                entry["inputs"][name] = value
        if entry["class_type"] == "FateZeroVideoLoad":
            entry["inputs"]["count"] = min(entry["inputs"]["count"], frames)
            if entry["inputs"]["file"] == f"demo/{LARGE_CLIP}":
                entry["inputs"]["file"] = "demo/red_circle_on_grass.mp4"
                for model in nodes(prompt, "FateZeroLoadDemoModel"):
                    prompt[model]["inputs"]["size"] = "small"
    return prompt


def completed(server, prompt):
    """The Run of a prompt that must succeed, each of its output nodes included."""
    run = server.run(prompt)
    assert run.status == "success", run.error
    information = server.object_info()
    expected = {node for node, entry in prompt.items() if information[entry["class_type"]]["output_node"]}
    assert expected == {node for node in run.outputs if node in expected}
    return run


def short_demo(server, steps=3):
    """The colour demo in small, whose edit is kept as a latent; and the ids of its inversion and of its edit."""
    prompt = shortened(shipped(server, "fatezero_video_edit_demo_color_edit"), steps=steps)
    (invert,), (sampler,) = nodes(prompt, INVERT), nodes(prompt, SAMPLER)
    for node in nodes(prompt, "FateZeroVideoSave") + nodes(prompt, "VAEDecode"):
        del prompt[node]
    prompt["edit"] = {"class_type": "SaveLatent", "inputs": {"samples": [sampler, 0], "filename_prefix": "edited"}}
    return prompt, invert


def read_clip(path):
    """The frames of a video file, uint8 [n, h, w, 3], and their rate."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]), float(stream.average_rate)


def of_the_circle(frame, margin):
    """Two masks of a frame with a red circle: the pixels well inside it, and those further from it than the margin."""
    circle = ((frame[..., 0] > 140) & (frame[..., 1] < 100)).astype(np.uint8)
    around = np.ones((2 * margin + 1, 2 * margin + 1))
    return cv2.erode(circle, np.ones((9, 9))) > 0, cv2.dilate(circle, around) == 0


def check_color_demo(edited, side_by_side):
    """In the two videos of the colour demo, the circle became blue and all else stayed as it was."""
    frames, rate = read_clip(edited)
    assert frames.shape == (8, 256, 256, 3) and rate == 8
    frames, _ = read_clip(side_by_side)
    assert frames.shape == (8, 256, 512, 3)
    before, after = np.split(frames.astype(np.float32), 2, axis=2)
    for old, new in zip(before, after):
        inside, outside = of_the_circle(old, margin=16)
        hue = cv2.cvtColor(new.astype(np.uint8), cv2.COLOR_RGB2HSV)[..., 0] * 2.0
        blue = (hue > 195) & (hue < 255)
        assert inside.sum() > 4000
        assert blue[inside].mean() > 0.9
        assert blue[outside].mean() < 0.02
        smooth_old, smooth_new = (cv2.GaussianBlur(image, (0, 0), 3)[outside] for image in (old, new))
        assert np.abs(smooth_old - smooth_new).mean() < 15
