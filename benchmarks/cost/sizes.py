"""How large each measurement is: on a GPU as people use it, on the CPU so that it ends in minutes."""

from dataclasses import dataclass, replace

# Options of ComfyUI's UNetModel beyond those of the golden UNet (tests/golden_unet.py).
TINY, NARROW, SD15 = "tiny UNet", "SD 1.5 UNet of a fifth of the width", "SD 1.5 UNet"
UNETS = {
    TINY: {
        "num_res_blocks": [1, 1],
        "channel_mult": [1, 2],
        "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1],
    },
    NARROW: {"model_channels": 64, "channel_mult": [1, 2, 4, 4], "num_heads": 8, "context_dim": 768},
    SD15: {"model_channels": 320, "channel_mult": [1, 2, 4, 4], "num_heads": 8, "context_dim": 768},
}


@dataclass(frozen=True)
class Size:
    """A UNet of random weights and a clip. pixels: side of the frames; at_once: frames per chunk, 0 for automatic."""

    unet: str
    pixels: int
    frames: int
    steps: int
    at_once: int = 0

    @property
    def latent(self) -> tuple[int, int]:
        return self.pixels // 8, self.pixels // 8

    def __str__(self):
        chunks = f" in chunks of {self.at_once}" if self.at_once else ""
        return (
            f"{self.unet}, {self.frames} frame{'s' * (self.frames > 1)} of {self.pixels}x{self.pixels}{chunks}, "
            f"{self.steps} step{'s' * (self.steps > 1)}"
        )


@dataclass(frozen=True)
class Plan:
    """The measurements of one run of the bench.

    ratios: against ComfyUI's sampler; clip with frame_counts, and resolution_clip with resolutions: time and memory
    against those; cached: with the source's attention cached; maps: against stored maps; joined: replay in one call or
    two; tuning: a step of the optimizer; profile: where the time goes; repeats: rounds of the timings; clip_repeats: of
    those of clip, resolution_clip and cached.
    """

    ratios: Size
    clip: Size
    frame_counts: tuple[int, ...]
    resolution_clip: Size
    resolutions: tuple[int, ...]
    cached: tuple[Size, ...]
    maps: Size
    joined: tuple[Size, ...]
    tuning: Size
    profile: Size
    repeats: int
    clip_repeats: int

    def clips(self) -> list[Size]:
        return [replace(self.clip, frames=frames) for frames in self.frame_counts]

    def resolution_clips(self) -> list[Size]:
        return [replace(self.resolution_clip, pixels=pixels) for pixels in self.resolutions]


TINIEST = Plan(
    ratios=Size(TINY, 128, 2, 1),
    clip=Size(TINY, 64, 8, 1, at_once=8),
    frame_counts=(8, 64),
    resolution_clip=Size(TINY, 64, 2, 1),
    resolutions=(64, 128),
    cached=(Size(TINY, 64, 2, 2),),
    maps=Size(TINY, 128, 3, 2),
    joined=(Size(TINY, 64, 2, 1), Size(TINY, 128, 2, 1)),
    tuning=Size(TINY, 128, 2, 1),
    profile=Size(TINY, 128, 2, 1),
    repeats=2,
    clip_repeats=1,
)
CPU_SHORT = Plan(
    ratios=Size(SD15, 192, 2, 1),
    clip=Size(NARROW, 128, 8, 1, at_once=8),
    frame_counts=(8, 64),
    resolution_clip=Size(NARROW, 128, 2, 1),
    resolutions=(128, 256),
    cached=(Size(NARROW, 128, 8, 2, at_once=4),),
    maps=Size(NARROW, 192, 2, 2),
    joined=(Size(NARROW, 128, 8, 1), Size(SD15, 192, 1, 1)),
    tuning=Size(NARROW, 192, 4, 1),
    profile=Size(SD15, 192, 1, 1),
    repeats=3,
    clip_repeats=2,
)
CPU_FULL = Plan(
    ratios=Size(SD15, 256, 2, 2),
    clip=Size(SD15, 128, 8, 1, at_once=8),
    frame_counts=(8, 64),
    resolution_clip=Size(SD15, 256, 2, 1),
    resolutions=(256, 512),
    cached=(Size(NARROW, 256, 8, 2, at_once=8), Size(NARROW, 256, 32, 2, at_once=8)),
    maps=Size(NARROW, 256, 4, 3),
    joined=(Size(NARROW, 128, 8, 1), Size(NARROW, 256, 1, 1), Size(SD15, 256, 2, 1), Size(SD15, 256, 1, 1)),
    tuning=Size(SD15, 128, 4, 1),
    profile=Size(SD15, 384, 1, 1),
    repeats=3,
    clip_repeats=3,
)
GPU_SHORT = Plan(
    ratios=Size(SD15, 512, 8, 5),
    clip=Size(SD15, 512, 8, 3),
    frame_counts=(8, 64, 128),
    resolution_clip=Size(SD15, 512, 8, 3),
    resolutions=(256, 512),
    cached=(Size(SD15, 512, 8, 5),),
    maps=Size(SD15, 256, 8, 2),
    joined=(Size(SD15, 256, 8, 1), Size(SD15, 512, 2, 1), Size(SD15, 512, 8, 1)),
    tuning=Size(SD15, 512, 8, 1),
    profile=Size(SD15, 512, 8, 1),
    repeats=3,
    clip_repeats=1,
)
GPU_FULL = Plan(
    ratios=Size(SD15, 512, 8, 50),
    clip=Size(SD15, 512, 8, 50),
    frame_counts=(8, 32, 64, 128),
    resolution_clip=Size(SD15, 512, 8, 10),
    resolutions=(256, 512, 768),
    cached=(Size(SD15, 512, 8, 10), Size(SD15, 512, 32, 10)),  # 50 steps would be 2.3 GB a frame
    maps=Size(SD15, 256, 8, 4),
    joined=(Size(SD15, 256, 8, 1), Size(SD15, 512, 1, 1), Size(SD15, 512, 2, 1), Size(SD15, 512, 8, 1)),
    tuning=Size(SD15, 512, 8, 1),
    profile=Size(SD15, 512, 8, 1),
    repeats=3,
    clip_repeats=1,
)


def plan_for(on_gpu: bool, short: bool) -> Plan:
    if on_gpu:
        return GPU_SHORT if short else GPU_FULL
    return CPU_SHORT if short else CPU_FULL
