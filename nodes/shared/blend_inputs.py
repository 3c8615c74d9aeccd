"""The inputs that Attention Blend and Attention Blend Sampler share: preset, windows and mask."""

from dataclasses import replace

from ...fatezero.compat import io
from ...fatezero.edit.automatic import AUTOMATIC, automatic_preset, changes_in_words, lacks_place
from ...fatezero.edit.edit_check import check_settings, crowded_mask, kept_things, new_shape, thing_beside
from ...fatezero.edit.idle_settings import grey_mask, idle_latent_blend, idle_settings, small_mask
from ...fatezero.edit.presets import PRESETS
from ...fatezero.edit.settings import (
    AROUND,
    AS_PRESET,
    AUTO_CACHE,
    CACHE,
    CLIP_NOISE,
    FAST_RECONSTRUCTION,
    FRESH_NOISE,
    INPUT_MASK,
    INVERSION,
    NO_MASK,
    OUTLINE,
    RECONSTRUCTION,
    REPLAY,
    WORDS,
    WORDS_IN_MASK,
    BlendSettings,
)
from ...fatezero.edit.transformer.video_check import notes_without_effect
from ...fatezero.edit.unet.source_attention import plan_source_attention
from ...fatezero.edit.unet.strangers import what_changed
from ...fatezero.masks.mask_pictures import stretch_notes
from ...fatezero.masks.source_mask import clip_size
from ...fatezero.network.unet.chunked_sampling import ChunkedRun
from ...fatezero.prompts.window import Window
from ...fatezero.refusal import Refusal, shortened
from ...fatezero.source.source_check import check_edit

SEARCHED_FOR = ["video prompt edit", "edit video", "change prompt", "v2v", "video to video", "vid2vid", "video edit"]
# What the templates of video models have: background, with the words' places until 0.4 and no source self-attention.
ON_VIDEO_MODELS = {"preset": "background", "self_until": 0.0, "cross_until": 0.4}
ALL_LAYERS, OFFICIAL_LAYERS = "all", "all but the finest (official code)"


def blend_inputs() -> list:
    """The inputs, in the order in which both nodes show them."""
    return [
        io.DynamicCombo.Input(
            "preset",
            options=[
                io.DynamicCombo.Option(AUTOMATIC, []),
                *(io.DynamicCombo.Option(name, _preset_inputs(preset)) for name, preset in PRESETS.items()),
            ],
            tooltip="Settings for a kind of edit. automatic finds the kind in the prompts and says which it took; the "
            "others show every value, to be changed. Those of Video-P2P go with 'attention from' reconstruction; the "
            "help page says what they need in Edit Prompts.",
        ),
        io.Combo.Input(
            "layers",
            options=[AS_PRESET, ALL_LAYERS, OFFICIAL_LAYERS],
            default=AS_PRESET,
            optional=True,
            advanced=True,
            tooltip="Fuse every attention layer, or leave out those of the latent's own resolution as the official "
            "code does, so that fine texture is the edit's own. Of the presets style does so in the later half.",
        ),
        io.Combo.Input(
            "attention_from",
            options=[INVERSION, RECONSTRUCTION, FAST_RECONSTRUCTION],
            default=INVERSION,
            optional=True,
            advanced=True,
            tooltip="Source attention from the inversion (FateZero, keeps motion best), from a guided "
            "reconstruction of the source (prompt-to-prompt; Video-P2P, when 'inverted clip' comes from "
            "Null-Text Optimization), or from one without guidance (Video-P2P's fast mode).",
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Where to edit (white), one mask for all frames or one each, of any size; used when "
            "'mask from' names it. Fit Mask fits one that was drawn on the original footage.",
        ),
        io.Combo.Input(
            "source_attention",
            options=[AUTO_CACHE, REPLAY, CACHE],
            default=AUTO_CACHE,
            optional=True,
            advanced=True,
            tooltip="Where the source's attention comes from during the edit. replay: the source runs beside it, no "
            "memory. cache: this edit keeps it in VRAM, RAM or on disk, and later edits of the same "
            "source are about a third faster. auto: keeps it where it is small.",
        ),
    ]


