"""What a person sees: one file per stage of the graph, from video to video."""
from ..fatezero.compat import ComfyExtension


class FateZeroExtension(ComfyExtension):
    """The pack's nodes, in the order in which a clip meets them."""

    async def get_node_list(self):
        from .inflate import InflateUNet

        return [InflateUNet]
