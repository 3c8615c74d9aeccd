"""What a node is given, checked against its own schema before it runs.

ComfyUI checks what a person types or chooses, but not what comes over a wire.
"""

import inspect
import json
import math
import numbers
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any

from ...fatezero.compat import io
from ...fatezero.refusal import Refusal, speaking
from .wire_checks import WIRES

# Files and graphics cards come and go, and older workflows hold other sizes; the nodes check these choices themselves.
_ASKED_BY_NODES = {"file", "format", "size_for"}
_LABELS = Path(__file__).resolve().parents[2] / "locales" / "en" / "nodeDefs.json"


def checked(execute: Callable) -> Callable:
    """Decorates a node's `execute`: refuses what its inputs cannot take, and puts the node's name before refusals."""
    signature = inspect.signature(execute)

    @wraps(execute)
    def run(cls: type[io.ComfyNode], *args: Any, **kwargs: Any) -> io.NodeOutput:
        schema = cls.SCHEMA or cls.define_schema()
        with speaking(schema.display_name):
            given = signature.bind(cls, *args, **_gathered(schema, kwargs))
            given.apply_defaults()
            values = {**given.arguments, **given.arguments.get("options", {})}
            for item in schema.inputs:
                if item.id in _ASKED_BY_NODES and isinstance(item, io.Combo.Input):
                    _check_type(values[item.id], str, label(schema.node_id, item.id))
                elif item.id in values:
                    _check(item, values[item.id], label(schema.node_id, item.id), schema.node_id)
            return execute(cls, *args, **kwargs)

    return run


def typed_problem(node: type[io.ComfyNode], **values: Any) -> str | None:
    """What is wrong with values that a person typed or chose, by the node's own schema; None: nothing.

    For `validate_inputs`, to which ComfyUI leaves the checks of all inputs that it names.

    Args:
        node: The node's class.
        values: By the inputs' ids; None where something is connected, which `checked` looks at later.
    """
    schema = node.define_schema()
    try:
        for item in schema.inputs:
            if values.get(item.id) is not None:
                _check(item, values[item.id], label(schema.node_id, item.id), schema.node_id)
    except Refusal as refusal:
        return str(refusal)
    return None


def _gathered(schema: io.Schema, given: dict[str, Any]) -> dict[str, Any]:
    """What a node was given, with each choice and the inputs that it shows in one: where the choice comes over a wire,
    ComfyUI hands them over one by one."""
    for item in schema.inputs:
        prefix = f"{item.id}."
        shown = {name.removeprefix(prefix): given.pop(name) for name in list(given) if name.startswith(prefix)}
        if isinstance(item, io.DynamicCombo.Input) and (shown or isinstance(given.get(item.id), str)):
            given[item.id] = {item.id: given.get(item.id), **shown}
    return given


def label(node: str, name: str) -> str:
    """What an input is called on a node: as the English translation says, else its id in words."""
    return _labels().get(node, {}).get("inputs", {}).get(name, {}).get("name", name.replace("_", " "))


@cache
def _labels() -> dict:
    return json.loads(_LABELS.read_text(encoding="utf-8"))


def _check(item: io.Input, value: Any, name: str, node: str) -> None:
    kinds = item.get_io_type().split(",")
    if isinstance(item, io.DynamicCombo.Input):
        _check_dynamic_combo(item, value, name, node)
    elif isinstance(item, io.Combo.Input):
        _check_choice(value, item.options, name)
    elif isinstance(item, (io.Int.Input, io.Float.Input)):
        _check_number(item, value, name)
    elif isinstance(item, (io.String.Input, io.Boolean.Input)):
        _check_type(value, str if isinstance(item, io.String.Input) else bool, name)
    elif all(kind in WIRES for kind in kinds) and not (value is None and item.optional):
        _check_wire(kinds, value, name)


def _check_wire(kinds: list[str], value: Any, name: str) -> None:
    """A value of one of several types of wire."""
    refusals = []
    for kind in kinds:
        try:
            return WIRES[kind](value, name)
        except Refusal as refusal:
            refusals.append(refusal)
    if len(kinds) == 1:
        raise refusals[0]
    raise Refusal(f"'{name}' is of the type {type(value).__name__}; connect {' / '.join(kinds)}.")


def _check_number(item: io.Int.Input | io.Float.Input, value: Any, name: str) -> None:
    whole = isinstance(item, io.Int.Input)
    form = "d" if whole else "g"
    least, most = f"{item.min:{form}}", f"{item.max:{form}}"
    if whole and not isinstance(value, numbers.Integral):
        raise Refusal(f"'{name}' is {_shown(value)}; choose a whole number from {least} to {most}.")
    if not isinstance(value, numbers.Real):
        raise Refusal(f"'{name}' is {_shown(value)}; choose a number from {least} to {most}.")
    if not (math.isfinite(value) and item.min <= value <= item.max):
        raise Refusal(f"'{name}' is {value:{form}}; choose {least} to {most}.")


def _check_choice(value: Any, options: list, name: str) -> None:
    if not isinstance(value, str) or value not in options:
        raise Refusal(f"'{name}' is {_shown(value)}; choose {', '.join(options)}.")


def _check_type(value: Any, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        expected = "a text" if kind is str else "on or off"
        raise Refusal(f"'{name}' is {_shown(value)}; expected {expected}.")


def _check_dynamic_combo(item: io.DynamicCombo.Input, value: Any, name: str, node: str) -> None:
    """A choice and the inputs that it shows."""
    values = value if isinstance(value, dict) else {}
    options = {option.key: option.inputs for option in item.options}
    choice = values.get(item.id, value if not isinstance(value, dict) else None)
    _check_choice(choice, list(options), name)
    for nested in options[choice]:
        if nested.id in values:
            _check(nested, values[nested.id], label(node, f"{item.id}_{nested.id}"), node)


def _shown(value: Any) -> str:
    """A value in a sentence: short texts and numbers as they are, others by their type."""
    if value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 60):
        return str(value) if value != "" else "an empty text"
    return f"of the type {type(value).__name__}"
