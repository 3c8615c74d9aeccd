"""The edit's own attention carried along the clip's motion, so that what is new agrees from frame to frame.

As TokenFlow (Geyer et al. 2023), with one key frame: a place takes what the most similar place of that frame has got.
The clip's own queries say which is similar; they pass anyway, where the source's attention is read.
"""

import torch

from ..network.attention_layers import Layer
from ..network.frame_chunks import ActiveChunk

SIMILARITIES_AT_ONCE = 1 << 23  # 32 MB: of that many pairs of a query and a place of the key frame


def follow_guide(
    active: ActiveChunk, guide: int, layer: Layer, source_query: torch.Tensor, output: torch.Tensor
) -> torch.Tensor:
    """The output of a self-attention layer, with every frame's taken from the guide's.

    Args:
        active: The chunk that is in the UNet; what later chunks need is carried along in it.
        guide: The frame that is followed, of the first chunk.
        layer: Which one.
        source_query: The source's queries of the chunk's frames, [b, tokens, C].
        output: The edit's own output, [b, tokens, C].

    Returns:
        [b, tokens, C].
    """
    name = ("followed", layer)
    place = active.frames.index(guide) if active.index == 0 else None
    if place is None:
        query, value = active.carried[name]
    else:
        query, value = source_query[place], output[place]
        if not active.is_last:
            active.carried[name] = query.clone(), value.clone()
    followed = value[nearest(source_query.flatten(0, 1), query)].unflatten(0, output.shape[:2])
    if place is not None:
        followed[place] = value
    return followed


def nearest(query: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """For each token the most similar of other tokens, by the cosine.

    Args:
        query: [tokens, C].
        others: [tokens', C].

    Returns:
        int64 [tokens].

    >>> nearest(torch.tensor([[1.0, 0.1], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [5.0, 0.0]]))
    tensor([1, 0])
    """
    directions = torch.nn.functional.normalize(others.float(), dim=-1).T
    at_once = max(1, SIMILARITIES_AT_ONCE // len(others))
    return torch.cat([(part.float() @ directions).argmax(dim=-1) for part in query.split(at_once)])
