"""Attention Blend Sampler: the edit in one node, from the inverted noise to the edited latent."""

from functools import partial

from ..fatezero.compat import io, schema, show_text, ui
from ..fatezero.edit.idle_settings import guided_unlike_papers, idle_guidance
from ..fatezero.edit.presets import CFG_UNTIL
from ..fatezero.edit.sampling import sample_edit
from ..fatezero.edit.transformer.video_blend import on_latent_frames
from ..fatezero.edit.transformer.video_check import check_video_edit, check_video_prompts
from ..fatezero.network.inspection.other_nodes import refuse_merging
from ..fatezero.network.transformer.families import family_of
from ..fatezero.network.transformer.two_models import refuse_second
from ..fatezero.network.unet.check import check_embedding, require_unet
from ..fatezero.prompts.window import Window
from ..fatezero.source.source_check import check_model
from ..fatezero.voice import Voice
from .shared.blend_inputs import SEARCHED_FOR, blend_inputs, noise_inputs, notes_on, read_settings, taken_preset
from .shared.checked import checked
from .shared.demo_sizes import refuse_mixed_sizes
from .shared.made_by import mark
from .shared.place_preview import preview_callback
from .shared.two_models import inverted_low_noise_model_input
from .shared.wire_types import PromptEditType, SourceRunType

NODE = "Attention Blend Sampler"


class AttentionBlendSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroBlendSampler",
            display_name=NODE,
            category="FateZero/edit",
            essentials_category="Video Tools",
            description="Edits the inverted clip: fuses the source's attention with the edit's while it samples from "
            "the inverted noise with the same steps (euler, which is deterministic DDIM).",
            search_aliases=[*SEARCHED_FOR, "fatezero", "prompt-to-prompt", "p2p", "video2video"],
            inputs=[
                io.Model.Input("model", tooltip="The same model, LoRAs and inflation that the clip was inverted with."),
                SourceRunType.Input(
                    "source",
                    tooltip="The inverted clip, from DDIM Invert + Store Attention. Several edits can use one.",
                ),
                PromptEditType.Input("edit", tooltip="What changes in the prompt, from Edit Prompts."),
                io.Conditioning.Input("positive", tooltip="The target conditioning, from Edit Prompts."),
                io.Conditioning.Input("negative", tooltip="What to avoid; the papers use an empty prompt."),
                io.Float.Input(
                    "cfg",
                    default=7.5,
                    min=1.0,
                    max=30.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance: how strongly the target prompt is followed. The papers use 7.5; a video "
                    "model needs 1 to 2.",
                ),
                *blend_inputs(),
                io.Float.Input(
                    "cfg_until",
                    default=CFG_UNTIL,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="Share of the steps until which 'cfg' guides; the papers: 1. The steps after it run "
                    "without the negative prompt, in about two thirds of the time, and edits flicker less.",
                ),
                *noise_inputs(),
                inverted_low_noise_model_input(),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The edited clip, for VAE Decode.")],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        source,
        edit,
        positive,
        negative,
        cfg,
        preset=None,
        cfg_until=1.0,  # what files from before this input mean, which do not name it
        low_noise_model=None,
        **options,
    ) -> io.NodeOutput:
        if cls.hidden is not None:
            refuse_mixed_sizes(cls.hidden.prompt, cls.hidden.unique_id)
        is_video = family_of(model) is not None
        if not is_video:
            _check_unet(model, source, positive, negative)
            refuse_second(low_noise_model)
        preset, taken = taken_preset(source, edit, preset, options.get("mask"))
        automatic = preset["preset"] if taken and not source.cell.is_video else ""
        settings = read_settings(source, edit, preset, **options)
        guidance = [*idle_guidance(cfg, cfg_until), *guided_unlike_papers(preset["preset"], cfg, cfg_until)]
        notes = [*taken, *notes_on(settings, preset, edit, source), *guidance]
        if is_video:
            check_video_edit(model, source, edit, settings, low_noise_model)
            check_video_prompts(model, source, edit, positive, negative, cfg)
            settings = on_latent_frames(settings, source)
        voice = Voice(NODE, partial(show_text, cls), notes)
        samples = sample_edit(
            model,
            source,
            edit,
            settings,
            positive,
            negative,
            cfg,
            callback=preview_callback(model, source, edit, settings),
            voice=voice,
            guided=Window(0.0, cfg_until),
            low_noise_model=low_noise_model,
        )
        edited = {"samples": samples, **mark(settings, cfg, voice, automatic=automatic)}
        return io.NodeOutput(edited, ui=ui.PreviewText(voice.report))


def _check_unet(model, source, positive, negative) -> None:
    """Refuses a model that is no UNet, or not the source's, and prompts of another text encoder."""
    require_unet(model)
    check_model(model, source)
    for name, prompts in (("positive", positive), ("negative", negative)):
        for embedding, _ in prompts:
            check_embedding(model, embedding, f"'{name}'")
    refuse_merging(model)
