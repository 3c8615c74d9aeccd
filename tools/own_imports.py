"""Looks for imports of our own modules, and of names in them, that are not there.

Type checkers pass over what they cannot find, since ComfyUI and torch may be absent; of our own files all are here.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("fatezero", "nodes", "benchmarks", "demo", "tests", "tools")
AT_THE_TOP = ("benchmarks", "demo", "tests", "tools")  # "nodes" without dots is ComfyUI's
PACK = "fatezero_pack"  # the repository's own name as a package, where tests and benchmarks import it


def missing_imports(root: Path) -> list[str]:
    """A line "file:line: what is not there" for each such import in a repository."""
    files = [*root.glob("*.py"), *(file for folder in FOLDERS for file in sorted((root / folder).rglob("*.py")))]
    return [
        f"{file.relative_to(root).as_posix()}:{line}: there is no {name}"
        for file in files
        for line, name in _absent(file, root)
    ]


def _absent(file: Path, root: Path) -> Iterator[tuple[int, str]]:
    """(line, module or module.name) of each import in a file that leads nowhere."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                place = _place(alias.name, root)
                if place and not _exists(place):
                    yield node.lineno, alias.name
        if isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            if node.level:
                place = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            else:
                place = _place(name, root)
            if place and not _exists(place):
                yield node.lineno, name
            elif place:
                bound = _names(place)
                for alias in node.names:
                    if alias.name not in bound and not _exists(place / alias.name):
                        yield node.lineno, f"{name}: {alias.name}"


def _place(name: str, root: Path) -> Path | None:
    """Where a module of ours lies, without suffix; None for one of someone else's."""
    first, *others = name.split(".")
    if first == PACK:
        return root.joinpath(*others)
    if first in AT_THE_TOP:
        return root.joinpath(first, *others)
    beside = root / "tests" / first  # pytest puts the folder on sys.path
    return beside.joinpath(*others) if _exists(beside) else None


def _exists(place: Path) -> bool:
    return place.with_name(f"{place.name}.py").is_file() or place.is_dir()


def _names(place: Path) -> set[str]:
    """What a module binds, wherever in it: a name bound in a function alone is taken for one of the module's."""
    package = place / "__init__.py"
    file = package if package.is_file() else place.with_name(f"{place.name}.py")
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())) if file.is_file() else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return names
