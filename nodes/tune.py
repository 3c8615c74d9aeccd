"""Tune Video Model: a checkpoint learns to draw one clip from its prompt."""

import folder_paths
import latent_preview
import torch

from ..fatezero.compat import io, schema, show_text
from ..fatezero.network.inspection.model_identity import Unrecognised
from ..fatezero.refusal import Refusal
from ..fatezero.report.plots import Panel, draw_panels
from ..fatezero.source.digest import tuning_digest
from ..fatezero.tuning.kept_tuning import KeptTuning, tuned_once
from ..fatezero.tuning.memory import OFF, ON
from ..fatezero.tuning.settings import AUTO, PRECISIONS, PRESETS, chosen
from ..fatezero.tuning.tune import Pictures, tune
from ..fatezero.tuning.tuned_state import rank_of, tuned_model, tuned_state_of
from ..fatezero.tuning.tuning_check import check_no_mask
from ..fatezero.tuning.unfinished import UnfinishedTuning
from .shared.checked import checked
from .shared.clip_preview import show_pictures
from .shared.picture_words import picture_words
from .shared.reuse import REUSE
from .shared.whole_range import without_whole_range

NODE = "Tune Video Model"
ADAMW, ADAMW_8_BIT = "AdamW", "AdamW in 8 bits"


class TuneVideoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroTune",
            display_name=NODE,
            category="FateZero/model",
            description="Tunes the model on one clip, so that it draws the clip's motion from the prompt "
            "(Tune-A-Video): attention along the frames is added and learnt, as FateZero and Video-P2P want it for "
            "edits of shape. Takes minutes; the model given in is unchanged.",
            search_aliases=[
                "one shot tuning",
                "tune-a-video",
                "train on video",
                "train",
                "one-shot",
                "fine-tune",
                "video-p2p",
                "fatezero",
            ],
            inputs=[
                io.Model.Input("model", tooltip="SD 1.x or SD 2.x, or a tuned model to go on with. No Inflate UNet."),
                io.Conditioning.Input("source", tooltip="The prompt that describes the clip, from Edit Prompts."),
                io.Latent.Input("latent", tooltip="The clip from VAE Encode, one latent per frame."),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default="Tune-A-Video",
                    tooltip="What is trained, the key frames, and the published steps and learning rate. FateZero adds "
                    "convolutions along the frames; Video-P2P looks at the first frame alone.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=100000,
                    tooltip="Steps of the optimizer; 0 takes the preset's (Tune-A-Video 500, FateZero 200, Video-P2P "
                    "300). More remember the clip better and leave less room for the edit.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=1e-6,
                    round=1e-8,
                    tooltip="Constant; 0 takes the preset's (3e-5; FateZero 1e-5).",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**63 - 1,
                    tooltip="Of the first weights, the noise and its levels: the same seed gives the same model.",
                ),
                io.Int.Input(
                    "rank",
                    default=0,
                    min=0,
                    max=1280,
                    optional=True,
                    advanced=True,
                    tooltip="Of FateZero's temporal convolutions; 0 takes the published 160. Others have none.",
                ),
                io.Combo.Input(
                    "checkpointing",
                    options=[AUTO, ON, OFF],
                    default=AUTO,
                    optional=True,
                    advanced=True,
                    tooltip="on: a sixth of a step's memory for about a quarter more time, with the same result. auto: "
                    "where the memory asks for it.",
                ),
                io.Latent.Input(
                    "pictures",
                    optional=True,
                    tooltip="Pictures of the same kind of thing, from VAE Encode, that the model must not forget "
                    "(FateZero's regularisation set). Each step then first takes one on some of them.",
                ),
                io.Conditioning.Input(
                    "pictures_prompt",
                    optional=True,
                    tooltip="What 'pictures' show, such as a photo of a car, from CLIP Text Encode.",
                ),
                io.Combo.Input(
                    "precision",
                    options=[AUTO, *PRECISIONS],
                    default=AUTO,
                    optional=True,
                    advanced=True,
                    tooltip="What the UNet computes in. auto: as ComfyUI has it compute. What is trained is kept in "
                    "float32.",
                ),
                io.Combo.Input(
                    "optimizer",
                    options=[ADAMW, ADAMW_8_BIT],
                    default=ADAMW,
                    optional=True,
                    advanced=True,
                    tooltip="The 8-bit one takes 10 instead of 16 bytes for each trained value and needs the library "
                    "bitsandbytes.",
                ),
                io.Boolean.Input(
                    "resume",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Continue where a cancelled or crashed tuning with the same inputs stopped; until it is "
                    "done, its state is kept in fatezero/unfinished of the output folder.",
                ),
                io.Boolean.Input("reuse", default=True, optional=True, advanced=True, tooltip=REUSE),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The tuned model, with its key frames and norms."),
                io.Image.Output(display_name="loss curve", tooltip="The loss of every step, smoothed."),
                io.String.Output(display_name="report", tooltip="What was tuned, the memory, and the loss."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        source,
        latent,
        preset,
        steps=0,
        learning_rate=0.0,
        seed=0,
        rank=0,
        checkpointing=AUTO,
        pictures=None,
        pictures_prompt=None,
        precision=AUTO,
        optimizer=ADAMW,
        resume=False,
        reuse=True,
    ) -> io.NodeOutput:
        source = without_whole_range(source)
        check_no_mask(latent)
        settings = chosen(preset, steps, learning_rate, rank, seed, precision, optimizer == ADAMW_8_BIT)
        samples, others = latent["samples"], _pictures(pictures, pictures_prompt)
        unfinished = _unfinished(model, source, samples, settings, others) if resume else None

        def digest() -> str:
            return tuning_digest(model, source, samples, others, [repr(settings)])

        def make() -> KeptTuning:
            return _tuned(cls, model, source, samples, settings, others, checkpointing, unfinished)

        kept, note = tuned_once(reuse, digest, make)
        if unfinished is not None:
            unfinished.remove()
        curve = draw_panels([_loss_curve(kept.details["losses"]).in_words(picture_words(cls.hidden))])
        warnings = _warnings(model, rank, settings, kept.details)
        report = "\n".join([*warnings, kept.state.summary(), *_report(kept.details), *([note] if note else [])])
        return io.NodeOutput(tuned_model(model, kept.state), curve, report, ui=show_pictures(cls, curve, note or ""))


