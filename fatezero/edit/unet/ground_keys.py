"""Self-attention where a thing goes: it sees the ground alone, or the things that stay would come again there.

The idea is Attentive Eraser's (Sun et al. 2025, self-attention redirection). In place of a mask on the attention, which
not every backend has, cells of things show what the nearest cell of the ground shows.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange

from ...masks.mask_pictures import resize_mask
from ...network.frame_chunks import ActiveChunk, FrameChunk
from ...network.unet.inflation import Inflation, spans_key_frames
from ...prompts.prompt_edit import PromptEdit
from ...source.source_run import SourceRun
from ..settings import INPUT_MASK, BlendSettings
from .outline_mask import what_stays


def ground_keys(
    source: SourceRun, edit: PromptEdit, settings: BlendSettings, inflation: Inflation | None
) -> "GroundKeys | None":
    """What self-attention sees in place of a thing that goes, and of the things that stay; but a thing that touches its
    place may go on there.

    Args:
        source: The inverted clip of a picture model.
        edit: The words.
        settings: Whether a thing goes, and the mask that it is in.
        inflation: The model's, whose key frames self-attention spans; None for frames apart.

    Returns:
        The keys; None where nothing goes, or where the mask follows the words and is not known before the run.
    """
    if not settings.mask_uncovers or settings.mask_from != INPUT_MASK or settings.mask is None:
        return None
    latent = source.trajectory[0]
    size = (latent.shape[-2], latent.shape[-1])
    room = resize_mask(settings.mask, size).float().cpu().expand(len(latent), *size)
    stays = what_stays(source, edit, settings)
    return GroundKeys(torch.maximum(room, away_from(stays, room)), stays, inflation)


def away_from(things: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    """The things of a mask that touch a room nowhere in their frame; [n, h, w] of 0..1 each."""
    import cv2

    away = torch.zeros_like(things)
    for place, frame, there in zip(away, things > 0, room > 0):
        count, labels = cv2.connectedComponents(frame.numpy().astype(np.uint8))
        for piece in (torch.from_numpy(labels == label) for label in range(1, count)):
            place[piece] = 0.0 if (piece & there).any() else 1.0
    return away


class GroundKeys:
    """The ground that a clip's self-attention sees in place of things, in layers of any size.

    things: where they are not seen; stays: where those are that stay; [n, h, w] of 0..1 each, of the latent's size.
    """

    def __init__(self, things: torch.Tensor, stays: torch.Tensor, inflation: Inflation | None):
        self.things, self.stays, self.inflation = things, stays, inflation
        self.known: dict[tuple, torch.Tensor] = {}

    def of(
        self, values: Sequence[torch.Tensor], size: tuple[int, int], active: ActiveChunk, width: int, extra: dict
    ) -> tuple[torch.Tensor, ...]:
        """A layer's keys and values with the ground in place of things; as they are where another node has brought some
        of its own.

        Args:
            values: Keys, and values, [b, f·cells, C] of f key frames each.
            size: Height and width of the layer.
            active: The chunk of frames.
            width: Of the layer's hidden states.
            extra: The layer's options.

        Returns:
            Each like the values.
        """
        spans = self.inflation is not None and spans_key_frames(self.inflation, width, extra)
        cells = self.cells(size, active.chunk, spans, values[0].device)
        if any(part.shape[1] != cells.shape[1] for part in values):
            return tuple(part.clone() for part in values)  # the layer's may be overwritten by the source's
        return tuple(part.gather(1, cells[..., None].expand(-1, -1, part.shape[-1])) for part in values)

    def cells(self, size: tuple[int, int], chunk: FrameChunk, spans: bool, device: torch.device) -> torch.Tensor:
        """Of each key of a chunk's frames the key that shows its ground, int64 [b, f·cells], on the device; spans:
        whether frames see their key frames, or themselves."""
        asked = size, spans, chunk.frames, chunk.pool
        if asked not in self.known:  # a GPU waits for it once in a run
            things = F.adaptive_max_pool2d(self.things[:, None].float().cpu(), size)[:, 0]
            seen = torch.tensor(chunk.pool)[chunk.keys.cpu()] if spans else torch.tensor(chunk.frames)[:, None]
            of_frames = nearest_ground(things)[seen]  # [b, f, cells]
            offset = torch.arange(of_frames.shape[1])[:, None] * of_frames.shape[2]
            self.known[asked] = rearrange(of_frames + offset, "b f cells -> b (f cells)").to(device)
        return self.known[asked]


def nearest_ground(things: torch.Tensor) -> torch.Tensor:
    """Of each cell the nearest that no thing is in; where a frame has none, the cell itself.

    Args:
        things: [n, h, w] of 0..1.

    Returns:
        int64 [n, h·w].

    >>> nearest_ground(torch.tensor([[[0.0, 1.0, 1.0, 1.0, 0.0]]])).tolist()
    [[0, 0, 0, 4, 4]]
    """
    import cv2

    found = []
    for frame in (things > 0).numpy().astype(np.uint8):
        own, ground = np.arange(frame.size).reshape(frame.shape), frame == 0
        if not ground.any():
            found.append(own.ravel())
            continue
        _, labels = cv2.distanceTransformWithLabels(frame, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        cell_of = np.zeros(labels.max() + 1, np.int64)
        cell_of[labels[ground]] = own[ground]
        found.append(cell_of[labels].ravel())
    return torch.from_numpy(np.stack(found))
