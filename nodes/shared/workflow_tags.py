"""The graph that made a file, as texts inside the file."""

import json
from typing import Any

from comfy.cli_args import args


def workflow_tags(hidden: Any) -> dict[str, str]:
    """The graph in the form in which ComfyUI reads it back from a file that is dropped on it; nothing where ComfyUI was
    told to write no metadata.

    Args:
        hidden: Of the node that writes the file.
    """
    if args.disable_metadata or hidden is None:
        return {}
    graphs = {**(hidden.extra_pnginfo or {}), **({"prompt": hidden.prompt} if hidden.prompt else {})}
    return {name: json.dumps(graph) for name, graph in graphs.items()}
