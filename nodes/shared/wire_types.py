"""The three things of our own that travel along the wires; all are immutable."""

from ...fatezero.compat import io

SourceRunType = io.Custom("FZ_SOURCE")
PromptEditType = io.Custom("FZ_EDIT")
ClipFitType = io.Custom("FZ_FIT")
