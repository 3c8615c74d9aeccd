"""What Coupled Edit Sampler holds and computes, counted at the real sizes of video models on tensors without data."""

import pytest

from fatezero_pack.benchmarks.studies.video_memory import CLIPS, coupled, peak, work

SIZES = pytest.mark.parametrize("clip", [CLIPS[0], CLIPS[-1]], ids=["Wan 2.1 1.3B", "LTX-Video 2B"])


@SIZES
def test_an_edit_holds_what_guided_sampling_holds_and_two_layers_at_most(clip):
    """Two rows of plain sampling go side by side, those of an edit one by one."""
    fusion = coupled(tokens=clip.text)
    held = peak(clip, 3, fusion)
    assert not fusion.shown, "nothing of the clip's attention is left"
    assert held < peak(clip, 2) + 2 * clip.attention_bytes
    assert held > peak(clip, 1) + clip.attention_bytes


@SIZES
def test_beyond_a_row_of_plain_sampling_it_holds_two_layers_at_most(clip):
    """As ComfyUI samples where memory is short, its rows one by one; to a tenth, since prompts count too."""
    beyond = peak(clip, 2, coupled(tokens=clip.text)) - peak(clip, 1)
    assert 1 < round(beyond / clip.attention_bytes, 1) <= 2


@SIZES
def test_fusing_all_attention_takes_hardly_more_work_than_as_many_rows(clip):
    """So its time is that of ComfyUI's own sampler, as benchmarks/studies/coupled_time.py measures on a short clip."""
    edit, plain = work(clip, 2, coupled(tokens=clip.text)), work(clip, 2)
    assert 1 < edit / plain < 1.01
