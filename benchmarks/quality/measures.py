"""How good an edited clip is, against what the edited scene really gives; all measures are means over frames."""

import math
from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from fatezero_pack.demo import world
from fatezero_pack.fatezero.report import metrics

from .cases import Case
from .judge.network import Judge, Reading, perceptual_distance
from .located import LOCATED, located
from .motion import motion
from .steadiness import STEADINESS, steadiness
from .strength import STRENGTH, strength

VERSION = 2  # raise it when a measure changes, so that earlier figures are not taken for new ones
# name: (what it is, unit, whether more is better)
MEASURES = {
    "psnr_inside": ("PSNR to the truth inside the edited thing, -10 log10 mean (clip - truth)²", "dB", True),
    "psnr_outside": ("PSNR to the truth outside it", "dB", True),
    "psnr": ("PSNR to the truth of the whole picture", "dB", True),
    "perceptual_inside": (
        "squared distance of the judge's features, of unit length at each place, to the truth's (as "
        "LPIPS, without learned weights) inside the edited thing",
        "",
        False,
    ),
    "perceptual_outside": ("the same outside it", "", False),
    "perceptual": ("the same of the whole picture", "", False),
    "success": (
        "share of frames in which the judge finds every fact that the edit adds and none that it takes away",
        "%",
        True,
    ),
    "kept": ("share of frames in which the judge still finds every fact that both prompts state", "%", True),
    "difference_error": ("mean |(clip_i+1 - clip_i) - (truth_i+1 - truth_i)|", "of 255", False),
    "flicker": (
        "mean |clip_i+1 at the place it moved to - clip_i| along the known motion, edges left out",
        "of 255",
        False,
    ),
    "tem_con": ("cosine of the judge's embeddings of neighbouring frames (FateZero's Tem-Con)", "%", True),
    "frame_acc": (
        "share of frames no farther from the target than from the source prompt (FateZero's Frame-Acc)",
        "%",
        True,
    ),
}
EVERY_MEASURE = {**MEASURES, **LOCATED, **STEADINESS, **STRENGTH}


def measure(case: Case, clip: torch.Tensor, truth: torch.Tensor, judge: Judge) -> dict[str, float]:
    """EVERY_MEASURE of a clip [n, H, W, 3] of 0..1; NaN where one does not apply."""
    pixels = pixel_measures(case, clip, truth)
    if case.word:
        return {**dict.fromkeys(EVERY_MEASURE, math.nan), **pixels, "strength": strength(case, clip)}
    detail = min(case.height, case.width) // world.SIZE  # the judge knows pictures of the world's own size
    small = replace(case, height=case.height // detail, width=case.width // detail)
    clip, truth = (reduced(images, detail) for images in (clip, truth))
    judged = judged_measures(small, clip, truth, judge)
    return {**pixels, **judged, **located(small, clip, judge), **steadiness(small, clip), "strength": math.nan}


def reduced(images: torch.Tensor, detail: int) -> torch.Tensor:
    """Pictures [n, H, W, 3] to a `detail`-th of their height and width."""
    return images if detail < 2 else F.avg_pool2d(images.movedim(-1, 1), detail).movedim(1, -1)


def pixel_measures(case: Case, clip: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """What needs no judge."""
    region = case.edited_region().float()
    moves = case.frames > 1
    return {
        "psnr_inside": metrics.mean(metrics.psnr(clip, truth, region)),
        "psnr_outside": metrics.mean(metrics.psnr(clip, truth, 1 - region)),
        "psnr": metrics.mean(metrics.psnr(clip, truth)),
        "difference_error": 255 * float((clip.diff(dim=0) - truth.diff(dim=0)).abs().mean()) if moves else math.nan,
        "flicker": 255 * flicker(case, clip) if moves else math.nan,
    }


def judged_measures(case: Case, clip: torch.Tensor, truth: torch.Tensor, judge: Judge) -> dict[str, float]:
    """What the judge says of pictures of its own size."""
    region = case.edited_region().float()
    distance = perceptual_distance(judge, clip, truth)
    success, kept = success_and_kept(case, judge.read(clip))
    embeddings = judge.embed_images(clip)
    texts = judge.embed_text([case.source_prompt, case.target_prompt])
    consistency = metrics.mean(metrics.temporal_consistency(embeddings)) if case.frames > 1 else math.nan
    return {
        "perceptual_inside": weighted_mean(distance, region),
        "perceptual_outside": weighted_mean(distance, 1 - region),
        "perceptual": float(distance.mean()),
        "success": 100 * success,
        "kept": 100 * kept,
        "tem_con": 100 * consistency,
        "frame_acc": 100 * metrics.mean(metrics.frame_accuracy(embeddings, *texts)),
    }


def weighted_mean(values: torch.Tensor, weight: torch.Tensor) -> float:
    return float((values * weight).sum() / weight.sum()) if weight.any() else math.nan


def facts(scene: world.Scene) -> set[tuple[str, str]]:
    """What a scene's prompt says of it: ("ground", "snow"), ("color", "red"), ..."""
    things = {fact for thing in scene.things for fact in (("shape", thing.shape), ("color", thing.color))}
    return {("ground", scene.ground), ("style", scene.style), *things}


def found(reading: Reading, fact: tuple[str, str]) -> torch.Tensor:
    """Whether the judge finds a fact in each frame, bool [n]."""
    kind, name = fact
    if kind == "color":
        return reading.colors[:, list(world.COLORS).index(name)] > 0.5
    if kind == "shape":
        return reading.shapes[:, world.SHAPES.index(name)] > 0.5
    probabilities, names = (reading.ground, list(world.GROUNDS)) if kind == "ground" else (reading.style, world.STYLES)
    return probabilities.argmax(dim=1) == names.index(name)


def success_and_kept(case: Case, reading: Reading) -> tuple[float, float]:
    """The shares of frames, 0..1, that show what the edit changes, and that keep what it does not."""
    source, target = facts(case.source), facts(case.target)
    if case.kind == "adjective":
        source = {fact for fact in source if fact[0] != "color"}  # unsaid: what it was is not asked for
    gone, new, shared = source - target, target - source, source & target
    if case.target.style == "pencil sketch":  # where neither colour nor, to the judge, most grounds can be seen
        shared = {fact for fact in shared if fact[0] not in ("color", "ground")}
    every = torch.ones(len(reading.ground), dtype=torch.bool)
    success, kept = every.clone(), every.clone()
    for fact in new:
        success &= found(reading, fact)
    for fact in gone:
        success &= ~found(reading, fact)
    for fact in shared:
        kept &= found(reading, fact)
    return float(success.float().mean()), float(kept.float().mean())


def flicker(case: Case, clip: torch.Tensor) -> float:
    """Mean difference of neighbouring frames at the same point of the same thing, 0..1; see `motion`."""
    scenes = case.scenes(case.target)
    differences = []
    for first, second, now, following in zip(scenes, scenes[1:], clip, clip[1:]):
        places, visible = motion(first, second, case.height, case.width)
        moved = cv2.remap(following.numpy(), places[..., 0], places[..., 1], cv2.INTER_LINEAR)
        differences.append(np.abs(moved - now.numpy()).mean(axis=2)[visible].mean())
    return float(np.mean(differences))
