"""The one place that imports ComfyUI's node API, so that a change there is met here."""

import sys

from comfy_api.latest import ComfyExtension, InputImpl, Types, io, ui

_SCHEMA_FIELDS = set(io.Schema.__dataclass_fields__)


def schema(**fields) -> io.Schema:
    """An io.Schema from the fields that this ComfyUI knows (newer ones are left out on older versions)."""
    return io.Schema(**{name: value for name, value in fields.items() if name in _SCHEMA_FIELDS})


def show_text(node: type[io.ComfyNode], text: str) -> None:
    """Shows a text on a running node at once, before its results; the node's schema must ask for `unique_id`."""
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    running = getattr(server, "instance", None)
    if running is not None and node.hidden is not None:
        running.send_progress_text(text, node.hidden.unique_id, running.client_id)


__all__ = ["ComfyExtension", "InputImpl", "Types", "io", "schema", "show_text", "ui"]
