"""ComfyUI's door to the pack."""

from .nodes import FateZeroExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    return FateZeroExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
