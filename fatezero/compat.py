"""The one place that imports ComfyUI's node API, so that a change there is met here."""
from comfy_api.latest import ComfyExtension, InputImpl, Types, io, ui

_SCHEMA_FIELDS = set(io.Schema.__dataclass_fields__)


def schema(**fields) -> io.Schema:
    """An io.Schema from the fields that this ComfyUI knows (newer ones are left out on older versions)."""
    return io.Schema(**{name: value for name, value in fields.items() if name in _SCHEMA_FIELDS})


__all__ = ["ComfyExtension", "InputImpl", "Types", "io", "schema", "ui"]
