"""Nodes that give out what no sound node does, to test what meets it on a real ComfyUI."""

import sys


class MalformedSource:
    """A source run that lost its fields on the way."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("FZ_SOURCE",), "make", "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        kind = next(
            module.SourceRun for name, module in list(sys.modules.items()) if name.endswith("source.source_run")
        )
        return (kind.__new__(kind),)


NODE_CLASS_MAPPINGS = {"TestMalformedSource": MalformedSource}
