"""The papers' settings in words, one for each kind of edit."""
from .blend_settings import WORDS, BlendSettings
from .fusion import Window

# FateZero: main text (style and attribute fuse for t in [0.2T, T], shape in [0.5T, T]; here as fractions 1 - t/T) and
# released configs; shape and remove keep the edit's own self-attention inside the words' mask. Background has no setting
# of its own in the paper: style's did best on the three background cases of benchmarks/toy_world.py.
# Video-P2P never controls self-attention (its "self" is temporal attention, which these models lack). Word swap and
# refine: main text (replacing and refinement ratio 0.4, threshold 0.3), latents blended from 20 % of the steps on,
# without end, as released. Style: released config bird-forest (children drawing: 0.8, no words to blend by). Re-weight:
# no value is given; 0.8 as in that config, since emphasis acts only while the source's cross-attention is used.
PRESETS = {
    "style": BlendSettings(self_window=Window(0, 0.8), cross_window=Window(0, 0.8)),
    "attribute": BlendSettings(self_window=Window(0, 0.7), cross_window=Window(0, 0.7)),
    "shape": BlendSettings(self_window=Window(0, 0.5), cross_window=Window(0, 0.5), mask_from=WORDS, threshold=0.3),
    "background": BlendSettings(self_window=Window(0, 0.8), cross_window=Window(0, 0.8)),
    "word swap (Video-P2P)": BlendSettings(self_window=Window(0, 0), cross_window=Window(0, 0.4), mask_from=WORDS,
                                           threshold=0.3, latent_window=Window(0.2, 1)),
    "refine (Video-P2P)": BlendSettings(self_window=Window(0, 0), cross_window=Window(0, 0.4), mask_from=WORDS,
                                        threshold=0.3, latent_window=Window(0.2, 1)),
    "re-weight (Video-P2P)": BlendSettings(self_window=Window(0, 0), cross_window=Window(0, 0.8)),
    "style (Video-P2P)": BlendSettings(self_window=Window(0, 0), cross_window=Window(0, 0.8)),
    "enhance": BlendSettings(self_window=Window(0, 0.9), cross_window=Window(0, 0.8)),
    "remove": BlendSettings(self_window=Window(0, 0.5), cross_window=Window(0, 0.5), mask_from=WORDS, threshold=0.3),
}
