"""A captioned world of moving shapes, drawn by a program.

Every edit of a prompt has a known answer here: change the scene, draw it again, and compare. The demo model was trained
on these pictures, and the demo clips, the tests and the benchmarks come from the same functions. A scene draws the
same picture on every machine.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

SIZE = 128  # pixels; the side of a training picture
COLORS = {
    "red": (220, 40, 40),
    "blue": (50, 90, 230),
    "yellow": (245, 215, 50),
    "purple": (150, 60, 190),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "black": (25, 25, 25),
    "pink": (250, 140, 190),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
GROUNDS = {
    "grass": "on green grass",
    "sand": "on yellow sand",
    "snow": "on white snow",
    "water": "on blue water",
    "night sky": "in a dark night sky",
    "brick wall": "on a brick wall",
}
STYLES = ("", "pencil sketch", "mosaic")


@dataclass(frozen=True)
class Thing:
    """One shape: centre in fractions of the frame's width and height, radius of its height, angle in radians."""

    color: str
    shape: str
    x: float
    y: float
    r: float
    angle: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A ground with things on it, drawn in order; `style` is one of STYLES and `shift` the ground's drift in units.

    A unit is the pixel of a picture of SIZE; larger pictures have `detail` pixels per unit.
    """

    ground: str
    things: tuple[Thing, ...]
    style: str = ""
    ground_seed: int = 0
    shift: float = 0.0


def caption(scene: Scene) -> str:
    """The prompt that describes a scene, such as `a red star and a blue circle on white snow`."""
    things = " and ".join(f"a {thing.color} {thing.shape}" for thing in scene.things) or "nothing"
    text = f"{things} {GROUNDS[scene.ground]}"
    return f"a {scene.style} of {text}" if scene.style else text


def outline(shape: str) -> np.ndarray:
    """Corner points (points, 2) of a shape around the origin, of radius about 1, y pointing down."""
    turn = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    if shape == "circle":
        return np.stack([np.cos(turn), np.sin(turn)], 1)
    if shape == "square":
        return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.85
    if shape == "triangle":
        corners = (-math.pi / 2, math.pi / 6, 5 * math.pi / 6)
        return np.array([[math.cos(t), math.sin(t)] for t in corners]) * 1.15 + [0, 0.2]
    if shape == "star":
        radii = [1.15 if i % 2 == 0 else 0.48 for i in range(10)]
        turns = [-math.pi / 2 + i * math.pi / 5 for i in range(10)]
        return np.array([[math.cos(t) * r, math.sin(t) * r] for t, r in zip(turns, radii)])
    if shape == "heart":
        x = 16 * np.sin(turn) ** 3
        y = -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn))
        return np.stack([x, y], 1) / 16
    if shape == "cross":
        k = 0.36
        return np.array(
            [[-k, -1], [k, -1], [k, -k], [1, -k], [1, k], [k, k], [k, 1], [-k, 1], [-k, k], [-1, k], [-1, -k], [-k, -k]]
        )
    raise ValueError(f"World: the shape is {shape!r}, but only {', '.join(SHAPES)} can be drawn; choose one of them.")


def ground_image(
    ground: str, seed: int, shift: float, height: int = SIZE, width: int = SIZE, detail: int = 1
) -> np.ndarray:
    """The ground alone: float32 RGB (height, width, 3) in 0..255.

    Args:
        ground: one of GROUNDS
        seed: of the texture
        shift: how far the texture has moved to the left, in units
        height, width: of the picture in pixels
        detail: pixels per unit, in which the textures below are measured

    Raises: ValueError for an unknown ground
    """
    rng = np.random.default_rng(seed)
    units = max(height, width) // detail + 32
    side = units * detail

    def noise(scale):
        coarse = max(2, units // scale)
        field = rng.standard_normal((coarse, coarse)).astype(np.float32)
        return cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC)

    rows = np.mgrid[0:side, 0:side].astype(np.float32)[0] / detail
    if ground == "grass":
        value = 0.5 * noise(16) + 0.5 * noise(4)
        image = np.array([70, 150, 50]) + value[..., None] * np.array([14, 22, 10])
    elif ground == "sand":
        value = 0.5 * np.sin((rows + 6 * noise(24)) * 0.35 + rng.uniform(0, 6)) + 0.3 * noise(4)
        image = np.array([222, 190, 120]) + value[..., None] * np.array([14, 14, 12])
    elif ground == "snow":
        value = 0.6 * noise(24) + 0.2 * noise(6)
        image = np.array([228, 234, 242]) + value[..., None] * np.array([10, 8, 5])
    elif ground == "water":
        value = np.sin((rows * 0.5 + 5 * noise(20)) + rng.uniform(0, 6)) * 0.7 + 0.3 * noise(8)
        image = np.array([40, 130, 190]) + value[..., None] * np.array([12, 20, 22])
    elif ground == "night sky":
        image = np.array([18, 20, 52]) + 0.5 * noise(32)[..., None] * np.array([6, 6, 14])
        for _ in range(60):
            y, x = (rng.integers(0, units, 2) * detail).tolist()
            cv2.circle(image, (x, y), detail, [float(rng.uniform(150, 255))] * 3, -1)
    elif ground == "brick wall":
        image = np.full((side, side, 3), 190.0)
        x0, y0 = rng.integers(0, 24), rng.integers(0, 12)
        for row in range(-1, units // 12 + 2):
            for column in range(-2, units // 24 + 2):
                x, y = int(column * 24 + (12 if row % 2 else 0) + x0) * detail, int(row * 12 + y0) * detail
                brick = np.array([165, 80, 60]) + rng.uniform(-14, 14)
                cv2.rectangle(image, (x, y), (x + 22 * detail - 1, y + 10 * detail - 1), brick.tolist(), -1)
    else:
        raise ValueError(
            f"World: the ground is {ground!r}, but only {', '.join(GROUNDS)} can be drawn; choose one of them."
        )
    top, left = 16 * detail, int(round(shift * detail)) % (32 * detail)
    return image[top : top + height, left : left + width].astype(np.float32)


def thing_mask(thing: Thing, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """The pixels a thing covers: float32 (height, width) in 0..1, anti-aliased."""
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    points = outline(thing.shape) @ np.array([[cos, sin], [-sin, cos]]) * thing.r * height
    points = points + np.array([thing.x * width, thing.y * height])
    oversample = 4
    mask = np.zeros((height * oversample, width * oversample), np.uint8)
    cv2.fillPoly(mask, [np.round(points * oversample).astype(np.int32)], 255)
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def pencil_sketch(image: np.ndarray, scene: Scene, detail: int = 1) -> np.ndarray:
    """The picture as dark lines on paper, each thing lightly shaded: float RGB in 0..255, same size."""
    height, width = image.shape[:2]
    gray = cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(np.float32)
    lines = np.clip(255 * (gray + 40) / (cv2.GaussianBlur(gray, (0, 0), 2.0 * detail) + 40), 0, 255)
    edge, pen = np.zeros_like(gray), np.ones((2 * detail + 1, 2 * detail + 1), np.uint8)
    for thing in scene.things:
        mask = (thing_mask(thing, height, width) > 0.5).astype(np.uint8)
        edge = np.maximum(edge, cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, pen) * 1.0)
        shade = 255 - (255 - cv2.cvtColor(np.uint8([[COLORS[thing.color]]]), cv2.COLOR_RGB2GRAY)[0, 0]) * 0.45
        lines = np.where(mask > 0, np.minimum(lines, shade), lines)
    return np.repeat((lines * (1 - edge) + 40 * edge)[..., None], 3, 2) * np.array([1, 0.985, 0.95])


def mosaic(image: np.ndarray, detail: int = 1) -> np.ndarray:
    """The picture as tiles of 8 units with dark joints: float RGB in 0..255, same size."""
    height, width = image.shape[:2]
    tile = 8 * detail
    small = cv2.resize(image, (width // tile, height // tile), interpolation=cv2.INTER_AREA)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    image[np.arange(height) % tile < detail] *= 0.55
    image[:, np.arange(width) % tile < detail] *= 0.55
    return image


def draw(scene: Scene, height: int, width: int, detail: int) -> np.ndarray:
    """Draw a scene with `detail` pixels per unit: float RGB (height, width, 3) in 0..255."""
    image = ground_image(scene.ground, scene.ground_seed, scene.shift, height, width, detail)
    light = np.linspace(1.08, 0.86, height)[:, None, None]
    for thing in scene.things:
        mask = thing_mask(thing, height, width)[..., None]
        image = image * (1 - mask) + mask * np.clip(np.array(COLORS[thing.color], np.float32) * light, 0, 255)
    image = np.clip(image, 0, 255)
    if scene.style == "pencil sketch":
        image = pencil_sketch(image, scene, detail)
    elif scene.style == "mosaic":
        image = mosaic(image, detail)
    return np.clip(image, 0, 255)


def render(scene: Scene, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Draw a scene: uint8 RGB (height, width, 3). Sizes are multiples of 8, of 16 from twice SIZE on.

    A scene looks the same at every size: from twice SIZE on, its textures and lines grow with it, and it is drawn at
    twice its size and reduced, so that every edge is smooth.
    """
    detail = min(height, width) // SIZE
    if detail < 2:
        return draw(scene, height, width, 1).astype(np.uint8)
    image = draw(scene, 2 * height, 2 * width, 2 * detail)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).round().astype(np.uint8)


