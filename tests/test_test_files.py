"""The test files themselves: helpers and fixtures that several need stand in helper files, once."""

import ast
from collections import defaultdict
from pathlib import Path

TREES = {file.name: ast.parse(file.read_text(encoding="utf-8")) for file in Path(__file__).parent.glob("test_*.py")}


def imported(tree):
    """The first names of all modules that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def is_fixture(node):
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any("fixture" in ast.unparse(decorator) for decorator in decorators)


def test_no_test_file_imports_another():
    found = {name: {module for module in imported(tree) if f"{module}.py" in TREES} for name, tree in TREES.items()}
    assert not {name: modules for name, modules in found.items() if modules}


def test_no_fixture_stands_twice():
    places = defaultdict(list)
    for name, tree in TREES.items():
        own = {function.name: function for function in tree.body if is_fixture(function)}
        for function in own.values():
            if not own.keys() & {argument.arg for argument in function.args.args}:  # else it differs with those
                places[ast.unparse(function)].append(name)
    assert not {fixture: names for fixture, names in places.items() if len(names) > 1}