def noise_inputs() -> list:
    """What both nodes show last."""
    return [
        io.Combo.Input(
            "mask_noise",
            options=[AS_PRESET, CLIP_NOISE, FRESH_NOISE],
            default=AS_PRESET,
            optional=True,
            advanced=True,
            tooltip="What the edit starts from inside the mask. the clip's: its inverted noise, which keeps shapes. "
            "fresh: new noise that moves with the mask; try it where an old shape insists, it can also lose what was "
            "right. Of the presets add and new background have fresh noise.",
        ),
        io.Int.Input(
            "fresh_noise_seed",
            default=0,
            min=0,
            max=2**32 - 1,
            optional=True,
            advanced=True,
            tooltip="Another seed draws the new thing otherwise; only for fresh noise inside the mask.",
        ),
    ]


def _preset_inputs(preset: BlendSettings) -> list:
    latent = preset.latent_window

    def fraction(name, value, tooltip):
        return io.Float.Input(name, default=value, min=0.0, max=1.0, step=0.01, round=0.001, tooltip=tooltip)

    inputs = [
        fraction(
            "self_from",
            preset.self_window.start,
            "Share of the steps after which the source's self-attention "
            "(layout, structure, motion) is used; 0 is from the start.",
        ),
        fraction(
            "self_until",
            preset.self_window.end,
            "Share of the steps until which the source's self-attention is "
            "used: higher keeps more of the clip, lower changes more.",
        ),
        fraction(
            "cross_from",
            preset.cross_window.start,
            "Share of the steps after which the source's cross-attention is used.",
        ),
        fraction(
            "cross_until",
            preset.cross_window.end,
            "Share of the steps until which the source's cross-attention "
            "(where each word is) is used: higher keeps places and shapes, lower frees the new words.",
        ),
        io.Combo.Input(
            "mask_from",
            options=[NO_MASK, WORDS, OUTLINE, INPUT_MASK, WORDS_IN_MASK, AROUND],
            default=preset.mask_from,
            tooltip="Where to edit: off (no mask), where the words to mask are seen, from there to the edges of the "
            "thing in the picture, your mask input, where words and mask input agree, or everywhere but in the things "
            "that both prompts have. Outside, latents (with 'latent blend') and self-attention are the source's.",
        ),
        fraction(
            "mask_threshold",
            preset.threshold,
            "tau: how strongly a place must belong to the words, relative to "
            "the strongest place in the frame; lower makes a larger mask. 0 finds it by itself in each frame.",
        ),
        io.Boolean.Input(
            "latent_blend",
            default=latent is not None,
            tooltip="Puts everything outside the mask back to the source after each step; needs a mask.",
        ),
        fraction("latent_from", latent.start if latent else 0.2, "Share of the steps after which latents are blended."),
        fraction(
            "latent_until",
            latent.end if latent else 0.8 if preset.official_latents else 1.0,
            "Share of the steps until which latents are blended.",
        ),
        io.Boolean.Input(
            "mask_self_attention",
            default=preset.mask_self_attention,
            tooltip="Inside the mask the edit keeps its own self-attention, which frees its shape. Off: "
            "layout comes from the source everywhere, and the mask is for latents alone.",
        ),
    ]
    if preset.new_words_until:  # in presets that had it from the start: a widget more would shift saved ones
        inputs.append(
            fraction(
                "new_words_until",
                preset.new_words_until,
                "Share of the steps until which the place in the mask sees the new words alone: higher makes sure that "
                "the thing appears, lower lets it go with the rest of the picture.",
            )
        )
    return inputs


def taken_preset(source, edit, preset: dict | None, mask=None) -> tuple[dict | None, list[str]]:
    """In place of *automatic* the preset that it takes, with its values, and what to tell of it; others as they are."""
    if (preset or {}).get("preset") != AUTOMATIC:
        return preset, []
    place = {} if mask is None else {"mask_from": INPUT_MASK, "latent_blend": True, "latent_from": 0}
    if source.cell.is_video:
        return {**ON_VIDEO_MODELS, **place}, [f"preset automatic is {ON_VIDEO_MODELS['preset']} on every video model"]
    name, changes = automatic_preset(edit, mask is not None), changes_in_words(edit)
    found = f'preset automatic is {name} here, for "{changes}"'
    if not changes:
        found = f"preset automatic is {name} here, since no word changes"
    lost = ", ".join(lacks_place(edit, mask is not None))
    notes = [f"! \"{lost}\" has no place; connect a MASK to 'mask' that is white there"] if lost else []
    return {"preset": name, **place}, [*notes, found]  # a node shows the first lines of a text at once


