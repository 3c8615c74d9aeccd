"""A small network that says what a picture of the demo world shows, as CLIP and LPIPS do for photographs.

It gives embeddings of pictures and prompts in one space, probabilities of each colour, shape, ground and style, and the
feature maps behind a perceptual distance. It knows only that world; `train.py` trained it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import safe_open

WEIGHTS = Path(__file__).parent / "judge.safetensors"


@dataclass(frozen=True)
class Reading:
    """What each picture shows, as probabilities in the order of the judge's `colors`, `shapes`, `grounds`, `styles`.

    things [n, 8, 6]: a thing of that colour and shape is there; colors [n, 8]; shapes [n, 6]; ground [n, 6] and
    style [n, 3] sum to 1. Pencil sketches hide colours: there `things` and `colors` mean nothing.
    """

    things: torch.Tensor
    colors: torch.Tensor
    shapes: torch.Tensor
    ground: torch.Tensor
    style: torch.Tensor


class Residual(nn.Module):
    """x + conv(x), with normalisation."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv(F.silu(self.norm(x)))


class Stage(nn.Module):
    """Halves height and width; the kernel is even, so that each place stands for the middle of its pixels."""

    def __init__(self, before: int, width: int, kernel: int, blocks: int):
        super().__init__()
        self.down = nn.Conv2d(before, width, kernel, stride=2, padding=kernel // 2 - 1)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))

    def forward(self, x):
        return F.silu(self.blocks(self.down(x)))


class Judge(nn.Module):
    """The network; `config` holds its sizes, words and the names of colours, shapes, grounds and styles."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        self.colors, self.shapes, self.grounds, self.styles = (
            tuple(config[name]) for name in ("colors", "shapes", "grounds", "styles")
        )
        self.words = {word: number for number, word in enumerate(config["words"], 1)}  # 0 fills up short prompts
        widths, text, width = config["widths"], config["text_width"], config["embedding"]
        self.stages = nn.ModuleList(
            Stage(before, after, kernel, blocks)
            for before, after, kernel, blocks in zip((3, *widths), widths, (6, 4, 4, 4), config["blocks"])
        )
        self.place = nn.Conv2d(widths[-1], 1 + len(self.colors) + len(self.shapes), 1)
        self.whole = nn.Linear(2 * widths[-1], len(self.grounds) + len(self.styles))
        facts = (1 + len(self.colors)) * (1 + len(self.shapes)) - 1 + len(self.grounds) + len(self.styles)
        self.image_head = nn.Sequential(nn.Linear(facts, 192), nn.SiLU(), nn.Linear(192, width))
        self.token = nn.Embedding(len(self.words) + 1, text)
        self.phrase = nn.Conv1d(text, 2 * text, 3, padding=1)  # three words: a colour stays with its shape
        self.longer = nn.Conv1d(2 * text, 2 * text, 3, padding=1)
        self.text_head = nn.Sequential(nn.LayerNorm(2 * text), nn.Linear(2 * text, width))
        self.scale = nn.Parameter(torch.tensor(2.5))  # log of the inverse temperature of training

    @torch.no_grad()
    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings [n, d] of length 1. images: IMAGE [n, H, W, 3] of 0..1, of 96 to 192 pixels in multiples of 8."""
        return self.join_image(self.summary(images))

    @torch.no_grad()
    def embed_text(self, prompts: list[str]) -> torch.Tensor:
        """Embeddings [k, d] of length 1. Raises ValueError for a word that the world does not have."""
        return self.join_text(self.tokens(prompts))

    @torch.no_grad()
    def read(self, images: torch.Tensor) -> Reading:
        """What each picture shows. images: IMAGE [n, H, W, 3] of 0..1."""
        return self.reading(*self.look(self.maps(images)[-1]))

    @torch.no_grad()
    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps [n, c, h, w] at a half, a quarter, an eighth and a sixteenth of the size, rounded up."""
        return self.maps(images)

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """`features` with gradients. Raises ValueError for what is not an IMAGE."""
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                f"Judge: the pictures have the shape {list(images.shape)}; expected [pictures, height, width, 3]."
            )
        x, maps = (images.movedim(-1, 1).to(self.place.weight) - 0.5) * 4, []
        x = F.pad(x, (0, -x.shape[3] % 16, 0, -x.shape[2] % 16), mode="replicate")
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def look(self, last: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last features' mean and maximum over the places [n, 2c], and what is at each place [n, 15, h, w]."""
        return torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1), self.place(last)

    def reading(self, pooled: torch.Tensor, place: torch.Tensor) -> Reading:
        """A thing is there if at some place there is a thing, of that colour and of that shape."""
        thing, color, shape = place.flatten(2).split((1, len(self.colors), len(self.shapes)), 1)
        thing, color, shape = thing.sigmoid(), color.softmax(1), shape.softmax(1)
        things = ((thing * color)[:, :, None] * shape[:, None]).amax(-1)
        ground, style = self.whole(pooled).split((len(self.grounds), len(self.styles)), 1)
        return Reading(things, (thing * color).amax(-1), (thing * shape).amax(-1), ground.softmax(1), style.softmax(1))

    def summary(self, images: torch.Tensor) -> torch.Tensor:
        """What the embedding is made of, [n, 71]: the reading as logarithms, scaled to -1..1.

        They are clamped, since no more is known than that; a doubtful picture differs from a sure one. Features that
        bypass the reading made the embedding worse on fresh pictures: there were too few to learn from.
        """
        reading = self.read(images)
        facts = [reading.things.flatten(1), reading.colors, reading.shapes, reading.ground, reading.style]
        return torch.cat(facts, 1).clamp(min=1e-3).log() / 3.5 + 1

    def join_image(self, summary: torch.Tensor) -> torch.Tensor:
        """Embeddings [n, d] of what `summary` returns."""
        return F.normalize(self.image_head(summary), dim=-1)

    def tokens(self, prompts: list[str]) -> torch.Tensor:
        """Numbers of the prompts' words, int64 [k, words], 0 after the last word. Errors as `embed_text`."""
        rows = [prompt.lower().replace(",", " ").replace(".", " ").split() for prompt in prompts]
        for prompt, row in zip(prompts, rows):
            unknown = next((word for word in row if word not in self.words), None)
            if unknown is not None:
                raise ValueError(
                    f"Judge: the word '{unknown}' in '{prompt}' is not one of the demo world's; use only "
                    f"these words: {', '.join(self.words)}."
                )
            if not row:
                raise ValueError("Judge: a prompt is empty; say what the picture shows.")
        tokens = torch.zeros(len(rows), max(map(len, rows), default=1), dtype=torch.long)
        for row, words in zip(tokens, rows):
            row[: len(words)] = torch.tensor([self.words[word] for word in words])
        return tokens.to(self.scale.device)

    def join_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings [k, d] of what `tokens` returns."""
        there = (tokens > 0)[:, None]
        words = F.gelu(self.phrase(self.token(tokens).mT * there)) * there
        words = (words + F.gelu(self.longer(words))) * there
        return F.normalize(self.text_head(words.sum(2) / 4), dim=-1)


def load_judge(path=WEIGHTS) -> Judge:
    """The trained judge, in float32 and in evaluation mode, on the CPU."""
    with safe_open(path, "pt") as file:
        judge = Judge(json.loads(file.metadata()["config"]))
        judge.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})
    return judge.eval().requires_grad_(False)


def perceptual_distance(judge: Judge, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """How different two clips look at each pixel, as LPIPS without learned weights of the channels; [n, H, W] >= 0.

    a, b: IMAGE [n, H, W, 3] of 0..1. The features of each stage are normalised to length 1 at each place; the squared
    differences are summed over the channels, scaled up to the pictures' size and averaged over the stages.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"Perceptual distance: the clips have the shapes {list(a.shape)} and {list(b.shape)}; they must be alike."
        )
    maps = [
        (F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(1, keepdim=True)
        for first, second in zip(judge.features(a), judge.features(b))
    ]
    height, width = a.shape[1:3]
    return torch.stack(
        [
            F.interpolate(one, scale_factor=2**number, mode="bilinear")[:, 0, :height, :width]
            for number, one in enumerate(maps, 1)
        ]
    ).mean(0)
