"""Attention Blend: a model that fuses the source's attention into an edit whenever it is sampled."""

from functools import partial

from ..fatezero.compat import io, schema, show_text
from ..fatezero.edit.transformer.video_blend import blend_video_models, on_latent_frames
from ..fatezero.edit.transformer.video_check import check_video_edit
from ..fatezero.edit.unet.edit_run import blend_attention
from ..fatezero.network.inspection.other_nodes import is_blended, refuse_merging
from ..fatezero.network.transformer.families import family_of
from ..fatezero.network.transformer.two_models import refuse_second
from ..fatezero.network.unet.check import require_unet
from ..fatezero.voice import Voice
from .shared.blend_inputs import SEARCHED_FOR, blend_inputs, noise_inputs, notes_on, price, read_settings, taken_preset
from .shared.checked import checked
from .shared.made_by import mark
from .shared.place_preview import show_place
from .shared.two_models import inverted_low_noise_model_input
from .shared.wire_types import PromptEditType, SourceRunType

NODE = "Attention Blend"


class AttentionBlend(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroAttentionBlend",
            display_name=NODE,
            category="FateZero/edit",
            description="Patches a model so that KSampler, SamplerCustomAdvanced and the like edit the inverted clip. "
            "Use a deterministic sampler (euler), the target conditioning as positive, and the latent and "
            "sigmas of DDIM Invert.",
            search_aliases=[*SEARCHED_FOR, "fatezero", "prompt-to-prompt", "p2p"],
            inputs=[
                io.Model.Input("model", tooltip="The same model, LoRAs and inflation that the clip was inverted with."),
                SourceRunType.Input("source", tooltip="The inverted clip, from DDIM Invert + Store Attention."),
                PromptEditType.Input("edit", tooltip="What changes in the prompt, from Edit Prompts."),
                *blend_inputs(),
                *noise_inputs(),
                inverted_low_noise_model_input(),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="The model to sample the edit with; the one given in is unchanged."
                ),
                io.Model.Output(
                    display_name="low noise model",
                    tooltip="Wan 2.2 14B's second model, for the sampler of the last steps; without one it is 'model'.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(cls, model, source, edit, preset=None, low_noise_model=None, **options) -> io.NodeOutput:
        is_video = family_of(model) is not None
        if not is_video:
            require_unet(model)
            refuse_second(low_noise_model)
            refuse_merging(model)
        preset, taken = taken_preset(source, edit, preset, options.get("mask"))
        automatic = preset["preset"] if taken and not source.cell.is_video else ""
        settings = read_settings(source, edit, preset, **options)
        notes = [*taken, *notes_on(settings, preset, edit, source)]
        notes += [
            f"! '{name}' carries another Attention Blend, which this one replaces; for both edits, edit the first "
            "one's result"
            for name, given in (("model", model), ("low noise model", low_noise_model))
            if given is not None and is_blended(given)
        ]
        voice = Voice(NODE, partial(show_text, cls), notes)
        if is_video:
            check_video_edit(model, source, edit, settings, low_noise_model)
            settings = on_latent_frames(settings, source)
            blended = blend_video_models(model, low_noise_model, source, edit, settings, voice)
        else:
            voice.tell(price(model, source, edit, settings))
            blended = [blend_attention(model, source, edit, settings, voice)]
        for each in blended:
            each.model_options.update(mark(settings, voice=voice, automatic=automatic))
        return io.NodeOutput(blended[0], blended[-1], ui=show_place(cls, model, source, edit, settings))
