"""What Video Load shows as soon as a clip is chosen, since browsers play little of what we read.

The page asks the server for it; it is made beside the prompts that run, one preview at a time.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

import torch

from ...fatezero.refusal import Refusal
from ...fatezero.video.running import beside_runs

ROUTE = "/fatezero/clip"


def register_clip_route(preview: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Lets the page ask for previews.

    Args:
        preview: Makes what the node shows (a `ui`) of its widgets' values; raises Refusal.
    """
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    if getattr(server, "instance", None) is None:  # imported by a test or a tool
        return
    from aiohttp import web

    one_at_a_time = asyncio.Semaphore(1)

    @server.instance.routes.post(ROUTE)
    async def clip(request: web.Request) -> web.Response:
        values = await request.json()
        async with one_at_a_time:
            return web.json_response(await asyncio.to_thread(_shown, preview, values))


def _shown(preview: Callable[[dict[str, Any]], dict[str, Any]], values: Any) -> dict[str, Any]:
    try:
        with beside_runs(), torch.inference_mode():
            return preview(values)
    except Refusal as refusal:
        return {"text": [str(refusal)]}
    except Exception:  # a courtesy: whatever it is, the node itself will say so when it runs
        logging.exception("FateZero: no preview of the clip")
        return {"text": []}
