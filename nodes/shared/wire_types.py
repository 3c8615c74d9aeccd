"""The two things of our own that travel along the wires; both are immutable."""

from ...fatezero.compat import io

SourceRunType = io.Custom("FZ_SOURCE")
PromptEditType = io.Custom("FZ_EDIT")
