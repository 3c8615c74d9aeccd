"""Null-text optimization on a real ComfyUI: in its inference mode, after an unload and a cancel, in half precision."""

import re

import pytest

from workflow_runs import SAMPLER, nodes, short_demo

pytestmark = pytest.mark.slow


def null_text(server, steps=4, **settings):
    """The short demo with null text in place of the edit; the report is shown."""
    prompt, invert = short_demo(server, steps=steps)
    (sampler,) = nodes(prompt, SAMPLER)
    inputs = prompt.pop(sampler)["inputs"]
    del prompt["edit"]
    prompt["null"] = {
        "class_type": "FateZeroNullText",
        "inputs": {
            "model": prompt[invert]["inputs"]["model"],
            "source": [invert, 1],
            "negative": inputs["negative"],
            "guidance": 7.5,
            "method": "null-text optimization",
            "inner_steps": 3,
            **settings,
        },
    }
    prompt["report"] = {"class_type": "PreviewAny", "inputs": {"source": ["null", 2]}}
    return prompt


def before_and_after(run):
    assert run.status == "success", run.error
    (report,) = run.outputs["null"]["text"]
    return map(float, re.search(r"([\d.]+) dB before, ([\d.]+) dB after", report).groups())


def test_it_works_also_after_an_unload_and_a_cancel(server):
    before, after = before_and_after(server.run(null_text(server)))
    assert after > before + 6
    server.free()
    cancelled = []

    def cancel(kind, data):
        if kind == "progress" and data["node"] == "null" and data["value"] >= 2 and not cancelled:
            cancelled.append(data)
            server.interrupt()

    slow = null_text(server, guidance=7.0, inner_steps=20, early_stop=0.0, report_error=False)
    assert server.run(slow, on_event=cancel).status == "interrupted"
    assert list(before_and_after(server.run(null_text(server, guidance=7.4))))[1] == pytest.approx(after, abs=1)
    run = server.run(null_text(server, guidance=1.0))
    assert run.error["exception_message"].startswith("Null-Text Optimization: 'guidance' is 1, at which ")


@pytest.mark.parametrize("argument", ["--fp16-intermediates"])
def test_half_precision_between_nodes(start_server, argument):
    server = start_server(argument)
    before, after = before_and_after(server.run(null_text(server)))
    assert after > before + 6


def test_on_the_oldest_comfyui(old_server):
    before, after = before_and_after(old_server.run(null_text(old_server)))
    assert after > before + 6
