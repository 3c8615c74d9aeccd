"""Attention blending as a model patch: the edit's attention fused with the source's while any sampler runs.

The patch is one wrapper. When sampling starts it checks that source, edit and sampler fit together, and hooks the run's
private options; when sampling ends, nothing of it is left.
"""
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from comfy.sampler_helpers import convert_cond

from . import blend_check
from .attention_hooks import CROSS, SELF, downsampling, install_hooks, layer_size, plain_attention
from .blend_settings import INPUT_MASK, INVERSION, NO_MASK, RECONSTRUCTION, WORDS, WORDS_IN_MASK, BlendSettings
from .fusion import Window, cross_weights, fuse_cross, fuse_self
from .inversion import layer_word_maps
from .latent_blend import blend_denoised
from .masks import mask_downsampling, resize_mask, words_mask
from .prompt_edit import PromptEdit
from .source_run import SourceRun

KEY = "fatezero_blend"
SOURCE = "fatezero_source"


def blend_attention(model, source: SourceRun, edit: PromptEdit, settings: BlendSettings):
    """A clone of the model that fuses attention whenever it is sampled; blending again replaces the earlier blend."""
    blended = model.clone()

    def outer_sample(executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
        guider = executor.class_obj
        blend_check.check_run(guider, source, edit, settings, latent_image, sampler, sigmas, args, kwargs)
        noise, latent_image = starting_point(guider, source, noise, latent_image, sigmas)
        run = BlendRun(source, edit, settings, guider)
        run.install()
        samples = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        return finished(guider, source, samples, sigmas)

    blended.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    blended.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, outer_sample)
    return blended


def starting_point(guider, source: SourceRun, noise, latent_image, sigmas):
    """Noise and latent with which an edit starts.

    A sampler that adds no noise gets its latent as given; one that would add noise (plain KSampler) starts from the
    inverted latent of its first sigma instead, since random noise has nothing of the clip in it.
    """
    model = guider.model_patcher.model
    first = float(sigmas[0])
    inverted = model.process_latent_out(source.trajectory[-1])
    untouched = latent_image.shape == inverted.shape and torch.allclose(latent_image.float().cpu(), inverted, atol=1e-4)
    if not noise.any() and not untouched:
        if first >= float(source.sigmas[-1]) * 0.999:
            blend_check.check_start(latent_image, inverted)
        return noise, latent_image
    start = source.latent_at(first)
    beyond = first - float(source.sigmas[-1])
    if beyond > 0:  # as inversion would have gone on: the noise grows, the clip in it does not
        (before, end), sigmas = source.trajectory[-2:], source.sigmas[-2:]
        start = start + beyond * (end - before) / (sigmas[1] - sigmas[0])
    return torch.zeros_like(noise), model.process_latent_out(start).to(latent_image)


def finished(guider, source: SourceRun, samples, sigmas):
    """The samples as a clean latent: a schedule that ends at alpha_bar_0 leaves them scaled by sqrt(1 + sigma²)."""
    last = float(sigmas[-1])
    if last == 0 or abs(last - float(source.sigmas[0])) > 1e-4 * last:
        return samples
    model = guider.model_patcher.model
    return model.process_latent_out(model.process_latent_in(samples) / (1 + last**2) ** 0.5)


