"""DDIM Invert + Store Attention: from the clip's latents to the noise that draws it again."""

import os
from functools import partial

import comfy.samplers
import folder_paths
import latent_preview

from ..fatezero.compat import io, schema, show_text, ui
from ..fatezero.edit.idle_settings import idle_models
from ..fatezero.edit.presets import CFG_UNTIL
from ..fatezero.network.inspection.model_identity import Unrecognised
from ..fatezero.network.trained_size import size_note
from ..fatezero.network.transformer.check import picture_note
from ..fatezero.network.transformer.families import family_of
from ..fatezero.network.transformer.two_models import pair_notes, steps_of_models
from ..fatezero.network.unet.chunked_sampling import APPROXIMATELY, ChunkedRun
from ..fatezero.network.without_guidance import without_guidance
from ..fatezero.refusal import Refusal
from ..fatezero.source.digest import inversion_digest
from ..fatezero.source.inversion import invert
from ..fatezero.source.inversion_check import check_inversion, check_no_mask
from ..fatezero.source.latent_cell import frames_first
from ..fatezero.source.reconstruction import inverted_noise, reconstruct, reconstruction_error
from ..fatezero.source.resume import FOLDER, UnfinishedInversion
from ..fatezero.source.schedule import OFFICIAL, few_steps, inversion_sigmas, noise_shortfall
from ..fatezero.source.session import KeptRun, run_once
from ..fatezero.source.source_run import CURRENT_LABEL, FAST_STEPS, TARGET_LABEL, UNI_INV
from ..fatezero.source.video_inversion import WHOLE_CLIP, invert_video
from ..fatezero.voice import Voice
from .shared.checked import checked
from .shared.demo_sizes import refuse_mixed_sizes
from .shared.reuse import REUSE
from .shared.two_models import boundary_input, low_noise_model_input
from .shared.whole_range import without_whole_range
from .shared.wire_types import SourceRunType

NODE = "DDIM Invert + Store Attention"
LABELS = {"target label (official code)": TARGET_LABEL, "current label (paper)": CURRENT_LABEL, "Uni-Inv": UNI_INV}
AS_SET, FAST = "steps as set", "fast (10 steps)"
# ComfyUI multiplies the latent of a flow by 1 - sigma before it samples, which is 0 at the noise.
ONLY_BLEND = (
    "only the Attention Blend nodes begin from this noise: of a video model ComfyUI's samplers alone leave it out"
)


