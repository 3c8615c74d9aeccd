"""Coupled Edit Sampler: edits a clip with a video model, without inverting it."""

from functools import partial

import comfy.model_management
import comfy.samplers
import torch

from ..fatezero.compat import io, schema, show_text
from ..fatezero.edit.idle_settings import idle_coupled_settings, idle_models
from ..fatezero.edit.settings import INPUT_MASK, WORDS
from ..fatezero.edit.transformer.coupled_check import (
    check_embeddings,
    check_given,
    check_levels,
    check_pair,
    check_prompts,
    check_steps,
)
from ..fatezero.edit.transformer.coupled_mask import MASKS, MaskSettings, check_mask_from, coupled_mask, mask_line
from ..fatezero.edit.transformer.coupled_sampling import (
    CoupledGuider,
    CoupledProgress,
    CoupledSampler,
    CoupledSettings,
    price,
)
from ..fatezero.edit.transformer.video_check import guidance_note, unlike_guidance_note
from ..fatezero.masks.clip_look import SIGMA
from ..fatezero.masks.mask_pictures import stretch_notes
from ..fatezero.network.inspection.other_nodes import refuse_blended
from ..fatezero.network.trained_size import size_note
from ..fatezero.network.transformer.check import check_options, check_video_latent, picture_note, refuse_lazycache
from ..fatezero.network.transformer.families import Family, require_family
from ..fatezero.network.transformer.two_models import LOW_NOISE_MODEL, pair_notes, share_in_words, steps_of_models
from ..fatezero.network.transformer.word_maps import ALL, PARTS
from ..fatezero.refusal import Refusal
from ..fatezero.report.edit_place import FRAMES, coupled_place
from ..fatezero.voice import Voice
from .shared.blend_inputs import SEARCHED_FOR
from .shared.checked import checked
from .shared.clip_preview import with_text
from .shared.made_by import mark
from .shared.place_preview import callback_beside, show_picture
from .shared.two_models import boundary_input, low_noise_model_input
from .shared.wire_types import PromptEditType

NODE = "Coupled Edit Sampler"


class CoupledEditSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroCoupledSampler",
            display_name=NODE,
            category="FateZero/edit",
            description="Edits a clip with a video model (Wan, LTX-Video, HunyuanVideo) by changing its prompt, "
            "without inversion: the clip and the edit are noised alike and denoised side by side, and what the prompts "
            "share cancels.",
            search_aliases=[*SEARCHED_FOR, "flowedit", "wan edit", "ltx edit", "hunyuan edit"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Wan 2.1, Wan 2.2, LTX-Video or HunyuanVideo, with the LoRAs you want."
                ),
                PromptEditType.Input("edit", tooltip="What changes in the prompt, from Edit Prompts."),
                io.Conditioning.Input("source", tooltip="The source conditioning, from Edit Prompts."),
                io.Conditioning.Input("positive", tooltip="The target conditioning, from Edit Prompts."),
                io.Conditioning.Input("negative", tooltip="What to avoid. Not used while cfg is 1."),
                io.Latent.Input("latent", tooltip="The clip, from VAE Encode with the model's own VAE."),
                io.Int.Input("steps", default=30, min=1, max=10000, tooltip="More steps follow both prompts better."),
                io.Float.Input(
                    "cfg",
                    default=1.5,
                    min=1.0,
                    max=30.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance of the edit. Low values keep the clip: on our small test model 3 lost 6 dB of "
                    "the background. At 1 a step takes two rows instead of three.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.SCHEDULER_NAMES,
                    default="simple",
                    tooltip="How the steps are spread; the model's shift counts too.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Of the noise that clip and edit share; another seed is another edit.",
                ),
                _share(
                    "cross_until",
                    0.4,
                    "Share of the steps until which the words that stay look where they looked in the clip: higher "
                    "keeps more, lower frees the new words.",
                ),
                _share(
                    "self_until",
                    0.0,
                    "Share of the steps until which layout and motion come from the clip's own attention.",
                ),
                _share("skip", 0.0, "Share of the first steps to leave out: higher keeps more of the clip.", 0.95),
                _share(
                    "drift",
                    0.0,
                    "Share of the last steps in which the edit is sampled freely: details fit the new prompt better, "
                    "and the clip is kept less.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the clip may change (white), one for all frames or one each. Its edge moves in "
                    "steps of the model's cells (8, 16 or 32 pixels, 4 or 8 frames); Composite Outside Mask is exact.",
                ),
                low_noise_model_input(),
                boundary_input(),
                io.Combo.Input(
                    "mask_from",
                    options=list(MASKS),
                    default=INPUT_MASK,
                    optional=True,
                    tooltip="Where the clip may change: in 'mask' (everywhere without one), where the model sees the "
                    "words that change ('mask words' of Edit Prompts), or where both agree. For words the model looks "
                    "at the clip once before it edits; the edge moves in steps of 16 or 32 pixels, 4 or 8 frames.",
                ),
                io.Float.Input(
                    "mask_threshold",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    optional=True,
                    tooltip="How strongly a place must belong to the words, relative to the strongest place in the "
                    "latent frame; lower makes a larger mask. 0 finds it by itself in each.",
                ),
                io.Combo.Input(
                    "mask_blocks",
                    options=list(PARTS),
                    default=ALL,
                    optional=True,
                    advanced=True,
                    tooltip="The model's blocks that the words' places are read from. Which see them best differs "
                    "from model to model; look at the picture on this node.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The edited clip, for VAE Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        edit,
        source,
        positive,
        negative,
        latent,
        steps,
        cfg,
        scheduler,
        seed,
        mask=None,
        low_noise_model=None,
        boundary=0.875,
        mask_from=INPUT_MASK,
        mask_threshold=0.5,
        mask_blocks=ALL,
        **options,
    ) -> io.NodeOutput:
        family, samples = _check(model, low_noise_model, edit, source, positive, negative, latent)
        check_given(source, positive, negative if cfg != 1 else None)
        where = MaskSettings(mask_from, mask_threshold, mask_blocks)
        check_mask_from(where, edit, mask)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
        check_levels(sigmas, scheduler)
        check_steps(len(sigmas) - 1, options["skip"])
        looking = model if low_noise_model is None or boundary <= SIGMA else low_noise_model
        cells = coupled_mask(looking, family, edit, source, samples, where, mask, seed)
        threshold = None if mask_from == INPUT_MASK else mask_threshold
        settings, count = CoupledSettings(**options, mask=cells, threshold=threshold), len(sigmas) - 1
        ranges = steps_of_models(sigmas, settings.skip, None if low_noise_model is None else boundary)
        idle = [*idle_coupled_settings(settings, where, mask), *idle_models(ranges, boundary)]
        if mask is not None and mask_from != WORDS:
            idle += stretch_notes(mask, _size(model, samples))
        voice = Voice(NODE, partial(show_text, cls), idle)
        told = [price(model, samples.shape, sum(map(len, ranges)), count, cfg), mask_line(where, edit, cells)]
        told += [share_in_words(len(low), boundary) for low in ranges[1:]]
        told += [*pair_notes(model, low_noise_model), picture_note(model, source)]
        told += [size_note(model, *_size(model, samples)), guidance_note(cfg)]
        told.append(unlike_guidance_note(model, source, positive))
        voice.tell("\n".join(filter(None, told)))
        place, edited = partial(_place, model, samples, cells), samples
        run = {"callback": callback_beside(model, count, place), "seed": seed}
        progress = CoupledProgress(torch.Generator().manual_seed(seed))
        for stage, its_steps in zip((model, low_noise_model), ranges):
            if its_steps:
                guider = CoupledGuider(stage, edit, settings, count)
                guider.set_prompts(source, positive, negative, cfg)
                sampler = CoupledSampler(guider, progress, its_steps)
                edited = guider.sample(torch.zeros_like(samples), samples, sampler, sigmas, **run)
        edited = edited.to(comfy.model_management.intermediate_device())
        shown = with_text(show_picture(cls, place()), voice.report)
        return io.NodeOutput({"samples": edited, **mark(settings, cfg, voice)}, ui=shown)


def _check(model, low_noise_model, edit, source, positive, negative, latent) -> tuple[Family, torch.Tensor]:
    """The model's family and the clip's latent, [1, c, F, h, w]; refuses what cannot be edited."""
    family, samples = require_family(model), latent["samples"]
    refuse_blended(model)
    check_video_latent(model, samples)
    if latent.get("noise_mask") is not None:
        raise Refusal("'latent' has a noise mask, which is not used here; connect it as 'mask'.")
    check_prompts(edit, source, positive, negative)
    check_embeddings(model, source, positive, negative)
    check_options(model)
    refuse_lazycache(model)
    if low_noise_model is not None:
        refuse_blended(low_noise_model, LOW_NOISE_MODEL)
        check_pair(model, low_noise_model)
    return family, samples


def _size(model, samples: torch.Tensor) -> tuple[int, int]:
    """Width and height of the clip, in pixels."""
    pixels = model.model.latent_format.spacial_downscale_ratio
    return samples.shape[-1] * pixels, samples.shape[-2] * pixels


def _place(model, samples: torch.Tensor, cells: torch.Tensor | None, frames: int = FRAMES) -> torch.Tensor | None:
    """The picture of where the edit acts; None for everywhere."""
    if cells is None:
        return None
    return coupled_place(model.model.process_latent_in(samples), cells, model.model.latent_format, frames)


def _share(name: str, default: float, tooltip: str, most: float = 1.0) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=most, step=0.01, round=0.001, tooltip=tooltip)