class BlendRun:
    """One sampling run: at each step reads the source's queries and keys, then fuses them into the edit's rows."""

    def __init__(self, source: SourceRun, edit: PromptEdit, settings: BlendSettings, guider):
        self.source, self.edit, self.settings = source, edit, settings
        self.guider = guider
        self.source_conds = None
        self.mode = None  # "read" while the source's rows run, "fuse" in the step's first evaluation of the edit
        self.queries_keys = {}
        self.word_maps = []
        self.target_word_maps = None
        self.masks = {}
        self.reconstruction = None
        self.map_downsampling = mask_downsampling(*source.trajectory.shape[-2:])

    def install(self):
        """Hooks the run's private options (ComfyUI made them for this run and drops them after it)."""
        guider = self.guider
        options = guider.model_options["transformer_options"]
        install_hooks(options, guider.model_patcher.model.diffusion_model, self.attend)
        wrappers = options["wrappers"] = dict(options.get("wrappers", {}))
        for kind, wrapper in ((WrappersMP.PREDICT_NOISE, self.predict_noise),
                              (WrappersMP.CALC_COND_BATCH, self.calc_cond_batch)):
            wrappers[kind] = {**wrappers.get(kind, {}), KEY: [wrapper]}
        guider.model_options.pop("multigpu_clones", None)
        # Named among the guider's conditionings, its ControlNets are loaded with the edit's and cleaned up with them.
        guider.conds[SOURCE] = convert_cond(self.source.conditioning)

    # The two wrappers of a step.

    def predict_noise(self, executor, x, timestep, model_options={}, seed=None):
        sigma = float(timestep.flatten()[0])
        self.begin_step(x, sigma)
        if self.layers_to_fuse or (self.settings.attention_from == RECONSTRUCTION and self.uses_source):
            self.read_source(x, timestep, sigma, model_options)
        self.mode = "fuse"
        try:
            denoised = executor(x, timestep, model_options, seed)
        finally:
            self.mode = None
            self.queries_keys.clear()
        return self.blend_latents(x, denoised, sigma, model_options)

    def calc_cond_batch(self, executor, *args, **kwargs):
        try:
            return executor(*args, **kwargs)
        finally:
            # Guidance nodes (PAG, SAG, PerpNeg ...) evaluate the model again within a step: those calls stay theirs.
            if self.mode == "fuse":
                self.mode = None

    # A step, part by part.

    def begin_step(self, x, sigma: float):
        """Works out, once per step, which windows are open and what the words weigh."""
        settings, steps = self.settings, self.source.steps
        self.step = self.source.step_at(sigma)
        self.masks = {}
        self.positive = {cond["uuid"] for cond in self.guider.conds["positive"]}
        self.fuse_self = settings.self_window.contains(self.step, steps)
        self.cross = cross_weights(self.edit, settings.cross_window, self.step, steps)
        self.layers_to_fuse = {kind for kind, used in ((SELF, self.fuse_self), (CROSS, self.cross is not None)) if used}
        if self.cross is not None:
            self.cross = tuple(weights.to(x.device) for weights in self.cross)
        self.word_maps = []
        if settings.attention_from == INVERSION and self.reads_words:
            self.word_maps = [self.source.word_maps_at(sigma).to(x.device)]

    @property
    def reads_words(self) -> bool:
        return self.settings.mask_from in (WORDS, WORDS_IN_MASK)

    @property
    def uses_source(self) -> bool:
        """Whether a later step may still need the reconstruction to have kept pace."""
        settings = self.settings
        windows = [settings.self_window, settings.cross_window, settings.latent_window or Window(0, 0)]
        ends = [window.end for window in windows] + [end for _, _, end in self.edit.windows]
        return self.step <= max(ends) * self.source.steps

    def read_source(self, x, timestep, sigma: float, model_options):
        """Runs the source's rows at this step and keeps the queries and keys of the layers to be fused."""
        conds = self.processed_source_conds(x)
        self.mode = "read"
        try:
            if self.settings.attention_from == INVERSION:
                fed = self.source.fed_at(sigma).to(x)
                comfy.samplers.calc_cond_batch(self.guider.inner_model, [conds], fed, timestep, model_options)
            else:
                self.reconstruct(x, timestep, sigma, conds, model_options)
        finally:
            self.mode = None

    def processed_source_conds(self, x):
        """The source's conditioning encoded for the model, apart from the edit's: core would hand the target's old-style
        ControlNet on to every conditioning that has none."""
        if self.source_conds is None:
            conds = {SOURCE: [cond.copy() for cond in convert_cond(self.source.conditioning)]}
            self.source_conds = comfy.samplers.process_conds(self.guider.inner_model, x, conds, x.device)[SOURCE]
        return self.source_conds

    def reconstruct(self, x, timestep, sigma: float, conds, model_options):
        """Prompt-to-prompt's source branch: denoises the inverted noise under source prompt and the edit's guidance."""
        if self.reconstruction is None:
            latent = self.source.latent_at(sigma).to(x)
        else:
            latent, slope, previous_sigma = self.reconstruction
            latent = latent + (sigma - previous_sigma) * slope
        guidance = getattr(self.guider, "cfg", 1.0)
        negative = self.guider.conds.get("negative") if guidance != 1.0 else None
        denoised, unconditional = comfy.samplers.calc_cond_batch(
            self.guider.inner_model, [conds, negative], latent, timestep, model_options)
        if negative is not None:
            denoised = unconditional + guidance * (denoised - unconditional)
        self.reconstruction = latent, (latent - denoised) / sigma, sigma

    def source_latent_at(self, sigma: float, x):
        """The source's latent at the level that the edit is moving to."""
        if self.settings.attention_from == INVERSION:
            return self.source.latent_at(sigma).to(x)
        latent, slope, from_sigma = self.reconstruction
        return latent + (sigma - from_sigma) * slope

    def blend_latents(self, x, denoised, sigma: float, model_options):
        window = self.settings.latent_window
        if window is None or not window.contains(self.step, self.source.steps):
            return denoised
        schedule = model_options["transformer_options"]["sample_sigmas"]
        lower = schedule[schedule < sigma * (1 - 1e-5)]
        if len(lower) == 0:
            return denoised
        next_sigma = float(lower.max())
        mask = self.mask(x.shape[-2:], x.device, with_target=True)
        if mask is None:
            return denoised
        return blend_denoised(x, denoised, self.source_latent_at(next_sigma, x), mask[:, None], sigma, next_sigma)

    # Inside the UNet.

    def attend(self, layer, query, key, value, extra, previous):
        """The hook of every attention layer; see `install_hooks`."""
        def attention(query, key, value):
            return plain_attention(query, key, value, extra)

        if self.mode == "read":
            self.read_layer(layer, query, key, extra)
        if self.mode != "fuse":
            return attention(query, key, value) if previous is None else previous(query, key, value, extra)

        rows = query.chunk(len(extra["uuids"])), key.chunk(len(extra["uuids"])), value.chunk(len(extra["uuids"]))
        whole = None if previous is None else previous(query, key, value, extra).chunk(len(extra["uuids"]))
        outputs = []
        for index, (uuid, *edit_qkv) in enumerate(zip(extra["uuids"], *rows)):
            fused = self.fuse_layer(layer, edit_qkv, extra, attention) if uuid in self.positive else None
            if fused is None:
                outputs.append(attention(*edit_qkv) if whole is None else whole[index])
            elif whole is None:
                outputs.append(fused)
            else:  # another node's attention stays, moved by what fusion changes
                outputs.append(whole[index] + fused - attention(*edit_qkv))
        return torch.cat(outputs)

    def read_layer(self, layer, query, key, extra):
        """Keeps the source's queries and keys (and in a reconstruction its word maps) as they pass."""
        index = extra["cond_or_uncond"].index(0) if 0 in extra["cond_or_uncond"] else None
        if index is None:
            return
        rows = len(extra["cond_or_uncond"])
        query, key = query.chunk(rows)[index], key.chunk(rows)[index]
        if layer.kind in self.layers_to_fuse and self.is_fused(extra):
            self.queries_keys[layer] = query, key
        if self.settings.attention_from == RECONSTRUCTION and self.reads_words and layer.kind == CROSS:
            if downsampling(extra) == self.map_downsampling:
                self.word_maps.append(layer_word_maps(query, key, extra))

    def is_fused(self, extra) -> bool:
        return self.settings.finest_layers or downsampling(extra) > 1

    def fuse_layer(self, layer, edit_qkv, extra, attention):
        """One conditional row's fused attention, or None where the edit keeps its own."""
        query, key, _ = edit_qkv
        if layer.kind == CROSS:
            self.add_target_words(query, key, extra)
        source_qk = self.queries_keys.get(layer)
        if source_qk is None:
            return None
        if source_qk[0].shape != query.shape:
            raise ValueError("Attention Blend: the edit's attention has another size than the source's; another node "
                             "on this model changes it from step to step (Kohya Deep Shrink ...): remove it.")
        if layer.kind == CROSS:
            blend_check.check_target_length(key.shape[1], self.edit)
            return fuse_cross(attention, edit_qkv, source_qk, *self.cross)
        mask = self.mask(layer_size(extra, query.shape[1]), query.device)
        return fuse_self(attention, edit_qkv, source_qk, None if mask is None else mask.flatten(1))

    def add_target_words(self, query, key, extra):
        """Sums the edit's own word maps over the steps, before fusion, for the latents' mask."""
        if self.settings.latent_window is None or not self.reads_words:
            return
        if downsampling(extra) == self.map_downsampling:
            maps = layer_word_maps(query, key, extra)
            self.target_word_maps = maps if self.target_word_maps is None else self.target_word_maps + maps

    def mask(self, size, device, with_target: bool = False):
        """Where the edit keeps its own, [n, height, width] of 0..1 (None: nowhere), made once per step and size.

        with_target: also where the target's words are, by the average of their maps so far.
        """
        key = tuple(size), with_target
        if key not in self.masks:
            mask = self.make_mask(tuple(size), device, with_target)
            self.masks[key] = mask if mask is not None and bool(mask.any()) else None
        return self.masks[key]

    def make_mask(self, size, device, with_target: bool):
        settings = self.settings
        if settings.mask_from == NO_MASK:
            return None
        mask = None
        if self.reads_words:
            maps = torch.stack(self.word_maps).mean(dim=0)
            mask = words_mask(maps, self.edit.source_mask_tokens, size, settings.threshold)
            if with_target and self.target_word_maps is not None:
                target = words_mask(self.target_word_maps, self.edit.target_mask_tokens, size, settings.threshold)
                mask = torch.maximum(mask, target)
        if settings.mask_from in (INPUT_MASK, WORDS_IN_MASK):
            given = resize_mask(settings.mask.to(device), size).expand(self.source.frames, *size)
            mask = given if mask is None else mask * given
        return mask
