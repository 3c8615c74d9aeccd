"""Whether parts of the small and of the large demo model are mixed, which have the same shapes: no model notices."""

from collections.abc import Iterator

from ...fatezero.refusal import Refusal
from .foresight import Graph, links, that_run

LOADER, DEFAULT = "FateZeroLoadDemoModel", "small"
PARTS = {"MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "FZ_EDIT", "FZ_SOURCE"}  # what is of one of the two


def refuse_mixed_sizes(graph: Graph | None, asking: str | None = None) -> None:
    """Refuses a graph in which a node that runs takes parts of both sizes.

    Args:
        graph: The prompt that runs, in ComfyUI's API format.
        asking: The id of the node that asks, whose name stands before what it refuses.

    Raises:
        Refusal: Names the node, unless it is the one that asks.
    """
    import nodes  # ComfyUI's

    loaders = [entry for entry in (graph or {}).values() if entry.get("class_type") == LOADER]
    if not graph or len({_size(entry) for entry in loaders}) < 2:
        return
    known: dict[str, set[str]] = {}
    for name in sorted(that_run(graph)):
        made = [_sizes(graph, other, known) for other in _makers(graph, graph[name])]
        if len(set().union(*made)) > 1 and all(len(sizes) < 2 for sizes in made):  # the first one where they meet
            if name == asking:
                raise Refusal(
                    "parts of the small and of the large demo model are connected; connect model, clip and vae of one "
                    "Load Demo Model."
                )
            kind = graph[name].get("class_type", "")
            raise Refusal(
                f"{nodes.NODE_DISPLAY_NAME_MAPPINGS.get(kind, kind)} takes parts of the small and of the large demo "
                "model; connect model, clip and vae of one Load Demo Model."
            )


def _size(loader: dict) -> str:
    return str(loader.get("inputs", {}).get("size", DEFAULT))


def _sizes(graph: Graph, name: str, known: dict[str, set[str]]) -> set[str]:
    """Of which sizes the parts are that come into a node."""
    if name not in known:
        known[name] = set()  # of a graph with a loop, which ComfyUI refuses
        entry = graph.get(name, {})
        before = [_sizes(graph, other, known) for other in _makers(graph, entry)]
        known[name] = {_size(entry)} if entry.get("class_type") == LOADER else set().union(*before)
    return known[name]


def _makers(graph: Graph, entry: dict) -> Iterator[str]:
    """The nodes that a node has such parts from."""
    import nodes  # ComfyUI's

    for other, output in links(entry.get("inputs", {})):
        made = getattr(nodes.NODE_CLASS_MAPPINGS.get(graph.get(other, {}).get("class_type")), "RETURN_TYPES", ())
        if output < len(made) and str(made[output]) in PARTS:
            yield other