class Invert(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroInvert",
            display_name=NODE,
            category="FateZero/inversion",
            description="Runs the clip backwards to the noise that draws it again, under the prompt that describes it. "
            "Keeps a few MB (the latent of each step), from which an edit gets the source's attention back. "
            "Invert once, edit as often as you like.",
            search_aliases=[
                "v2v",
                "video to video",
                "noise inversion",
                "unsample",
                "ddim inversion",
                "unsampler",
                "fatezero",
                "invert video",
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="SD 1.x, SD 2.x or SDXL, usually inflated, Wan, LTX-Video or HunyuanVideo, with the LoRAs "
                    "of the edit.",
                ),
                io.Conditioning.Input(
                    "source", tooltip="The source conditioning, from Edit Prompts; a ControlNet may be applied to it."
                ),
                io.Latent.Input(
                    "latent",
                    tooltip="The clip from VAE Encode, one latent per frame (of a video model one for the clip); one "
                    "image works too.",
                ),
                io.Int.Input(
                    "steps",
                    default=50,
                    min=1,
                    max=999,
                    tooltip="Steps of inversion and of every edit. The papers use 50; 20 is quick and often "
                    "enough for style.",
                ),
                io.Combo.Input(
                    "schedule",
                    options=[OFFICIAL, *comfy.samplers.SCHEDULER_NAMES],
                    default=OFFICIAL,
                    tooltip="Noise levels. The official DDIM schedule, or a scheduler as in KSampler (use "
                    "the same there). The official one needs 10 steps or more to reach the noise; of a video "
                    "model it is simple.",
                ),
                io.Combo.Input(
                    "evaluate_at",
                    options=list(LABELS),
                    default=next(iter(LABELS)),
                    optional=True,
                    advanced=True,
                    tooltip="Which noise level the model is told at each step: the next one, "
                    "as the official code, or the current one, as the paper prints. Uni-Inv also shows it the clip as "
                    "it will be there, so that the clip comes back more exactly at the same price. For a video model "
                    "the first is Uni-Inv too, the second Euler's method.",
                ),
                io.Int.Input(
                    "refinement",
                    default=0,
                    min=0,
                    max=10,
                    optional=True,
                    advanced=True,
                    tooltip="Fixed-point iterations per step: 2 or 3 make the inversion nearly exact, each "
                    "costs one more model call per step.",
                ),
                io.Boolean.Input(
                    "report_error",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Draws the source again from its noise and reports the error; costs as many "
                    "steps once more.",
                ),
                io.Boolean.Input(
                    "resume",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Continue where a cancelled or crashed run of the same inversion stopped; "
                    "writes each step to disk, into fatezero/unfinished of the output folder, "
                    "until it is done.",
                ),
                io.Boolean.Input("reuse", default=True, optional=True, advanced=True, tooltip=REUSE),
                low_noise_model_input(),
                boundary_input(),
                io.Combo.Input(
                    "speed",
                    options=[AS_SET, FAST],
                    default=AS_SET,
                    optional=True,
                    tooltip="fast takes 10 steps and Uni-Inv, whatever 'steps' and 'evaluate at' say, so that "
                    "inversion and edit take a fifth of the time of 50 steps. Set 'cfg until' 0.8 with it, as a new "
                    "Attention Blend Sampler has.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The inverted noise; the sampler must add none."),
                SourceRunType.Output(display_name="source", tooltip="The inverted clip, for masks and edits."),
                io.Sigmas.Output(display_name="sigmas", tooltip="The noise levels, for SamplerCustomAdvanced."),
                io.String.Output(display_name="report", tooltip="What was inverted, and the error when asked for."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        source,
        latent,
        steps,
        schedule,
        evaluate_at="target label (official code)",
        refinement=0,
        report_error=False,
        resume=False,
        reuse=True,
        low_noise_model=None,
        boundary=0.875,
        speed=AS_SET,
    ) -> io.NodeOutput:
        samples, source = latent["samples"], without_whole_range(source)
        if cls.hidden is not None:
            refuse_mixed_sizes(cls.hidden.prompt, cls.hidden.unique_id)
        check_inversion(model, source, samples, low_noise_model)
        check_no_mask(latent)
        model = without_guidance(model)
        is_video = family_of(model) is not None
        if speed == FAST:
            steps, evaluate_at = FAST_STEPS, "Uni-Inv"
        sigmas, label = inversion_sigmas(model, schedule, steps), LABELS[evaluate_at]
        label = UNI_INV if is_video and label == TARGET_LABEL else label
        settings = {"sigmas": sigmas, "label": label, "refinement": refinement}
        if low_noise_model is not None:
            low_noise_model = without_guidance(low_noise_model)
            settings |= {"low_noise_model": low_noise_model, "boundary": boundary}
        callback = latent_preview.prepare_callback(model, len(sigmas) - 1)
        unfinished = _unfinished(model, source, samples, settings) if resume else None
        chunks = WHOLE_CLIP if is_video else ChunkedRun(model).describe(samples.shape)

        notes = [*_of_the_speed(speed), *_warnings(model, low_noise_model, source, samples, sigmas, boundary)]

        def digest() -> str:
            return inversion_digest(model, source, samples, **settings, chunks=chunks)

        def make() -> KeptRun:
            voice = Voice(NODE, partial(show_text, cls), notes)
            by = invert_video if is_video else invert
            run = by(model, source, samples, **settings, callback=callback, unfinished=unfinished, tell=voice.tell)
            return _kept(run, voice.text, chunks, unfinished)

        kept, note = run_once(reuse, digest, source, make)
        run = kept.run
        if report_error and "error" not in kept.details:
            drawn = reconstruct(model, run, callback=callback, low_noise_model=low_noise_model)
            kept = kept.with_details(error=reconstruction_error(model, run, drawn))
        if unfinished is not None:
            unfinished.remove()
        noise = {key: value for key, value in latent.items() if key not in ("noise_mask", "batch_index")}
        noise["samples"] = inverted_noise(model, run)
        report = _report(kept, notes, note, report_error)
        if is_video:
            report += f"\n{ONLY_BLEND}"
        return io.NodeOutput(noise, run, sigmas.flip(0), report, ui=ui.PreviewText(report))


def _of_the_speed(speed: str) -> list[str]:
    """What a speed has taken, and in place of what."""
    if speed == AS_SET:
        return []
    return [
        f"fast: {FAST_STEPS} steps and Uni-Inv, whatever 'steps' and 'evaluate at' say; 'cfg until' {CFG_UNTIL:g} of "
        "Attention Blend Sampler belongs to it"
    ]


def _warnings(model, low_noise_model, source, samples, sigmas, boundary: float) -> list[str]:
    """What may spoil an inversion, known before it runs; arguments as of `invert_video`."""
    height, width = (cells * model.model.latent_format.spacial_downscale_ratio for cells in samples.shape[-2:])
    shortfall = noise_shortfall(model, sigmas) or few_steps(len(sigmas) - 1)
    notes = [picture_note(model, source), size_note(model, width, height), shortfall and f"! {shortfall}"]
    if low_noise_model is not None:
        stages = steps_of_models(sigmas.flip(0), 0.0, boundary)
        notes += [*pair_notes(model, low_noise_model), *idle_models(stages, boundary)]
    return list(filter(None, notes))


def _kept(run, told: str, planned: str, unfinished: UnfinishedInversion | None) -> KeptRun:
    """A new run with what its report says of it; told, planned: how the frames went through the model, and were to."""
    continued = unfinished is not None and unfinished.finished
    note = [f"continued after step {unfinished.finished} of {run.steps}"] if continued else []
    return KeptRun(run, {"lines": [told, *note]}, as_planned=told == planned or APPROXIMATELY not in told)


def _report(kept: KeptRun, notes: list[str], note: str | None, with_error: bool) -> str:
    lines = [kept.run.summary(), *notes, *kept.details["lines"]]
    if with_error:
        lines.append(f"reconstruction error without guidance: {kept.details['error']:.2%} of the latent")
    return "\n".join([*lines, *([note] if note else [])])


def _unfinished(model, source, samples, settings: dict) -> UnfinishedInversion:
    """Where this inversion keeps its steps, within ComfyUI's output folder."""
    try:
        digest = inversion_digest(model, source, samples, **settings)
    except Unrecognised as reason:
        raise Refusal(
            f"{reason}, which cannot be recognised again after a restart; switch 'resume' off, or remove that node."
        ) from reason
    folder = os.path.join(folder_paths.get_output_directory(), *FOLDER.split("/"), digest)
    kept = frames_first(samples) if samples.ndim == 5 else samples
    return UnfinishedInversion(folder, len(settings["sigmas"]) - 1, kept.shape)
