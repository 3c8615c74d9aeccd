"""The shipped workflows as prompts, whole or in small, and running them on a server."""

import json
from pathlib import Path

from tools.workflow_prompt import prompt_from_workflow

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
INVERT, SAMPLER = "FateZeroInvert", "FateZeroBlendSampler"


def shipped(server, name):
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    return prompt_from_workflow(workflow, server.object_info())


def nodes(prompt, kind):
    """The ids of the nodes of a class, in the order of the file."""
    return [node for node, entry in prompt.items() if entry["class_type"] == kind]


def shortened(prompt, frames=2, steps=3):
    """The same graph with fewer frames and steps, for speed."""
    prompt = json.loads(json.dumps(prompt))
    for entry in prompt.values():
        for name, value in (("steps", steps), ("inner_steps", 1)):
            if name in entry["inputs"]:
                entry["inputs"][name] = value
        if entry["class_type"] == "FateZeroVideoLoad":
            entry["inputs"]["count"] = min(entry["inputs"]["count"], frames)
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
    prompt = shortened(shipped(server, "demo_color_edit"), steps=steps)
    (invert,), (sampler,) = nodes(prompt, INVERT), nodes(prompt, SAMPLER)
    for node in nodes(prompt, "FateZeroVideoSave") + nodes(prompt, "VAEDecode"):
        del prompt[node]
    prompt["edit"] = {"class_type": "SaveLatent", "inputs": {"samples": [sampler, 0], "filename_prefix": "edited"}}
    return prompt, invert