def read_settings(
    source,
    edit,
    preset: dict | None,
    layers: str = AS_PRESET,
    attention_from: str = INVERSION,
    mask=None,
    source_attention: str = AUTO_CACHE,
    mask_noise: str = AS_PRESET,
    fresh_noise_seed: int = 0,
) -> BlendSettings:
    """The checked BlendSettings of what a person chose; errors as `check_settings` and `check_edit`."""
    name = (preset or {}).get("preset")
    if name not in PRESETS:
        raise Refusal(f"'preset' is {shortened(name)}; choose one of {', '.join([AUTOMATIC, *PRESETS])}.")
    values = {item.id: preset.get(item.id, item.default) for item in _preset_inputs(PRESETS[name])}
    settings = replace(
        PRESETS[name],
        self_window=Window(values["self_from"], values["self_until"]),
        cross_window=Window(values["cross_from"], values["cross_until"]),
        mask_from=values["mask_from"],
        threshold=values["mask_threshold"],
        mask=mask[None] if mask is not None and mask.ndim == 2 else mask,
        latent_window=Window(values["latent_from"], values["latent_until"]) if values["latent_blend"] else None,
        mask_self_attention=values["mask_self_attention"],
        # As a preset has it, but for a video model, whose layers are all alike.
        finest_until={ALL_LAYERS: 1.0, OFFICIAL_LAYERS: 0.0}.get(
            layers, 1.0 if source.cell.is_video else PRESETS[name].finest_until
        ),
        attention_from=attention_from,
        source_attention=source_attention,
        new_words_until=values.get("new_words_until", 0.0),
        fresh_noise={CLIP_NOISE: 0.0, FRESH_NOISE: 1.0}.get(mask_noise, PRESETS[name].fresh_noise),
        noise_seed=fresh_noise_seed,
    )
    check_edit(edit, source)
    check_settings(source, edit, settings)
    return settings


def notes_on(settings: BlendSettings, preset: dict, edit, source) -> list[str]:
    """What was set and has no effect, or not the one that is looked for; preset, edit and source: as of
    `read_settings`, and the settings that it gave."""
    usual = PRESETS[preset["preset"]]
    defaults = {item.id: item.default for item in _preset_inputs(usual)}
    usual_window, window = (
        Window(values["latent_from"], values["latent_until"]) for values in (defaults, {**defaults, **preset})
    )
    is_on = settings.latent_window is not None
    idle = [*idle_settings(settings, usual), *idle_latent_blend(is_on, window, usual_window)]
    drawn = settings.mask is not None and settings.mask_from in (INPUT_MASK, WORDS_IN_MASK)
    stretched = stretch_notes(settings.mask, clip_size(source)) if drawn else []
    if source.cell.is_video:
        by_model = notes_without_effect(settings)
    else:
        by_model = thing_beside(edit, settings) or new_shape(preset["preset"], edit, settings)
        by_model = [*kept_things(edit, settings), *by_model]
    of_the_mask = [*grey_mask(settings), *small_mask(settings, source), *stretched]
    return [*idle, *of_the_mask, *crowded_mask(edit, settings), *by_model]


def price(model, source, edit, settings: BlendSettings) -> str:
    """What an edit takes, by the memory there is now, before a sampler runs it; the run then tells it by its own.

    Raises:
        Refusal: A cache was asked for and is not available.
    """
    plan = plan_source_attention(model, source, edit, settings)
    chunks = ChunkedRun(model, extra_bytes=plan.demand.read_bytes)
    lines = [str(plan), chunks.describe(source.trajectory.shape[1:]), *what_changed(model, source)]
    return "\n".join(lines)
