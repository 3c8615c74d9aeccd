"""Whether an inverted clip can be edited by a video model with the settings of Attention Blend Sampler."""

from ...network.transformer.check import check_options, refuse_lazycache
from ...network.transformer.families import HUNYUAN, family_of, require_family
from ...network.transformer.two_models import LOW_NOISE_MODEL
from ...prompts.prompt_edit import PromptEdit
from ...refusal import Refusal
from ...source.source_check import check_low_noise_model, check_model, check_models
from ...source.source_run import SourceRun
from ..conditioning_check import check_coverage, check_positive
from ..edit_check import check_course, check_latent, check_sampler
from ..settings import AROUND, CACHE, OUTLINE, RECONSTRUCTION, BlendSettings
from .coupled_check import check_embeddings, check_given, check_prompts

SAME_LEVEL = 1e-4  # sigmas that differ by less are one
OWN_GUIDANCE = 6.0  # HunyuanVideo's, where no node has given another
HIGH_GUIDANCE = 4.0  # from which a small Wan that we trained lost 10 dB of the background


def check_video_edit(model, source: SourceRun, edit: PromptEdit, settings: BlendSettings, low_noise_model=None) -> None:
    """Refuses what does not fit together, and settings that only UNets know; low_noise_model: the second of two."""
    require_family(model)
    check_models(model, low_noise_model, source)
    for each, name in ((model, "model"), (low_noise_model, LOW_NOISE_MODEL)):
        if each is not None:
            check_options(each, name)
            refuse_lazycache(each, name)
    if settings.attention_from == RECONSTRUCTION:
        raise Refusal(
            f"'attention from' is {RECONSTRUCTION}, which a video model does not have; choose inversion or "
            "reconstruction without guidance."
        )
    if settings.source_attention == CACHE:
        raise Refusal(
            "'keep attention' is cache, but of a video model that would take gigabytes for each step; choose replay."
        )
    if settings.new_words_until:
        raise Refusal(
            "'model' is a video model, for which there are no presets add and replace; choose another preset, or edit "
            "the clip with Coupled Edit Sampler."
        )
    if settings.mask_from == AROUND:
        raise Refusal(
            f"'model' is a video model, for which there is no mask of {AROUND}, as preset new background has it; "
            "choose preset background."
        )
    if settings.fresh_noise:
        raise Refusal("'noise inside the mask' is fresh, but a video model begins with the clip's; choose that.")
    if settings.finest_until < 1:
        raise Refusal("'layers' leaves out the finest, but a video model's are all alike; choose all.")


def check_video_prompts(model, source: SourceRun, edit: PromptEdit, positive, negative, cfg: float) -> None:
    """Refuses CONDITIONINGs that are not the edit's, or not for the whole clip."""
    check_prompts(edit, source.conditioning, positive, negative)
    check_given(source.conditioning, positive, negative if cfg != 1 else None)
    check_embeddings(model, source.conditioning, positive, negative)


def check_video_run(
    guider, source: SourceRun, edit: PromptEdit, latent_image, sampler, sigmas, args, kwargs, name: str | None = None
) -> None:
    """Refuses a sampling run that cannot be an edit of a source; arguments as of `edit_check.check_run`; name: of two
    models the input's of the one that runs."""
    model = guider.model_patcher
    check_options(model)
    refuse_lazycache(model)
    if name == LOW_NOISE_MODEL:
        check_low_noise_model(model, source)
    else:
        check_model(model, source)
    if name is not None:
        check_stage_of_model(source, sigmas, name)
    check_sampler(sampler)
    check_latent(latent_image, source)
    check_course(source, sigmas, args, kwargs)
    check_positive(guider, edit)
    check_coverage(guider, source, sigmas, latent_image.shape[-2:])
    prompts = guider.conds["positive"], guider.conds.get("negative") or guider.conds["positive"]
    positive, negative = ([[cond["cross_attn"], cond] for cond in conds] for conds in prompts)
    check_video_prompts(model, source, edit, positive, negative, getattr(guider, "cfg", 1.0))


def check_stage_of_model(source: SourceRun, sigmas, name: str) -> None:
    """Refuses steps of one of two models that the other one made at the inversion.

    Args:
        source: Inverted with two models.
        sigmas: The run's levels, falling.
        name: The model's input, "model" or LOW_NOISE_MODEL.
    """
    assert source.low_noise is not None
    boundary, levels = source.low_noise.boundary, sigmas[:-1].cpu()
    wrong = levels > boundary + SAME_LEVEL if name == LOW_NOISE_MODEL else levels < boundary - SAME_LEVEL
    if bool(wrong.any()):
        raise Refusal(
            f"'{name}' makes steps that the other model made at the inversion; let 'model' end and 'low noise model' "
            f"begin at sigma {boundary:g}, which is step {source.stages[0].stop} of {source.steps} ('end_at_step' and "
            "'start_at_step' of KSampler (Advanced)), with the scheduler of DDIM Invert and one shift "
            "(ModelSamplingSD3) for both models, or set 'boundary' of DDIM Invert as you sample."
        )


def guidance_note(cfg: float) -> str | None:
    """What to say of a guidance that is high for a video model, or None."""
    if cfg < HIGH_GUIDANCE:
        return None
    return f"! 'cfg' {cfg:g} is high for a video model and costs the rest of the picture much; 1 to 2 keeps it"


def unlike_guidance_note(model, source, positive) -> str | None:
    """What to say of a HunyuanVideo whose two prompts carry unlike guidance, or None: the clip's own row is then not
    what the edit starts from.

    Args:
        model: ModelPatcher.
        source, positive: CONDITIONINGs of the clip's own prompt and of the edit's.
    """
    if family_of(model) is not HUNYUAN:
        return None
    clips, edits = (float(conds[0][1].get("guidance", OWN_GUIDANCE)) for conds in (source, positive))
    if clips == edits:
        return None
    return (
        f"! 'positive' has the guidance {edits:g} (FluxGuidance) and the clip's own prompt {clips:g}, which moves the "
        "rest of the picture; put FluxGuidance on both"
    )


def notes_without_effect(settings: BlendSettings) -> list[str]:
    """What presets bring along for UNets and a video model has no part in, in words; settings: as they were chosen,
    before `video_blend.on_latent_frames`."""
    notes = []
    if settings.mask_from == OUTLINE:
        notes.append(
            "the mask is where the words are seen here and does not go on to the edges, which won nothing at low "
            "guidance on our small video model"
        )
    if settings.official_latents and settings.latent_window is not None:
        notes.append("the latent blend acts in the steps of its window, not in those of FateZero's code")
    return notes
