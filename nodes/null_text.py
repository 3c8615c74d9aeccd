"""Null-Text Optimization: unconditional embeddings with which guidance draws the source clip again."""

from dataclasses import astuple

import latent_preview

from ..fatezero.compat import io, schema, show_text, ui
from ..fatezero.null_text.null_text_check import check_null_text
from ..fatezero.null_text.optimization import (
    Optimization,
    negative_prompt_inversion,
    null_text_conditioning,
    optimize_null_text,
)
from ..fatezero.refusal import counted
from ..fatezero.source.digest import null_text_digest
from ..fatezero.source.reconstruction import reconstruct, reconstruction_psnr
from ..fatezero.source.session import KeptRun, run_once
from .shared.checked import checked
from .shared.reuse import REUSE
from .shared.whole_range import without_whole_range
from .shared.wire_types import SourceRunType

NODE = "Null-Text Optimization"
OPTIMIZED, NEGATIVE_PROMPT = "null-text optimization", "negative-prompt inversion (fast, no optimization)"
FROM_SOURCE, FROM_NEGATIVE = "source prompt (faster)", "negative (as published)"
SHARED, PER_FRAME = "shared by all frames", "one per frame"


class NullTextOptimization(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroNullText",
            display_name=NODE,
            category="FateZero/inversion",
            description="Makes the source come back exactly under guidance: finds, for each step, the embedding of "
            '"no prompt" with which the sampler retraces the inversion (Video-P2P).',
            search_aliases=[
                "exact reconstruction",
                "null text inversion",
                "video-p2p",
                "negative prompt inversion",
                "fatezero",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model, LoRAs and inflation that the clip was inverted with."),
                SourceRunType.Input("source", tooltip="The inverted clip, from DDIM Invert or Load Inverted Clip."),
                io.Conditioning.Input("negative", tooltip="The negative of the edit; the papers use an empty prompt."),
                io.Float.Input(
                    "guidance", default=7.5, min=1.0, max=30.0, step=0.1, round=0.01, tooltip="The cfg of the edit."
                ),
                io.Combo.Input(
                    "method",
                    options=[OPTIMIZED, NEGATIVE_PROMPT],
                    default=OPTIMIZED,
                    tooltip="Optimize the embeddings, or take the source prompt's own, which costs nothing "
                    "and brings the source back as well as without guidance.",
                ),
                io.Int.Input(
                    "inner_steps",
                    default=10,
                    min=1,
                    max=500,
                    tooltip="At most so many optimizer steps for each step of the sampler.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=1e-2,
                    min=1e-5,
                    max=1.0,
                    step=1e-5,
                    round=1e-6,
                    optional=True,
                    advanced=True,
                    tooltip="Of the first step; it falls linearly to half of it, as published.",
                ),
                io.Float.Input(
                    "early_stop",
                    default=1e-5,
                    min=0.0,
                    max=1.0,
                    step=1e-6,
                    round=1e-8,
                    optional=True,
                    advanced=True,
                    tooltip="The loss below which the first step is left as it is; rises "
                    "linearly to 101 times that, as published. 0 never stops early.",
                ),
                io.Combo.Input(
                    "start_from",
                    options=[FROM_SOURCE, FROM_NEGATIVE],
                    default=FROM_SOURCE,
                    optional=True,
                    advanced=True,
                    tooltip="Where the first embedding starts. From the source prompt far "
                    "fewer steps are needed, and the source comes back more "
                    "exactly.",
                ),
                io.Combo.Input(
                    "embeddings",
                    options=[SHARED, PER_FRAME],
                    default=SHARED,
                    optional=True,
                    advanced=True,
                    tooltip="One embedding for all frames, as published, or one for each frame.",
                ),
                io.Boolean.Input(
                    "report_error",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="Also draws the source with the plain negative, to compare; takes as many steps again.",
                ),
                io.Boolean.Input("reuse", default=True, optional=True, advanced=True, tooltip=REUSE),
            ],
            outputs=[
                SourceRunType.Output(
                    display_name="source",
                    tooltip="The inverted clip with its null text, for edits and Save Inverted Clip.",
                ),
                io.Conditioning.Output(
                    display_name="negative",
                    tooltip="The embeddings, each limited to its step, for any sampler's negative.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="How exactly the source comes back, before and after, and the loss of each step.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        source,
        negative,
        guidance,
        method,
        inner_steps,
        learning_rate=1e-2,
        early_stop=1e-5,
        start_from=FROM_SOURCE,
        embeddings=SHARED,
        report_error=True,
        reuse=True,
    ) -> io.NodeOutput:
        negative = without_whole_range(negative)
        settings = Optimization(guidance, inner_steps, learning_rate, early_stop, embeddings == PER_FRAME)
        check_null_text(model, source, negative, settings)
        callback = latent_preview.prepare_callback(model, source.steps)
        start = source.conditioning if start_from == FROM_SOURCE else negative

        def digest() -> str:
            return null_text_digest(model, source, start, negative, [method, *astuple(settings)])

        def make() -> KeptRun:
            if method == NEGATIVE_PROMPT:
                return KeptRun(negative_prompt_inversion(source, guidance))
            return _optimize(cls, model, source, start, settings, callback)

        kept, note = run_once(reuse, digest, source.conditioning, make)
        if report_error and "before" not in kept.details:
            kept = kept.with_details(before=_psnr(model, source, negative, guidance, callback))
        if report_error and "after" not in kept.details:
            psnr = _psnr(model, kept.run, null_text_conditioning(kept.run), guidance, callback)
            kept = kept.with_details(after=psnr)
        report = _report(kept, note, guidance)
        return io.NodeOutput(kept.run, null_text_conditioning(kept.run), report, ui=ui.PreviewText(report))


def _optimize(node, model, source, start, settings: Optimization, callback) -> KeptRun:
    def show_loss(step, inner, loss):
        show_text(node, f"step {step + 1} of {source.steps}, inner step {inner}: loss {loss:.2e}")

    run, samples, losses = optimize_null_text(model, source, start, settings, callback=callback, on_loss=show_loss)
    return KeptRun(run, {"losses": losses, "after": reconstruction_psnr(model, run, samples)})


def _report(kept: KeptRun, note: str | None, guidance: float) -> str:
    details = kept.details
    losses = details.get("losses")
    lines = [
        kept.run.summary(),
        *_comparison(guidance, details.get("before"), details.get("after")),
        "the source prompt's own embedding at every step" if losses is None else _losses(losses),
        *([note] if note else []),
    ]
    return "\n".join(lines)


def _psnr(model, source, negative, guidance, callback) -> float:
    return reconstruction_psnr(model, source, reconstruct(model, source, negative, guidance, callback))


def _comparison(guidance: float, before: float | None, after: float | None) -> list[str]:
    if after is None:
        return []
    compared = f"{before:.1f} dB before, " if before is not None else ""
    return [f"reconstruction at guidance {guidance:g} (PSNR of the latent): {compared}{after:.1f} dB after"]


def _losses(losses: list[list[float]]) -> str:
    """A table of about ten steps, and how many inner steps there were in all."""
    every = max(1, len(losses) // 10)
    count = sum(len(step) - 1 for step in losses)
    lines = [f"{counted(count, 'inner step')} in all; loss by step:"]
    for index in range(0, len(losses), every):
        step = losses[index]
        lines.append(f"{index + 1}: {step[0]:.2e}" + (f" -> {step[-1]:.2e} ({len(step) - 1})" if len(step) > 1 else ""))
    return "\n".join(lines)
