"""The sentences that the code says, as the translations have them: {} where something is put in."""

import ast


def template(node: ast.JoinedStr) -> str:
    """An f-string's text. "{counted(n, 'frame')}" is "{} frame{}": a number, a noun and its plural's ending."""
    return "".join(part.value if isinstance(part, ast.Constant) else _place(part.value) for part in node.values)


def _place(value: ast.expr) -> str:
    if isinstance(value, ast.Call) and getattr(value.func, "id", None) == "counted":
        return f"{{}} {value.args[1].value}{{}}"
    return "{}"
