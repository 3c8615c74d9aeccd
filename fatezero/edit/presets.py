"""Settings in words, one for each kind of edit, and the papers' own where they differ."""

from ..masks.word_masks import AUTOMATIC
from ..prompts.window import Window
from .settings import AROUND, INPUT_MASK, OUTLINE, WORDS, BlendSettings

# The share of the steps with guidance on a new node. The last steps draw edges and grain, which flicker less without
# it; the rest stays calmer (benchmarks/quality), and such a step takes two thirds of the time.
CFG_UNTIL = 0.8

# What won on benchmarks/quality (by "a visible edit, and nothing else touched"): latents outside the words' mask are
# the source's in all steps, the mask finds its threshold by itself; an attribute keeps the source's structure
# for longer than in the paper, and the places of its words for less long, else an old colour can insist. Style's
# windows are the paper's, but the finest layers end earlier, else the old texture stays; shape's and remove's are the
# paper's too; background has none there, and with longer ones the old ground shines through.
# What is drawn anew agrees from frame to frame; a new ground until the last steps, which draw its detail.
# To the edges: a new shape gets the room of the old one's box, so that the ground and what stands beside stay; a new
# colour needs a little more, else the edge keeps the old one. A soft edge leaves more of the clip around the thing.
# New background: from the clip's noise, a wall gets stripes for bricks. Latents of what stays are not put back, which
# costs both sides of its edge.
# Remove: what stays would come again in the other's place, so there self-attention sees the ground alone.
# Add: nothing of the clip's own noise and words says what is new, so inside the mask both are put aside at first.
# Replace: beside another thing of its colour or shape a thing hardly changes, since the words for both act on both; in
# its place it is described alone, and so is each of several.
# FateZero, "as in the paper": main text (attribute fuses for t in [0.3T, T], shape in [0.5T, T]; here as fractions
# 1 - t/T) and released configs; shape and remove keep the edit's own self-attention inside the words' mask. Its code
# can blend latents too ("performance not so good in our case"), which a person may switch on.
# Video-P2P never controls self-attention: its "self" (.5, in the style's config .7) is the temporal attention of tuned
# models; others go without. Word swap and refine: main text (replacing and refinement ratio 0.4, threshold 0.3),
# latents blended from 20 % of the steps on, without end, as released. Style: released config bird-forest (children
# drawing: 0.8, no words to blend by). Re-weight: no value is given; 0.8 as in that config, since emphasis acts only
# while the source's cross-attention is used.
PRESETS = {
    "style": BlendSettings(self_window=Window(0, 0.8), cross_window=Window(0, 0.8), finest_until=0.5),
    "attribute": BlendSettings(
        self_window=Window(0, 0.9),
        cross_window=Window(0, 0.5),
        mask_from=OUTLINE,
        threshold=AUTOMATIC,
        mask_self_attention=False,
        edge_margin=1,
        latent_window=Window(0, 1),
    ),
    "shape": BlendSettings(
        self_window=Window(0, 0.5),
        cross_window=Window(0, 0.5),
        mask_from=OUTLINE,
        threshold=AUTOMATIC,
        latent_window=Window(0, 1),
        soft_edge=True,
        agree_until=1.0,
    ),
    "background": BlendSettings(self_window=Window(0, 0.5), cross_window=Window(0, 0.5)),
    "new background": BlendSettings(
        self_window=Window(0, 0.5),
        cross_window=Window(0, 0.5),
        mask_from=AROUND,
        threshold=AUTOMATIC,
        fresh_noise=1.0,
        mask_is_ground=True,
        agree_until=0.8,
    ),
    "remove": BlendSettings(
        self_window=Window(0, 0.5),
        cross_window=Window(0, 0.5),
        mask_from=OUTLINE,
        threshold=AUTOMATIC,
        edge_margin=1,
        latent_window=Window(0, 1),
        mask_uncovers=True,
        soft_edge=True,
        agree_until=1.0,
    ),
    "add": BlendSettings(
        self_window=Window(0, 0.5),
        cross_window=Window(0, 0),
        mask_from=INPUT_MASK,
        latent_window=Window(0, 1),
        new_words_until=0.5,
        fresh_noise=1.0,
        whole_cells=True,
    ),
    "replace": BlendSettings(
        self_window=Window(0, 0.5),
        cross_window=Window(0, 0.5),
        mask_from=OUTLINE,
        threshold=AUTOMATIC,
        latent_window=Window(0, 1),
        new_words_until=0.5,
        mask_phrases=True,
        whole_cells=True,
        soft_edge=True,
        agree_until=1.0,
    ),
    "enhance": BlendSettings(self_window=Window(0, 0.9), cross_window=Window(0, 0.8)),
    "attribute (as in the paper)": BlendSettings(
        self_window=Window(0, 0.7), cross_window=Window(0, 0.7), official_latents=True
    ),
    "shape (as in the paper)": BlendSettings(
        self_window=Window(0, 0.5), cross_window=Window(0, 0.5), mask_from=WORDS, threshold=0.3, official_latents=True
    ),
    "remove (as in the paper)": BlendSettings(
        self_window=Window(0, 0.5), cross_window=Window(0, 0.5), mask_from=WORDS, threshold=0.3, official_latents=True
    ),
    "word swap (Video-P2P)": BlendSettings(
        self_window=Window(0, 0),
        cross_window=Window(0, 0.4),
        mask_from=WORDS,
        threshold=0.3,
        latent_window=Window(0.2, 1),
        temporal_window=Window(0, 0.5),
    ),
    "refine (Video-P2P)": BlendSettings(
        self_window=Window(0, 0),
        cross_window=Window(0, 0.4),
        mask_from=WORDS,
        threshold=0.3,
        latent_window=Window(0.2, 1),
        temporal_window=Window(0, 0.5),
    ),
    "re-weight (Video-P2P)": BlendSettings(
        self_window=Window(0, 0), cross_window=Window(0, 0.8), temporal_window=Window(0, 0.5)
    ),
    "style (Video-P2P)": BlendSettings(
        self_window=Window(0, 0), cross_window=Window(0, 0.8), temporal_window=Window(0, 0.7)
    ),
}
AS_PUBLISHED = frozenset(name for name in PRESETS if name.endswith(")"))  # those with a paper's values name it
