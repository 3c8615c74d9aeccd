"""A resumable training run over wall-clock time."""

import copy
import math
import os
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .networks import DEVICE

RANK, WORKERS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))  # set by torchrun


class Run:
    """Weights, their moving average and AdamW's moments, kept in one file; the learning rate falls over `minutes`.

    `modules` maps names to modules, `start` maps `name.parameter` to first values, which were trained for
    `minutes_before`; a checkpoint at `path` goes before them. Several workers of torchrun average their gradients.
    """

    def __init__(self, path, modules, minutes, rate, start, minutes_before=0.0, decay=0.998):
        self.path, self.minutes, self.rate, self.decay = Path(path), minutes, rate, decay
        self.weights = {f"{name}.{key}": p for name, module in modules.items() for key, p in module.named_parameters()}
        self.optimizer = torch.optim.AdamW(self.weights.values(), betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
        self.step, self.minutes_before = 0, minutes_before
        if self.path.exists():
            self.load()
        else:
            for key, value in start.items():
                if key in self.weights:
                    self.weights[key].data.copy_(value)
            self.average = {key: p.detach().clone() for key, p in self.weights.items()}
        self.minutes_used = self.minutes_before
        self.started = self.saved = time.monotonic()

    def load(self):
        """Go on from the checkpoint."""
        with safe_open(self.path, "pt") as file:
            tensors, meta = {key: file.get_tensor(key).to(DEVICE) for key in file.keys()}, file.metadata()
        self.step, self.minutes_before = int(meta["step"]), float(meta["minutes"])
        self.average = {key: tensors["average." + key] for key in self.weights}
        for key, p in self.weights.items():
            p.data.copy_(tensors["weights." + key])
            if "first." + key in tensors:
                self.optimizer.state[p] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": tensors["first." + key],
                    "exp_avg_sq": tensors["second." + key],
                }

    def save(self):
        """Write the checkpoint, whole or not at all; only the first worker does."""
        self.saved = time.monotonic()
        if RANK:
            return
        tensors = {f"average.{key}": p for key, p in self.average.items()}
        for key, p in self.weights.items():
            tensors["weights." + key] = p.detach()
            if p in self.optimizer.state:
                tensors["first." + key] = self.optimizer.state[p]["exp_avg"]
                tensors["second." + key] = self.optimizer.state[p]["exp_avg_sq"]
        part = self.path.with_suffix(".part")
        save_file(
            {key: tensor.contiguous() for key, tensor in tensors.items()},
            part,
            {"step": str(self.step), "minutes": str(self.minutes_used)},
        )
        part.replace(self.path)

    def save_every(self, seconds=240):
        """Save when the last time is long ago; returns whether it was."""
        due = time.monotonic() - self.saved > seconds
        if due:
            self.save()
        return due

    def averaged(self, module, name):
        """A copy of the module `name` with the averaged weights."""
        copied = copy.deepcopy(module).eval()
        copied.load_state_dict({key: self.average[f"{name}.{key}"] for key in copied.state_dict()})
        return copied

    @property
    def progress(self):
        """The share of the time that is used up, 0..1; the same for all workers."""
        return min(1.0, self.minutes_used / self.minutes)

    def update(self, loss):
        """One step of the optimiser on a loss; returns the loss, still on its device, for which no one waits."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.minutes_used = self.average_over_workers(self.minutes_before + (time.monotonic() - self.started) / 60)
        cosine = 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * self.progress))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * cosine * min(1, (self.step + 1) / 200)
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.weights.values()], 1 - decay)
        return loss.detach()

    def average_over_workers(self, minutes):
        """Average the gradients and the minutes over all workers, so that they stay alike; returns the minutes."""
        if WORKERS == 1:
            return minutes
        minutes = torch.tensor([minutes], device=DEVICE)
        parts = [p.grad for p in self.weights.values() if p.grad is not None] + [minutes]
        joined = torch.cat([part.flatten() for part in parts])
        torch.distributed.all_reduce(joined)
        for part, mean in zip(parts, (joined / WORKERS).split([part.numel() for part in parts])):
            part.copy_(mean.view_as(part))
        return minutes.item()