def random_thing(rng: np.random.Generator, avoid: Thing | None = None) -> Thing:
    """A thing anywhere in the frame; it tries not to touch `avoid`."""
    for _ in range(50):
        thing = Thing(
            str(rng.choice(list(COLORS))),
            str(rng.choice(SHAPES)),
            rng.uniform(0.22, 0.78),
            rng.uniform(0.22, 0.78),
            rng.uniform(0.13, 0.24),
            rng.uniform(-0.25, 0.25),
        )
        if avoid is None or math.hypot(thing.x - avoid.x, thing.y - avoid.y) > 1.15 * (thing.r + avoid.r):
            return thing
    return thing


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene as in training: mostly one thing, at times two or none, a third of them in a style."""
    first = random_thing(rng)
    chance = rng.uniform()
    things = () if chance < 0.04 else (first,) if chance < 0.7 else (first, random_thing(rng, first))
    style = "" if rng.uniform() < 0.64 else str(rng.choice(STYLES[1:]))
    return Scene(str(rng.choice(list(GROUNDS))), things, style, int(rng.integers(1 << 31)))


def video(scene: Scene, frames: int, seed: int = 0) -> list[Scene]:
    """The scene in motion, one scene per frame: each thing drifts and turns on its own path, the ground moves left.

    The paths depend on the seed and the number of things alone, so an edited scene moves exactly as the original did:
    `[render(s) for s in video(edited, frames, seed)]` is the true edited clip of
    `[render(s) for s in video(scene, frames, seed)]`.
    """
    rng = np.random.default_rng(seed)
    moves = [(rng.uniform(-0.012, 0.012), rng.uniform(-0.012, 0.012), rng.uniform(-0.05, 0.05)) for _ in scene.things]
    clip = []
    for frame in range(frames):
        time = frame - (frames - 1) / 2
        things = tuple(
            replace(thing, x=thing.x + dx * time, y=thing.y + dy * time, angle=thing.angle + turn * time)
            for thing, (dx, dy, turn) in zip(scene.things, moves)
        )
        clip.append(replace(scene, shift=16 + time * 0.6, things=things))
    return clip
