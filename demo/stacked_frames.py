"""An autoencoder of pictures as one of clips, in Wan's layout of time."""

import torch

FRAMES_PER_LATENT = 4  # but the first latent frame, which holds one; as Wan


def stack_frames(frames):
    """The latents of a clip's frames as those of the clip: (n, 1 + 4 k, 4, h, w) -> (n, 16, 1 + k, h, w).

    Four frames are stacked to the channels of one latent frame; the first one holds the first frame four times.
    """
    frames = torch.cat([frames[:, :1].expand(-1, FRAMES_PER_LATENT, -1, -1, -1), frames[:, 1:]], 1)
    return frames.unflatten(1, (-1, FRAMES_PER_LATENT)).flatten(2, 3).transpose(1, 2)


def unstack_frames(latents):
    """The way back from `stack_frames`; the first frame is the mean of its four."""
    frames = latents.transpose(1, 2).unflatten(2, (FRAMES_PER_LATENT, -1)).flatten(1, 2)
    first = frames[:, :FRAMES_PER_LATENT].mean(1, keepdim=True)
    return torch.cat([first, frames[:, FRAMES_PER_LATENT:]], 1)


class StackedFrames(torch.nn.Module):
    """Clips (n, 3, 1 + 4 k, H, W) to latents (n, 16, 1 + k, h, w) and back, each frame by an autoencoder of pictures.

    Wan's own autoencoder is causal in time; here every frame stands for itself.
    """

    def __init__(self, autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def encode(self, clips):
        """The latents of whole latent frames; frames beyond them are left out, as Wan does."""
        count = 1 + (clips.shape[2] - 1) // FRAMES_PER_LATENT * FRAMES_PER_LATENT
        frames = clips[:, :, :count].transpose(1, 2)
        return stack_frames(torch.stack([few_at_a_time(self.autoencoder.encode, clip) for clip in frames]))

    def decode(self, latents):
        frames = unstack_frames(latents)
        return torch.stack([few_at_a_time(self.autoencoder.decode, clip) for clip in frames]).transpose(1, 2)


def few_at_a_time(convert, pictures):
    """Convert pictures (n, ...) eight at a time, for memory."""
    return torch.cat([convert(few) for few in pictures.split(8)])
