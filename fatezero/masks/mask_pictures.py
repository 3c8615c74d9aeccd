"""Masks as pictures: checked, resized, grown, feathered, smoothed over time and drawn over a clip."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from comfy.model_management import throw_exception_if_processing_interrupted

from ..refusal import Refusal
from .sliding import sliding_max, sliding_mean

TOUCHED = 0.1  # share of a cell; less is the edge of a neighbour
SAME_ASPECT = 0.03  # by how much two aspects may differ where sizes are rounded to a grid
TINT = (1.0, 0.1, 0.1)  # red, green and blue of a mask that is laid over pictures
TINTED = 0.5  # how much of a picture it hides


def checked_mask(mask: torch.Tensor, images: torch.Tensor, name: str) -> torch.Tensor:
    """A mask in the form that the other functions here expect.

    Args:
        mask: The node's 'mask'; [h, w] or [1 or n, h, w], finite, of any size.
        images: The clip that it is for, [n, H, W, 3].
        name: The input of the images, as on the node.

    Returns:
        float32 [1 or n, H, W], clamped to 0..1.

    Raises:
        Refusal: For another number of frames.
    """
    mask = mask[None] if mask.ndim == 2 else mask
    if len(mask) not in (1, len(images)):
        raise Refusal(
            f"'mask' has {len(mask)} frames but '{name}' has {len(images)}; connect one mask, or one for each frame: "
            "Fit Mask brings along one of the original footage."
        )
    return resize_mask(mask.float(), (images.shape[1], images.shape[2])).clamp(0, 1)


def resize_mask(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A mask [n, H, W] of 0..1 at another size (height, width): averaged over the area where that is smaller, else
    interpolated; [n, height, width].

    >>> resize_mask(torch.tensor([[[1., 0], [0, 0]]]), (1, 1))
    tensor([[[0.2500]]])
    """
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask
    if all(old >= new for old, new in zip(mask.shape[-2:], size, strict=True)):
        return F.interpolate(mask[:, None].float(), size=size, mode="area")[:, 0]
    return F.interpolate(mask[:, None].float(), size=size, mode="bilinear", antialias=True)[:, 0]


def is_stretched(mask: torch.Tensor, size: tuple[int, int]) -> bool:
    """Whether it shows that a mask is brought to another aspect.

    Args:
        mask: [h, w] or [1 or n, h, w]; one that is even looks the same, however it is stretched.
        size: (width, height) of what it is for, in pixels.
    """
    height, width = mask.shape[-2:]
    aspects = width * size[1], height * size[0]
    frames = mask.reshape(-1, height * width)
    return 1 - min(aspects) / max(aspects) > SAME_ASPECT and not bool((frames == frames[:, :1]).all())


def stretch_notes(mask: torch.Tensor, size: tuple[int, int]) -> list[str]:
    """What to tell of a mask that is brought to a clip of another aspect; arguments as of `is_stretched`."""
    if not is_stretched(mask, size):
        return []
    height, width = mask.shape[-2:]
    return [
        f"! 'mask' is {width}x{height} but the clip {size[0]}x{size[1]}, so it is stretched; draw it on a frame of the "
        "clip, or use Fit Mask for one of the original footage"
    ]


def touched_cells(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The cells that a mask [n, H, W] of 0..1 covers by more than a tenth; float32 [n, height, width] of 0 and 1.

    >>> touched_cells(torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]), (1, 2))
    tensor([[[1., 0.]]])
    """
    return (resize_mask(mask, size) > TOUCHED).float()


def grow_mask(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """Grows (or, for negative pixels, shrinks) a mask [n, H, W] by a square of that radius.

    >>> grow_mask(torch.tensor([[[0., 0, 0, 1]]]), 2)
    tensor([[[0., 1., 1., 1.]]])
    """
    if pixels == 0:
        return mask
    if pixels < 0:
        return _each_frame(mask, lambda frame: -sliding_max(-frame, -pixels))
    return _each_frame(mask, lambda frame: sliding_max(frame, pixels))


def feather_mask(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """Softens the edge of a mask [n, H, W] of 0..1 into a ramp of `pixels` to each side.

    Two box blurs that reach that far together, so that what is 0 beyond their reach stays exactly 0.
    """
    first, second = pixels // 2, pixels - pixels // 2
    return _each_frame(mask, lambda frame: sliding_mean(sliding_mean(frame, first), second).clamp(0, 1))


def smooth_mask(mask: torch.Tensor, frames: int) -> torch.Tensor:
    """Averages a mask [n, H, W] over `frames` neighbours on each side, ends repeated; 0 leaves it as it is.

    >>> smooth_mask(torch.tensor([0., 3, 0]).view(3, 1, 1), 1).flatten()
    tensor([1., 1., 1.])
    """
    if frames == 0:
        return mask
    windows = (torch.arange(index - frames, index + frames + 1).clamp(0, len(mask) - 1) for index in range(len(mask)))
    return _each_frame((mask[window.to(mask.device)] for window in windows), lambda window: window.mean(dim=0))


def overlay(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Images with a mask tinted in, in the images' own precision.

    Args:
        images: [n, H, W, 3] of 0..1.
        mask: [1 or n, H, W] of 0..1.

    Returns:
        A new tensor of the images' shape.
    """
    result = images.clone()
    tint = torch.tensor(TINT, dtype=images.dtype, device=images.device)
    for frame, weight in zip(result, mask.expand(len(images), -1, -1)):  # one by one: a long clip has no room to spare
        frame.lerp_(tint.expand_as(frame), weight.to(frame)[..., None] * TINTED)
    return result


def _each_frame(frames: Iterable[torch.Tensor], change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The frames, each changed by itself; a person can cancel in between."""
    changed = []
    for frame in frames:
        throw_exception_if_processing_interrupted()
        changed.append(change(frame))
    return torch.stack(changed)
