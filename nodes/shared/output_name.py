"""The 'filename prefix' of nodes that write into ComfyUI's output folder."""

from pathlib import PurePath


def prefix_problem(prefix: str, node: str) -> str | None:
    """What is wrong with a prefix, in one sentence, or None; node: the name of the node that asks."""
    path = PurePath(prefix)
    if path.name and not path.is_absolute() and ".." not in path.parts and "\0" not in prefix:
        return None
    return (
        f"{node}: 'filename prefix' is '{prefix}'; expected a name, with folders before it if wanted, inside "
        "ComfyUI's output folder."
    )
