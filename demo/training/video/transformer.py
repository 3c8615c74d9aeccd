"""Train the transformer and its text encoder."""

import torch

from ..data import load_data
from ..networks import DEVICE, attention_options, autocast, comfy
from ..run import Run
from .data import draw_clips, draw_pairs
from .networks import new_transformer_and_text_encoder
from .sizes import SHIFT
from .text import encode_text, token_ids, tokenizer

PAIR_WEIGHT = 8.0


def draw_sigmas(count, anywhere):
    """Sigmas (n,); the share `anywhere` lies as the sampler's steps do, the others where the words decide."""
    even = torch.rand(count, device=DEVICE)
    spread = SHIFT * even / (1 + (SHIFT - 1) * even)
    return torch.where(torch.rand(count, device=DEVICE) < anywhere, spread, 0.68 + 0.3 * even)


def batch_of(run, data, empty, batch):
    """The latents, masks and tokens of a step of about `batch` pictures, and whether they are pairs.

    Pictures, which are clips of one latent frame, come first, since they are quick; mostly pairs, in windows and in
    whole pictures. Then pairs in windows of clips, too, and whole clips. The last 10 % go without pairs.
    """
    if run.progress < 0.75:
        if run.step % 3:
            return *draw_pairs(data["families_1"], *((batch // 2, 16) if run.step % 6 == 5 else (2 * batch, 8))), True
        return *draw_clips(data["clips_1"], batch, empty), False
    if run.progress < 0.9 and run.step % 4 in (1, 2):
        window = (data["families_1"], batch // 2, 16) if run.step % 4 == 1 else (data["families_5"], batch, 8)
        return *draw_pairs(*window), True
    clips = (data["clips_1"], batch) if run.step % 4 == 3 else (data["clips_9"], batch * 3 // 8)
    return *draw_clips(*clips, empty), False


def flow_loss(model, latents, mask, context, paired, last):
    """The loss of a batch, and for pairs what the words leave unexplained of their difference, 0 to 1."""
    sigma = draw_sigmas(len(latents), anywhere=0.0 if paired else 1.0 if last else 0.5)
    noise = torch.randn_like(latents)
    if paired:
        sigma, noise = (torch.cat([rows[: len(rows) // 2]] * 2) for rows in (sigma, noise))
    level = sigma.view(-1, 1, 1, 1, 1)
    noisy = (1 - level) * latents + level * noise
    with autocast():
        velocity = model(noisy, sigma * 1000, context, transformer_options=attention_options()).float()
    error, unexplained = velocity - (noise - latents), None
    if paired:
        (first, second), (one, other) = error.chunk(2), latents.chunk(2)
        unexplained = (first - second).detach().square().sum() / (one - other).square().sum()
        error = torch.cat([(first + second) / 2, PAIR_WEIGHT**0.5 * (first - second) / 2])
    focus = 1 if last else 1 + 3 * ((0.93 - level) / 0.1).clamp(0, 1) * mask
    return (focus * error.square()).mean(), unexplained


def train_transformer(vocabulary, work, minutes, batch, rate, start, minutes_before=0.0):
    """Flow matching on Wan's schedule, with the shape pairs of `training/unet.py`."""
    comfy.model_management.in_training = True  # else Wan's rotary positions are computed in place
    transformer, text_encoder = new_transformer_and_text_encoder(tokenizer(vocabulary).get_piece_size())
    modules = {"transformer": transformer, "te": text_encoder}
    run = Run(work / "transformer.safetensors", modules, minutes, rate, start, minutes_before)
    names = [f"{name}_{frames}" for name, frames in (("clips", 1), ("clips", 9), ("families", 1), ("families", 5))]
    data = dict.fromkeys(names)
    torch.manual_seed(run.step)
    empty, losses, pairs = token_ids(vocabulary, [""])[0].to(DEVICE), [], []
    while run.progress < 1:
        if run.step % 100 == 0 or not losses:  # more may be drawn meanwhile
            data = {name: load_data(work, name, known) for name, known in data.items()}
        latents, mask, tokens, paired = batch_of(run, data, empty, batch)
        with autocast():
            context = encode_text(text_encoder, tokens)
        loss, unexplained = flow_loss(transformer, latents, mask, context, paired, run.progress > 0.9)
        losses.append(run.update(loss))
        if paired:
            pairs.append(unexplained)
        if run.step % 100 == 0:
            unexplained = torch.stack(pairs).mean() if pairs else torch.nan
            print(
                f"step {run.step}  {run.minutes_used:.1f} min  loss {torch.stack(losses).mean():.4f}  "
                f"pairs unexplained {unexplained:.3f}",
                flush=True,
            )
            losses.clear(), pairs.clear()
        run.save_every()
    run.save()
