"""Other nodes on the edit's model that were not there at the inversion, and what becomes of the source's rows."""

from ..network.other_nodes import RESIZING, names_on
from ..source.source_run import SourceRun


def added_nodes(model, source: SourceRun) -> frozenset[str]:
    """The names of nodes on a ModelPatcher that were not on the model of the inversion and can be kept from the
    source's rows."""
    return _added(model, source).difference(RESIZING)


def what_changed(model, source: SourceRun) -> list[str]:
    """What to tell of the nodes that are on a ModelPatcher now or were there at the inversion, not both."""
    if source.made_with is None:
        return []
    added, lost = added_nodes(model, source), set(source.made_with).difference(names_on(model))
    through = _added(model, source).difference(added)
    texts = [
        (added, "not on the model at the inversion: the source is replayed without it, in calls of its own"),
        (through, "not on the model at the inversion, and changes sizes: the source is replayed through it"),
        (lost, "on the model at the inversion, and is not now: the source is replayed without it"),
    ]
    return [f"{name} was {text}" for names, text in texts for name in sorted(names)]


def _added(model, source: SourceRun) -> frozenset[str]:
    return frozenset() if source.made_with is None else frozenset(names_on(model)).difference(source.made_with)
