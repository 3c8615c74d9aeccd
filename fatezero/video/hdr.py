"""HDR and wide-gamut signals (HLG, PQ, BT.2020) as the SDR pictures, with sRGB's colours, that models know."""

import math
from enum import Enum

import torch

REFERENCE_WHITE = 203.0  # cd/m2 of a white sheet in HDR, which becomes SDR's white (ITU-R BT.2408)
PEAK = 1000.0  # cd/m2 of the brightest that is told apart: HLG's nominal peak, and what most PQ clips are made for
KNEE = 0.9  # up to this share of the reference white, nothing is changed

_LUMINANCE = (0.2627, 0.6780, 0.0593)  # of BT.2020's red, green and blue
_TO_BT709 = (  # ITU-R BT.2087: linear BT.2020 to linear BT.709, whose primaries sRGB has
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008349),
    (-0.018151, -0.100579, 1.118730),
)


class Signal(Enum):
    """What the numbers of a picture mean, other than sRGB; the value is its name for people."""

    HLG = "HDR (HLG)"
    PQ = "HDR (PQ)"
    BT2020 = "wide-gamut (BT.2020)"


def signal_of(transfer: int | None, primaries: int | None) -> Signal | None:
    """The signal by FFmpeg's numbers (ITU-T H.273) for transfer characteristics and colour primaries; None: SDR."""
    if transfer == 18:
        return Signal.HLG
    if transfer == 16:
        return Signal.PQ
    return Signal.BT2020 if primaries == 9 else None


def to_sdr(picture: torch.Tensor, signal: Signal) -> torch.Tensor:
    """A picture as an SDR screen shows it best.

    The light that the signal stands for (1: the reference white) is brought from BT.2020 to BT.709 primaries and, if it
    is HDR, tone-mapped: unchanged up to the knee, above it rolled off towards white at the peak, by one factor for all
    three colours, which keeps the hue.

    Args:
        picture: R'G'B' [H, W, 3] of 0..1.
        signal: What its numbers mean.

    Returns:
        sRGB [H, W, 3] of 0..1.
    """
    light = _light(picture, signal) @ torch.tensor(_TO_BT709).T
    if signal is not Signal.BT2020:
        brightest = light.amax(-1, keepdim=True).clamp_min(1e-6)
        light = light * (tone_curve(brightest) / brightest)
    return _srgb(light.clamp(0, 1))


def _light(picture: torch.Tensor, signal: Signal) -> torch.Tensor:
    if signal is Signal.HLG:
        return hlg_light(picture) / REFERENCE_WHITE
    if signal is Signal.PQ:
        return pq_light(picture) / REFERENCE_WHITE
    return picture.pow(2.4)  # BT.1886


def hlg_light(signal: torch.Tensor) -> torch.Tensor:
    """The light of an HLG signal on a display of the nominal peak, whose system gamma is 1.2 (ITU-R BT.2100 table 5).

    Args:
        signal: R'G'B' [..., 3] of 0..1.

    Returns:
        cd/m2 [..., 3].
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = torch.where(signal <= 0.5, signal.square() / 3, (((signal - c) / a).exp() + b) / 12)
    luminance = (scene * torch.tensor(_LUMINANCE)).sum(-1, keepdim=True)
    return PEAK * luminance.clamp_min(1e-9).pow(0.2) * scene


def pq_light(signal: torch.Tensor) -> torch.Tensor:
    """The light in cd/m2 of a PQ signal of 0..1 (ITU-R BT.2100 table 4)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal.double().clamp(0, 1).pow(1 / m2)
    return (10000 * ((power - c1).clamp_min(0) / (c2 - c3 * power)).pow(1 / m1)).float()


def tone_curve(light: torch.Tensor) -> torch.Tensor:
    """Light of 0..PEAK (1: the reference white) brought into 0..1: the same up to the knee, then bent smoothly.

    Reinhard's curve with a white point (Reinhard et al. 2002, eq. 4), moved to begin at the knee with slope 1.
    """
    above = (light - KNEE) / (1 - KNEE)
    most = (PEAK / REFERENCE_WHITE - KNEE) / (1 - KNEE)
    bent = KNEE + (1 - KNEE) * above * (1 + above / math.pow(most, 2)) / (1 + above.clamp_min(0))
    return torch.where(light <= KNEE, light, bent).clamp_max(1)


def _srgb(light: torch.Tensor) -> torch.Tensor:
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp_min(1e-9).pow(1 / 2.4) - 0.055)