def _tuned(node, model, source, samples, settings, pictures, checkpointing, unfinished) -> KeptTuning:
    """A new tuning, which tells the node what memory it takes and each step's loss."""
    told = []

    def show(text: str) -> None:
        show_text(node, "\n".join([*told, text]))

    def tell(memory: str) -> None:
        show(memory)
        told.append(memory)

    tuned, progress = tune(
        model,
        source,
        samples,
        settings,
        pictures=pictures,
        checkpointing=checkpointing,
        unfinished=unfinished,
        callback=latent_preview.prepare_callback(model, settings.steps),
        on_loss=lambda step, loss: show(f"step {step + 1} of {settings.steps}: loss {loss:.4f}"),
        tell=tell,
    )
    state = tuned_state_of(tuned)
    assert state is not None
    return KeptTuning(state, {**progress.told(), "memory": str(progress.memory), "before": progress.continued_after})


def _pictures(pictures, prompt) -> Pictures | None:
    if (pictures is None) != (prompt is None):
        missing, there = ("pictures", "pictures prompt") if pictures is None else ("pictures prompt", "pictures")
        raise Refusal(f"'{there}' is connected, but '{missing}' is not; connect both or neither.")
    if pictures is not None:
        check_no_mask(pictures, "pictures")
    return None if pictures is None else Pictures(pictures["samples"], prompt)


def _unfinished(model, source, samples, settings, pictures: Pictures | None) -> UnfinishedTuning:
    """Where this tuning is kept until it is done."""
    try:
        digest = tuning_digest(model, source, samples, pictures, [repr(settings)])
    except Unrecognised as reason:
        raise Refusal(
            f"{reason}, which cannot be recognised again after a restart; switch 'resume' off, or remove that node."
        ) from reason
    return UnfinishedTuning(folder_paths.get_output_directory(), digest)


def _loss_curve(losses: list[float]) -> Panel:
    """Each step's loss, averaged over the last tenth of the steps so far, since noise levels differ much."""
    values = torch.tensor(losses)
    window = max(1, len(values) // 10)
    sums = torch.cat([torch.zeros(1), values.cumsum(0)])
    ends = torch.arange(1, len(values) + 1)
    starts = (ends - window).clamp(min=0)
    return Panel("loss", {"loss": (sums[ends] - sums[starts]) / (ends - starts)}, first_frame=1, axis="step")


def _warnings(model, rank: int, settings, details: dict) -> list[str]:
    """What came out otherwise than a person will expect.

    Args:
        model: The one given in.
        rank: The node's, 0 for none.
        settings: Of the tuning.
        details: Of the KeptTuning.
    """
    warnings, given = [], tuned_state_of(model)
    if given is not None and rank not in (0, rank_of(given)) and rank_of(given):
        warnings.append(
            f"! 'rank' is {rank}, but 'model' is tuned with rank {rank_of(given)} already, which stays; to tune with "
            "another, connect the checkpoint"
        )
    if _best_step(details) == 0:
        warnings.append(
            f"! no step made the loss smaller, so that the model has learnt nothing; lower 'learning rate' "
            f"({settings.learning_rate:g}), or give more 'steps' ({settings.steps})"
        )
    return warnings


def _best_step(details: dict) -> int:
    return int(min(details["watched"], key=lambda step: details["watched"][step]))


def _report(details: dict) -> list[str]:
    """How a tuning went, in lines; details: of a KeptTuning."""
    watched, best = {int(step): loss for step, loss in details["watched"].items()}, _best_step(details)
    continued = [f"continued after step {details['before']}"] if details["before"] else []
    loss = (
        f"loss for always the same noise: {watched[0]:.4f} before, {watched[best]:.4f} at the best, which is kept "
        f"(after step {best} of {len(details['losses'])})"
    )
    return [details["memory"], *continued, loss]
