"""Where frames follow a guide, what the edit draws moves as the clip does."""

import pytest
import torch

from fatezero_pack.fatezero.edit import correspondence
from fatezero_pack.fatezero.edit.correspondence import follow_guide, nearest
from fatezero_pack.fatezero.network.attention_layers import SELF, Layer
from fatezero_pack.fatezero.network.frame_chunks import ActiveChunk, plan_chunks

LAYER = Layer(SELF, ("middle", 0), 0)


def moving_clip(frames=5, tokens=12):
    """Source queries whose places move from frame to frame, where they moved to, and outputs without any order."""
    generator = torch.Generator().manual_seed(1)
    picture = torch.randn(tokens, 8, generator=generator)
    moves = [torch.randperm(tokens, generator=generator) for _ in range(frames)]
    return torch.stack([picture[move] for move in moves]), moves, torch.randn(frames, tokens, 3, generator=generator)


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_places_take_what_they_have_got_in_the_guide(at_once):
    queries, moves, outputs = moving_clip()
    chunks = plan_chunks(("middle",), 5, at_once, layers=1).chunks
    first, followed = ActiveChunk(chunks, 0, 5, {}), torch.empty_like(outputs)
    for active in map(first.at, range(len(chunks))):
        frames = list(active.frames)
        followed[frames] = follow_guide(active, 2, LAYER, queries[frames], outputs[frames])
    back = torch.argsort(moves[2])
    for move, frame in zip(moves, followed):
        assert torch.equal(frame, outputs[2][back[move]])


def test_few_at_once_are_all(monkeypatch):
    queries, _, _ = moving_clip(2, 50)
    expected = nearest(queries[0], queries[1])
    monkeypatch.setattr(correspondence, "SIMILARITIES_AT_ONCE", 7 * 50)
    assert torch.equal(nearest(queries[0], queries[1]), expected)
