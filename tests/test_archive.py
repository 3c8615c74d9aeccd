"""What the Comfy Registry gives out: all that an installed pack needs, and no more. The tests' servers run it."""

import ast


def test_it_holds_what_an_installed_pack_needs_and_no_more(archive):
    assert {path.name for path in archive.iterdir()} == {
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "__init__.py",
        "demo",
        "docs",
        "fatezero",
        "locales",
        "nodes",
        "pyproject.toml",
        "requirements.txt",
        "subgraphs",
        "web",
        "workflows",
    }
    assert {path.name for path in (archive / "demo").iterdir()} == {
        "__init__.py",
        "clips",
        "model.py",
        "stacked_frames.py",
        "toy_sd.safetensors",
        "toy_sd_large.safetensors",
        "toy_wan.safetensors",
        "tuned",
        "video_model.py",
    }


def test_its_modules_import_nothing_that_it_leaves_out(archive):
    for file in archive.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                folder = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                for name in node.names:
                    places = (folder / name.name, folder)
                    assert any(p.is_dir() or p.with_suffix(".py").is_file() for p in places), (
                        f"{file}: {ast.unparse(node)}"
                    )


def test_a_server_loads_the_pack_from_it(either_server, archive):
    link = either_server.base / "custom_nodes" / "fatezero"
    assert link.resolve() == archive
    loader = either_server.object_info("FateZeroLoadDemoModel")["FateZeroLoadDemoModel"]
    assert loader["python_module"] == "custom_nodes.fatezero"
