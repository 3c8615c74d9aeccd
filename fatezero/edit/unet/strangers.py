"""Other nodes on the edit's model that were not there at the inversion, and what becomes of the source's rows."""

from ...network.inspection.other_nodes import ALL_DIGITS, PASSED_BY_ALL, nodes_on
from ...source.source_run import SourceRun


def added_nodes(model, source: SourceRun) -> frozenset[str]:
    """The names of nodes on a ModelPatcher that were not on the model of the inversion and can be kept from the
    source's rows."""
    return _added(model, source).difference(PASSED_BY_ALL)


def what_changed(model, source: SourceRun) -> list[str]:
    """What to tell of the nodes on a ModelPatcher that are not as they were at the inversion."""
    if source.made_with is None:
        return []
    now, before, added = nodes_on(model), source.made_with, added_nodes(model, source)
    exactly = nodes_on(model, ALL_DIGITS)
    texts = [
        (added, "{} was not on the model at the inversion: the source is replayed without it, in calls of its own"),
        *(
            ({name}, f"{{}} was not on the model at the inversion, and {reason}: the source is replayed through it")
            for name, reason in PASSED_BY_ALL.items()
            if name in _added(model, source)
        ),
        (
            before.keys() - now.keys(),
            "{} was on the model at the inversion, and is not now: the source is replayed without it",
        ),
        (
            {name for name in before.keys() & now.keys() if before[name] not in (now[name], exactly[name])},
            "{} has other values than at the inversion: the source is replayed with those of now",
        ),
    ]
    return [text.format(name) for names, text in texts for name in sorted(names)]


def _added(model, source: SourceRun) -> frozenset[str]:
    return frozenset() if source.made_with is None else frozenset(nodes_on(model)).difference(source.made_with)
