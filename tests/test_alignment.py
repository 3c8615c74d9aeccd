"""The mapper, against plain references of what the official aligner does where it is right, and by its properties."""

import functools
import itertools
import random
from collections import Counter
from dataclasses import replace

import comfy.sd1_clip
import pytest
import torch

from costs import lines_run
from fatezero_pack.fatezero.prompts import word_matching
from fatezero_pack.fatezero.prompts.alignment import KEPT, align
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.word_matching import match_words

SD1 = comfy.sd1_clip.SD1Tokenizer()
SOURCE_WORDS = ["a", "silver", "jeep", "driving", "the", "countryside", "lamborghini", "motorbiker", "on", "teddybears"]
OTHER_WORDS = ["red", "porsche", "watercolor", "swarovski", "crystals", "bird", "lego", "photorealism", "pokemon"]


def prompt(text):
    return tokenize_prompt(SD1, text)


@functools.cache
def token_count(word):
    return len(prompt(word).words[0].indices)


def official_replacement(source, target):
    """Word by word in place, |S| to |T| tokens each; from the last changed word on, column j reads row j."""
    mapper, i, j = torch.zeros(77, 77), 0, 0
    pairs = [(token_count(a), token_count(b), a != b) for a, b in zip(source.split(), target.split(), strict=True)]
    last = max((number for number, (_, _, changed) in enumerate(pairs) if changed), default=-1)
    mapper[0, 0] = 1
    i = j = 1
    for old, new, changed in pairs[: last + 1]:
        if changed and old != new:
            mapper[i : i + old, j : j + new] = 1 / new
        else:
            mapper[range(i, i + old), range(j, j + new)] = 1
        i, j = i + old, j + new
    mapper[range(j, 77), range(j, 77)] = 1
    return mapper


