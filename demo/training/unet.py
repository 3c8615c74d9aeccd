"""Train the UNet and its text encoder."""

import torch

from .data import draw_pairs, draw_pictures, load_data
from .networks import DEVICE, attention_options, autocast, encode_text, new_unet_and_text_encoder, token_ids
from .run import RANK, WORKERS, Run

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2  # SD 1.x
ALPHAS = torch.cumprod(1 - BETAS, 0).float().to(DEVICE)


def draw_timesteps(count, anywhere=0.3, others=(350, 950), most=8.0):
    """Timesteps (n,) and loss weights (n,); the share `anywhere` lies in 0..999, the others in the range `others`.

    There the words decide, but a plain noise loss hardly looks. The weight is that of a loss on x0, 1 / SNR, within
    `anywhere` .. `most`.
    """
    t = torch.where(
        torch.rand(count, device=DEVICE) < anywhere,
        torch.randint(1000, (count,), device=DEVICE),
        torch.randint(*others, (count,), device=DEVICE),
    )
    return t, ((1 - ALPHAS[t]) / ALPHAS[t]).clamp(anywhere, most)


def train_unet(size, work, minutes, batch, rate, start, minutes_before=0.0):
    """Noise prediction on SD 1.x's noise schedule.

    Plain training learns colours and grounds at once but shapes only after very long, because they hardly change the
    noise loss. So it is weighted by `draw_timesteps`; it counts up to 4 x on the things, for t < 850 (there the noisy
    latents show where a thing is, so that the weight does not bias the prediction; above, it would draw things
    everywhere); and in some of the steps, pairs that differ in nothing but the shape and its word get the same noise,
    and the difference of their errors, which is free of all that they share, counts 6 x. In the first 55 % of the time
    the pairs are small windows, which is fast, and two thirds of the steps. A window does not show how many things
    there are; from then on whole pictures teach it, in four fifths of the steps, most of them with two things and three
    quarters of them at t >= 600, where it is decided. The last 5 % go without pairs and focus, over all timesteps
    alike, which brings back the fine detail that the rest neglects.
    """
    unet, text_encoder, used = new_unet_and_text_encoder(size)
    run = Run(work / "unet.safetensors", {"unet": unet, "te": text_encoder}, minutes, rate, start, minutes_before)
    text_encoder.text_model.embeddings.token_embedding.weight.register_hook(lambda gradient: gradient * used)
    data = dict.fromkeys(("latents", "two", "families", "beside"))
    torch.manual_seed(run.step * WORKERS + RANK)  # other batches in every worker and after every start
    empty, recent = token_ids([""])[0].to(DEVICE), []
    while run.progress < 1:
        if run.step % 100 == 0 or not recent:  # more may be drawn meanwhile
            data = {name: load_data(work, name, known) for name, known in data.items()}
        windows, last = run.progress < 0.55, run.progress > 0.95
        window = (batch * 3 // 2, size.latents // 2) if windows else (batch // 2, size.latents)
        paired = not last and (run.step % 3 > 0 if windows else run.step % 2 == 0)
        if paired:
            latents, mask, tokens = draw_pairs(data["families" if windows else "beside"], *window)
        else:
            latents, mask, tokens = draw_pictures(data["two" if torch.rand(()) < 0.6 else "latents"], batch, empty)
        whole = not (windows or paired or last)
        t, weight = draw_timesteps(len(latents), *((0.25, (600, 1000), 20.0) if whole else (1.0 if last else 0.3,)))
        noise = torch.randn_like(latents)
        if paired:
            t, weight, noise = (torch.cat([rows[: len(rows) // 2]] * 2) for rows in (t, weight, noise))
        alpha = ALPHAS[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        with autocast():
            context = encode_text(text_encoder, tokens)
            error = unet(noisy, t.float(), context=context, transformer_options=attention_options()).float() - noise
        if paired:
            first, second = error.chunk(2)
            error = torch.cat([(first + second) / 2, 6**0.5 * (first - second) / 2])
        focus = 1 if last else 1 + 3 * ((850 - t) / 150).clamp(0, 1).view(-1, 1, 1, 1) * mask
        recent.append(run.update((weight.view(-1, 1, 1, 1) * focus * error.square()).mean()))
        if run.step % 50 == 0 and not RANK:
            loss = torch.stack(recent).mean()
            print(f"unet step {run.step}  {run.minutes_used:.1f} min  loss {loss:.4f}", flush=True)
            recent.clear()
        run.save_every()
    run.save()
