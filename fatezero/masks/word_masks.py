"""Masks from cross-attention: where in each frame the words of a prompt are (FateZero Eq. 6)."""

import torch
import torch.nn.functional as F

from ..network.word_maps import OFFICIAL_CELLS

AUTOMATIC = 0.0  # as a threshold: one for each frame, by itself (a real threshold of 0 would leave nothing out)


def words_mask(
    word_maps: torch.Tensor, tokens, size: tuple[int, int], threshold: float, cells: int = OFFICIAL_CELLS, without=()
) -> torch.Tensor:
    """One binary mask per frame from the attention that some words get.

    Source: FateZero Eq. 6; as the official code: sum over tokens, 3x3 max-pool, nearest resize, normalise, threshold.

    Args:
        word_maps: [n, T, h, w].
        tokens: Positions of the words' tokens.
        size: (height, width) of the mask.
        threshold: tau, 0..1, or AUTOMATIC. The map, divided by its maximum in the frame, must be strictly greater; 1
            gives an empty mask.
        cells, without: As for `words_heat`.

    Returns:
        float32 [n, height, width] of 0 and 1; empty where no token is given.

    >>> words_mask(torch.eye(2).view(1, 1, 2, 2), [0], (2, 2), 1.0).sum()
    tensor(0.)
    """
    return heat_mask(words_heat(word_maps, tokens, size, cells, without), threshold)


def words_heat(
    word_maps: torch.Tensor, tokens, size: tuple[int, int], cells: int = OFFICIAL_CELLS, without=()
) -> torch.Tensor:
    """The attention map that `words_mask` thresholds.

    Maps of fewer than 16 cells are first brought to 16 on their shorter side, so that the max-pool widens by no more of
    the frame than in the official code.

    Args:
        word_maps: [n, T, h, w].
        tokens: Positions of the words' tokens.
        size: (height, width) of the result.
        cells: To how many on their shorter side smaller maps are brought; 1 takes maps of any size as they are.
        without: Positions of tokens whose attention is taken off first, such as those of the thing beside.

    Returns:
        float32 [n, height, width] of 0..1; the maximum of each frame is 1, unless all is 0.

    >>> maps = torch.zeros(1, 1, 16, 16)
    >>> maps[0, 0, 0, 0] = 0.2
    >>> words_heat(maps, [0], (16, 16))[0, :3, :3]
    tensor([[1., 1., 0.],
            [1., 1., 0.],
            [0., 0., 0.]])
    """
    frames, height, width = word_maps.shape[0], *word_maps.shape[-2:]
    if len(tokens) == 0:
        return torch.zeros(frames, *size, device=word_maps.device)
    heat = _attention(word_maps, tokens, without)[:, None]
    if (finer := cells / min(height, width)) > 1:
        heat = F.interpolate(heat, size=(round(height * finer), round(width * finer)), mode="bilinear")
    heat = F.interpolate(F.max_pool2d(heat, 3, stride=1, padding=1), size=size)[:, 0]
    return heat / heat.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def words_strength(word_maps: torch.Tensor, tokens, without=()) -> torch.Tensor:
    """The most attention that words get anywhere in each frame; arguments as of `words_heat`, result [n].

    >>> words_strength(torch.tensor([[[[0.5, 0.25]]], [[[0.0, 0.125]]]]), [0])
    tensor([0.5000, 0.1250])
    """
    return _attention(word_maps, tokens, without).flatten(1).amax(dim=1)


def _attention(word_maps: torch.Tensor, tokens, without) -> torch.Tensor:
    """The attention that words get together, [n, h, w], from 0."""
    attention = word_maps[:, list(tokens)].float().sum(dim=1)
    if len(without) > 0:
        attention = (attention - word_maps[:, list(without)].float().sum(dim=1)).clamp_min(0)
    return attention


def heat_mask(heat: torch.Tensor, threshold: float) -> torch.Tensor:
    """Where the heat [n, h, w] of 0..1 is above a threshold, or where AUTOMATIC is above the one of its frame.

    >>> heat_mask(torch.tensor([[[0.2, 0.8]]]), 0.5)
    tensor([[[0., 1.]]])
    """
    return (heat > (automatic_thresholds(heat) if threshold == AUTOMATIC else threshold)).float()


def softened(mask: torch.Tensor) -> torch.Tensor:
    """A mask [n, h, w] whose edge is a slope of two cells: the mean over each cell and its neighbours.

    >>> softened(torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]))
    tensor([[[0.0000, 0.3333, 0.6667, 1.0000]]])
    """
    return F.avg_pool2d(mask[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]


def automatic_thresholds(heat: torch.Tensor) -> torch.Tensor:
    """The heat that parts each frame's places best into two groups; [n, 1, 1].

    Best: the greatest variance between the groups, w(1 - w)(m_1 - m_0)² with the share w and the means m. A frame of
    one value gets that value, and so an empty mask. Source: Otsu 1979.

    >>> automatic_thresholds(torch.tensor([[[0.1, 0.2], [0.8, 0.9]]])).item()
    0.20000000298023224
    """
    values = heat.flatten(1).to(widest_float(heat.device)).sort(dim=1).values
    count = values.shape[1]
    below = torch.arange(1, count + 1, device=heat.device)
    sums = values.cumsum(dim=1)
    share = below / count
    means = sums / below
    others = (sums[:, -1:] - sums) / (count - below).clamp_min(1)
    between = share * (1 - share) * (others - means) ** 2
    return values.gather(1, between.argmax(dim=1, keepdim=True))[..., None].to(heat)


def widest_float(device: torch.device) -> torch.dtype:
    """The most precise numbers that a device knows: Apple's GPUs know no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