def official_refinement(source, target):
    """Needleman-Wunsch on token ids: match 1, mismatch -1, gap 0; behind the prompt, column j reads row j."""
    x, y = (list(tokens.ids[: tokens.end + 1]) for tokens in (prompt(source), prompt(target)))
    score = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
    for i, j in itertools.product(range(len(x)), range(len(y))):
        score[i + 1][j + 1] = max(score[i + 1][j], score[i][j + 1], score[i][j] + (1 if x[i] == y[j] else -1))
    mapper, aligned = torch.zeros(77, 77), torch.zeros(77)
    i, j = len(x), len(y)
    while i and j:
        if score[i][j] == score[i][j - 1]:
            j -= 1
        elif score[i][j] == score[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            mapper[i, j] = aligned[j] = 1
    mapper[range(len(y), 77), range(len(y), 77)] = 1
    aligned[len(y) :] = 1
    return mapper, aligned


def links(source, target, mode):
    """{target word: {source word: weight}} for the words of two prompts."""
    a, b = prompt(source), prompt(target)
    mapper = align(a, b, mode).mapper
    return {
        word.text: {
            other.text: round(mapper[list(other.indices)][:, list(word.indices)].sum().item(), 4)
            for other in a.words
            if mapper[list(other.indices)][:, list(word.indices)].any()
        }
        for word in b.words
    }


def assert_sound(source, target, alignment):
    """What holds for the alignment of any two prompts."""
    mapper, from_source = alignment.mapper, alignment.from_source
    assert mapper.shape == (source.length, target.length) and from_source.shape == (target.length,)
    assert mapper.dtype == from_source.dtype == torch.float32 and (mapper >= 0).all()
    assert torch.equal(from_source, (mapper.sum(dim=0) > 0).float())
    kinds = [["word"] * tokens.length for tokens in (source, target)]
    for kind, tokens in zip(kinds, (source, target)):
        for chunk in tokens.chunks:
            kind[chunk.begin], kind[chunk.end] = "begin", "end"
            for index in chunk.padding:
                kind[index] = "padding"
    full = any(not chunk.padding for chunk in source.chunks)
    for i, j in mapper.nonzero().tolist():
        assert kinds[0][i] == kinds[1][j] or (full and (kinds[0][i], kinds[1][j]) == ("end", "padding"))
    special = [j for j, kind in enumerate(kinds[1]) if kind != "word"]
    assert from_source[special].all()
    assert Counter(word for row in alignment.rows for word in row.source) == Counter(source.words)
    assert Counter(word for row in alignment.rows for word in row.target) == Counter(target.words)


def changed(alignment):
    """The tokens of the words, no punctuation, that the other prompt lacks: the source's and the target's."""
    rows = [row for row in alignment.rows if row.kind != KEPT]
    both = ([word for row in rows for word in row.source], [word for row in rows for word in row.target])
    return tuple(tuple(index for word in side if not word.is_punctuation for index in word.indices) for side in both)


def test_golden_swap():
    road = " driving down a curvy road in the countryside"
    alignment = align(prompt("a silver jeep" + road), prompt("a red porsche" + road))
    assert alignment.mode == "swap"
    assert torch.equal(alignment.mapper, torch.eye(77))
    assert changed(alignment) == ((2, 3), (2, 3))


def test_golden_refine():
    source = "a silver jeep driving down a curvy road in the countryside"
    alignment = align(prompt(source), prompt("watercolor painting of " + source))
    assert alignment.mode == "refine"
    mapper, aligned = official_refinement(source, "watercolor painting of " + source)
    assert torch.equal(alignment.mapper, mapper) and torch.equal(alignment.from_source, aligned)
    assert alignment.from_source.tolist() == [1, 0, 0, 0] + [1] * 73
    assert changed(alignment) == ((), (1, 2, 3))


def test_swap_is_the_official_replacement_when_token_counts_are_equal():
    pick, compared = random.Random(1), 0
    while compared < 100:
        source = pick.choices(SOURCE_WORDS, k=pick.randint(2, 12))
        target = [pick.choice(OTHER_WORDS) if pick.random() < 0.4 else word for word in source]
        if sum(map(token_count, source)) == sum(map(token_count, target)) and source != target:
            compared += 1
            source, target = " ".join(source), " ".join(target)
            alignment = align(prompt(source), prompt(target))
            assert alignment.mode == "swap"
            assert torch.allclose(alignment.mapper, official_replacement(source, target)), (source, target)


def test_refine_is_the_official_refinement_when_words_are_only_added():
    pick = random.Random(2)
    for _ in range(100):
        source = pick.choices(SOURCE_WORDS, k=pick.randint(1, 12))
        target = [word for old in source for word in (*pick.choices(OTHER_WORDS, k=pick.choice([0, 0, 1, 2])), old)]
        source, target = " ".join(source), " ".join([*target, *pick.choices(OTHER_WORDS, k=pick.choice([0, 1]))])
        alignment = align(prompt(source), prompt(target))
        mapper, aligned = official_refinement(source, target)
        assert alignment.mode == "refine"
        assert torch.equal(alignment.mapper, mapper), (source, target)
        assert torch.equal(alignment.from_source, aligned)


def test_swap_goes_on_rightly_after_a_longer_word():
    """The official code's mapper reads the wrong rows after the last changed word when token counts differ."""
    linked = links("a man is riding a motorbike", "a Spider-Man is riding a motorbike", "swap")
    assert linked == {
        "a": {"a": 1},
        "Spider-Man": {"man": 1},
        "is": {"is": 1},
        "riding": {"riding": 1},
        "motorbike": {"motorbike": 1},
    }
    source, target = prompt("a man is riding"), prompt("a Spider-Man is riding")
    mapper = align(source, target, "swap").mapper
    assert torch.allclose(mapper[2, 2:5], torch.full((3,), 1 / 3))
    assert mapper[source.end, target.end] == 1 and mapper[:, target.end].sum() == 1


@pytest.mark.parametrize("mode", ["swap", "refine"])
def test_padding_follows_padding_when_the_target_is_shorter(mode):
    """The official code's refinement lets the padding of a shorter target read words."""
    source, target = prompt("a very very old silver jeep driving down a road"), prompt("a jeep")
    mapper = align(source, target, mode).mapper
    assert mapper[source.end].nonzero().tolist() == [[target.end]]
    for index in target.chunks[0].padding:
        assert mapper[:, index].nonzero().tolist() == [[max(index, source.end + 1)]]


@pytest.mark.parametrize("mode", ["auto", "swap"])
def test_a_trailing_comma_shifts_nothing(mode):
    """The official configs' source prompts end in a comma that the targets do not have."""
    road = " driving down a curvy road in the countryside"
    with_comma, without = prompt("a silver jeep" + road + ","), prompt("a red porsche" + road)
    alignment = align(with_comma, without, mode)
    assert alignment.mode == "swap"
    assert torch.equal(alignment.mapper[:12, :12], torch.eye(12))
    assert alignment.mapper[12].sum() == 0 and alignment.mapper[13, 12] == 1
    assert changed(alignment)[0] == (2, 3)
    assert align(prompt("a jeep, sunny"), prompt("a porsche sunny")).mode == "swap"


@pytest.mark.parametrize("mode", ["auto", "swap", "refine"])
@pytest.mark.parametrize("text", ["a silver jeep", "a a a, a", "Spider-Man " * 30, "jeep " * 75, "jeep road, " * 70])
def test_the_same_prompt_maps_to_itself(text, mode):
    tokens = prompt(text)
    alignment = align(tokens, tokens, mode)
    assert torch.equal(alignment.mapper, torch.eye(tokens.length)) and alignment.from_source.all()
    assert changed(alignment) == ((), ())
    assert {row.kind for row in alignment.rows} == {"kept"}


def test_case_and_weights_change_nothing():
    assert torch.equal(align(prompt("A Silver Jeep"), prompt("a (silver:1.3) jeep")).mapper, torch.eye(77))


@pytest.mark.parametrize(
    "source, target, mode",
    [
        ("a silver jeep", "a red porsche", "swap"),
        ("a silver jeep", "watercolor painting of a red porsche", "swap"),
        ("a silver jeep, sunny", "a porsche, sunny", "refine"),
        ("a silver jeep", "a silver jeep", "refine"),
        ("a silver jeep", "a rusty silver jeep", "refine"),
        ("a red car on a road", "a car on a snowy road", "refine"),
        ("a cat and a dog", "a dog and a cat", "refine"),
        ("a cat and a dog", "a cow and a wolf", "swap"),
    ],
)
def test_auto(source, target, mode):
    alignment = align(prompt(source), prompt(target))
    assert alignment.mode == mode
    assert torch.equal(alignment.mapper, align(prompt(source), prompt(target), mode).mapper)


def test_swapping_runs_of_words():
    assert links("a silver jeep", "a porsche", "swap")["porsche"] == {"silver": 1, "jeep": 1}
    linked = links("a jeep here", "a big red car here", "swap")
    assert {linked[word]["jeep"] for word in ("big", "red", "car")} == {0.3333} and linked["here"] == {"here": 1}
    linked = links("a jeep, sunny", "a porsche, at night, sunny", "swap")
    assert linked["porsche"] == {"jeep": 1} and linked["sunny"] == {"sunny": 1}
    assert linked["at"] == linked["night"] == {}


def test_refining_keeps_new_words_to_themselves():
    linked = links("a silver jeep", "a red porsche", "refine")
    assert linked == {"a": {"a": 1}, "red": {}, "porsche": {}}


def test_repeated_words_stay_with_their_neighbours():
    """The road keeps its own article, not the jeep's."""
    alignment = align(prompt("a silver jeep on a road"), prompt("a road"), "refine")
    assert alignment.mapper[:, 1].nonzero().tolist() == [[5]]
    alignment = align(prompt("red house"), prompt("red car and red house"), "refine")
    assert alignment.from_source[:6].tolist() == [1, 0, 0, 0, 1, 1]


def test_removing_is_the_mirror_of_adding():
    pick = random.Random(3)
    for _ in range(25):
        short = pick.choices(SOURCE_WORDS, k=pick.randint(1, 80))
        long = [word for old in short for word in (*pick.choices(OTHER_WORDS, k=pick.choice([0, 0, 1])), old)]
        a, b = prompt(" ".join(short)), prompt(" ".join(long))
        there, back = align(a, b, "refine"), align(b, a, "refine")
        own_a, own_b = ([index for word in tokens.words for index in word.indices] for tokens in (a, b))
        assert torch.equal(there.mapper[own_a][:, own_b], back.mapper[own_b][:, own_a].T)
        assert changed(there) == ((), changed(back)[0]) and changed(back)[1] == ()
        assert back.from_source.all()


@pytest.mark.parametrize("mode", ["auto", "swap", "refine"])
def test_any_two_prompts(mode):
    pick = random.Random(4)
    vocabulary = SOURCE_WORDS[:5] + OTHER_WORDS[:4] + ["Spider-Man", ",", "jeep,", "(red:1.2)", "...", "swarovski!"]
    for _ in range(60):
        source, target = (
            prompt(" ".join(pick.choices(vocabulary, k=pick.randint(1, pick.choice([8, 130]))))) for _ in range(2)
        )
        assert_sound(source, target, align(source, target, mode))


@pytest.mark.parametrize("words, other_words", [(10, 100), (100, 10), (60, 170), (75, 76)])
def test_prompts_of_different_numbers_of_chunks_share_the_attention(words, other_words):
    """Begin and end carry most of the attention: it may be neither lost nor doubled."""
    source, target = prompt("jeep " * words), prompt("jeep " * other_words)
    mapper = align(source, target).mapper
    assert_sound(source, target, align(source, target))
    for kind in ("begin", "end"):
        rows = [getattr(chunk, kind) for chunk in source.chunks]
        columns = [getattr(chunk, kind) for chunk in target.chunks]
        assert torch.allclose(mapper[rows][:, columns].sum(dim=1), torch.ones(len(rows)))


def test_an_unknown_mode():
    with pytest.raises(ValueError, match="^'mode' is 'replace'; choose one of auto, swap, refine.$"):
        align(prompt("a"), prompt("a"), "replace")


def test_match_words_is_the_best_of_all_alignments():
    """Against trying them all: most words, then most marks, then most neighbours, then least displacement."""

    def worth(pairs, marks):
        neighbours = sum(
            (i + 1, j + 1) == following and not marks[i] and not marks[following[0]]
            for (i, j), following in itertools.pairwise(pairs)
        )
        return (
            sum(not marks[i] for i, _ in pairs),
            sum(marks[i] for i, _ in pairs),
            neighbours,
            -sum(abs(i - j) for i, j in pairs),
        )

    pick = random.Random(5)
    for _ in range(200):
        source, target = ("".join(pick.choices("abc,", k=pick.randint(0, 5))) for _ in range(2))
        marks = [letter == "," for letter in source]
        every = (
            list(zip(rows, columns))
            for size in range(min(len(source), len(target)) + 1)
            for rows in itertools.combinations(range(len(source)), size)
            for columns in itertools.combinations(range(len(target)), size)
            if all(source[i] == target[j] for i, j in zip(rows, columns))
        )
        pairs = match_words(source, target, marks)
        assert all(source[i] == target[j] for i, j in pairs) and pairs == sorted(pairs)
        assert worth(pairs, marks) == max(worth(other, marks) for other in every), (source, target)


def random_prompts(words):
    pick = random.Random(6)
    source = pick.choices(SOURCE_WORDS, k=words)
    return prompt(" ".join(source)), prompt(" ".join(pick.choice([word, "red", "bird"]) for word in source))


@pytest.mark.parametrize("mode", ["swap", "refine"])
def test_long_prompts_cost_in_proportion(mode):
    """A loop over pairs of words would cost four times as much for twice the words."""
    shorter, longer = random_prompts(300), random_prompts(600)
    align(*shorter, mode)  # what is done once

    def cost(prompts):
        fresh = [replace(prompt) for prompt in prompts]  # which hold no phrases yet
        return lines_run(lambda: align(*fresh, mode))

    assert cost(longer) < 2.5 * cost(shorter)


def test_scores_too_large_for_a_machine_word(monkeypatch):
    pick = random.Random(7)
    for _ in range(20):
        source, target = (pick.choices("abc,", k=pick.randint(0, 30)) for _ in range(2))
        marks = [letter == "," for letter in source]
        with monkeypatch.context() as patch:
            patch.setattr(word_matching, "LARGEST_SCORE", 0)
            pairs = match_words(source, target, marks)
        assert pairs == match_words(source, target, marks)
