"""What a cell of a latent holds of its clip, and a video model's latent as one latent for each of its frames."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Cell:
    """How many pixels of width and height, and how many of a clip's frames, one cell of a latent holds.

    The first latent frame of a video model holds one frame of the clip.
    """

    pixels: int = 8
    frames: int = 1

    @property
    def is_video(self) -> bool:
        return self.frames > 1

    def clip_frames(self, latent_frames: int) -> int:
        """How many frames of the clip so many latent frames hold."""
        return 1 + (latent_frames - 1) * self.frames

    def latent_frames_of(self, latent_frames: int) -> list[int]:
        """For each frame of the clip, the latent frame that holds it.

        >>> Cell(frames=4).latent_frames_of(3)
        [0, 1, 1, 1, 1, 2, 2, 2, 2]
        """
        return [(frame + self.frames - 1) // self.frames for frame in range(self.clip_frames(latent_frames))]


def frames_first(latent: torch.Tensor) -> torch.Tensor:
    """A video model's latent [1, c, F, h, w] as [F, c, h, w], which is how a source run keeps every clip."""
    return latent[0].transpose(0, 1)


def as_video(latents: torch.Tensor) -> torch.Tensor:
    """The way back from `frames_first`."""
    return latents.transpose(0, 1)[None]
