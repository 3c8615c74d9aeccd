"""Masks of words on the demo video model: as they are, and drawn to the edges of the latent (`masks/outlines.py`).

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.video_outlines [--masks-only]`.
The clips are those of the choosing half of coupled_edits.py that have a place. Masks are compared with the true place
of the edit, and edits with those by the words' own mask, clip by clip. A latent frame holds four frames, so that the
true place is that in any of them. benchmarks/RESULTS.md has what it showed.
"""

import argparse
from unittest.mock import patch

import torch

from fatezero_pack.demo.video_model import WEIGHTS
from fatezero_pack.fatezero.edit.transformer.coupled_mask import words_of_latent
from fatezero_pack.fatezero.masks.clip_look import look_for_words
from fatezero_pack.fatezero.masks.latent_frames import mask_to_latent
from fatezero_pack.fatezero.masks.mask_pictures import touched_cells
from fatezero_pack.fatezero.masks.outlines import filled, outlined, outlines_of_things
from fatezero_pack.fatezero.masks.word_masks import AUTOMATIC, words_heat
from fatezero_pack.fatezero.network.transformer.families import family_of, patch_size
from fatezero_pack.fatezero.network.transformer.word_maps import ALL

from ..quality.cases import Case
from ..quality.intervals import interval
from ..quality.judge.network import Judge, load_judge
from . import video_editor
from .coupled_edits import STEPS, draw_cases, measured, read_kept
from .coupled_tables import COMPARED, kind_of
from .video_editor import SEEN, THRESHOLD, ClipEditor, Setting, VideoEditor

WORDS, CHANGED, THINGS = "words", "words, to the edges", "whole phrases, to the edges"
EDITS = (Setting(cross=0.4, mask=SEEN), Setting(cfg=5.5, mask=SEEN))


def masks_of(clip: ClipEditor) -> dict[str, torch.Tensor]:
    """Each way's mask of a clip, [F, h, w] of 0 and 1: of the words that change; from there to the edges; and as
    Attention Blend has it for UNets, of their whole phrases away from things beside them, with the hull."""
    model, edit, latent = clip.model, clip.edit, clip.latent
    options = {"part": ALL, "tokens": edit.source.end + 1, "seed": clip.case.seed}
    maps = look_for_words(model, family_of(model), clip.source, latent, **options)
    clean, size = model.model.process_latent_in(latent)[0].transpose(0, 1), tuple(latent.shape[-2:])
    changed = outlined(words_heat(maps, edit.source_mask_tokens, size), clean, THRESHOLD)
    things = outlines_of_things(maps, clean, edit.source_things(), AUTOMATIC).amax(dim=0)
    return {
        WORDS: words_of_latent(maps, edit, THRESHOLD, latent.shape, patch_size(model))[0, 0],
        CHANGED: touched_cells(changed, size),
        THINGS: filled(touched_cells(things, size)),
    }


def overlap(mask: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """How a mask agrees with the true one, shares of cells."""
    both = float(((mask > 0.5) & truth).sum())
    union, found = float(((mask > 0.5) | truth).sum()), float((mask > 0.5).sum())
    return {"IoU": both / union, "of the place": both / float(truth.sum()), "of the mask": both / max(found, 1.0)}


def edited(clip: ClipEditor, mask: torch.Tensor, judge: Judge) -> dict[str, dict[str, float]]:
    """What the study of coupled edits measures, of each of EDITS within a mask."""
    with patch.object(video_editor, "coupled_mask", lambda *_: mask[None, None]):
        return {str(setting): measured(clip, setting, judge) for setting in EDITS}


def of_case(editor: VideoEditor, case: Case, judge: Judge | None) -> tuple[dict, dict]:
    """The masks of a clip as they agree with the true one, and the edits within them (none without a judge). Edits by
    the words' own mask are those that coupled_edits.py has kept."""
    clip = ClipEditor(editor, case)
    truth = mask_to_latent(case.edited_region().float(), 4, clip.latent.shape)[0, 0] > 0.5
    masks = masks_of(clip)
    agree = {way: overlap(mask, truth) for way, mask in masks.items()}
    if judge is None:
        return agree, {}
    kept = read_kept(WEIGHTS)["runs"][f"choosing, 5 frames, {STEPS} steps"][case.name]
    edits = {way: edited(clip, mask, judge) for way, mask in masks.items() if way != WORDS}
    return agree, {**edits, WORDS: {str(setting): kept[str(setting)] for setting in EDITS}}


def told(title: str, found: list[tuple[dict, dict]]) -> None:
    """Prints means, and differences to the words' own mask with their 95 % intervals."""
    for way in (WORDS, CHANGED, THINGS):
        shares = [masks[way] for masks, _ in found]
        means = [f"{name} {sum(each[name] for each in shares) / len(shares):.2f}" for name in shares[0]]
        print(f"{title}: {way}: {', '.join(means)}", in_line([m[way]["IoU"] - m[WORDS]["IoU"] for m, _ in found]))
        for setting in map(str, EDITS if way != WORDS and found[0][1] else ()):
            pairs = [(edits[way][setting], edits[WORDS][setting]) for _, edits in found]
            differences = [f"{name} {in_line([one[name] - other[name] for one, other in pairs])}" for name in COMPARED]
            print(f"    {setting}:", ", ".join(differences))


def in_line(values: list[float]) -> str:
    return "{:+.2f} ± {:.2f}".format(*interval(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks-only", action="store_true", help="make no edits")
    judge = None if parser.parse_args().masks_only else load_judge()
    editor, found = VideoEditor(WEIGHTS, STEPS), {}
    with torch.inference_mode():
        for case in draw_cases("choosing", 4, 5):
            if EDITS[0].applies(case):
                found[case.name] = of_case(editor, case, judge)
                print(case.name, flush=True)
    for kind in dict.fromkeys(map(kind_of, found)):
        told(kind, [each for name, each in found.items() if kind_of(name) == kind])
    told("all kinds", list(found.values()))


if __name__ == "__main__":
    main()
