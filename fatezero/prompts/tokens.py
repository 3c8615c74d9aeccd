"""A prompt as CLIP reads it: its token ids, and which of their positions each written word owns."""

import numbers
import re
import string
import unicodedata
from dataclasses import dataclass
from functools import cache, cached_property
from textwrap import shorten
from typing import NamedTuple

from comfy.sd1_clip import escape_important, token_weights, unescape_important

CHUNK_LENGTH = 77
CLIP_ENCODERS = ("l", "h", "g")

_PUNCTUATION = string.punctuation + "“”‘’„«»…–—¡¿·、。，；：！？（）"
_JOINERS = "-'’_./&+@"
_LETTERS, _MARKS = rf"[^\s{re.escape(_PUNCTUATION)}]+", rf"[{re.escape(_PUNCTUATION)}]+"
_WORD = re.compile(rf"{_LETTERS}(?:[{re.escape(_JOINERS)}]{_LETTERS})*|{_MARKS}")
_EMBEDDING = "embedding:"
_EMBEDDING_PARTS = re.compile(rf"({_EMBEDDING}[^<\[]*?)(,*(?:[<\[].*)?)", re.DOTALL)


class Word(NamedTuple):
    """One word of a prompt, as written, and the flat token positions it owns."""

    text: str
    indices: tuple[int, ...]

    @property
    def is_punctuation(self) -> bool:
        return not self.key

    @property
    def key(self) -> str:
        """What two words are compared by when a person names them: no case, no punctuation around."""
        return unicodedata.normalize("NFC", self.text).casefold().strip(_PUNCTUATION)


class Chunk(NamedTuple):
    """Positions in one chunk of 77 tokens: begin of text, end of text, padding after it."""

    begin: int
    end: int
    padding: range


@dataclass(frozen=True)
class PromptTokens:
    """A tokenised prompt; immutable.

    text: as written; ids: flat over all 77-chunks, an int per vocabulary token and a str such as "embedding:name#0"
    per vector of an embedding; words: in reading order.
    """

    text: str
    ids: tuple[int | str, ...]
    words: tuple[Word, ...]

    @property
    def length(self) -> int:
        """Number of tokens, padding included: 77 per chunk."""
        return len(self.ids)

    @property
    def end(self) -> int:
        """Position of the last end-of-text token; only padding follows."""
        return self.chunks[-1].end

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The positions that no word owns, chunk by chunk."""
        owned = {index for word in self.words for index in word.indices}
        chunks = []
        for begin in range(0, self.length, CHUNK_LENGTH):
            stop = begin + CHUNK_LENGTH
            end = next(index for index in range(begin + 1, stop) if index not in owned)
            chunks.append(Chunk(begin, end, range(end + 1, stop)))
        return tuple(chunks)

    def word_ids(self, word: Word) -> tuple[int | str, ...]:
        """The token ids of one of the words; equal for words that CLIP cannot tell apart (it knows no case)."""
        return tuple(self.ids[index] for index in word.indices)


def tokenize_prompt(clip, text: str, asked_by: str = "The prompt") -> PromptTokens:
    """Tokenises a prompt with ComfyUI's CLIP and finds which tokens belong to which word.

    clip: a comfy.sd.CLIP or one of ComfyUI's CLIP tokenizers (SD 1.x, SD 2.x, SDXL); text: a prompt in ComfyUI's
    syntax: (word:1.2) weights, escaped parentheses, embedding:name, any length. A word is what stands between spaces,
    commas and the like; marks around it are words of their own ("man," gives "man" and ","), those inside a name
    are not ("Spider-Man", "Ukiyo-e"). asked_by: how an error names the input.
    Raises ValueError for an empty prompt, another kind of text encoder, and an embedding that is missing or of
    another encoder's width.
    """
    pieces = [piece for segment, _ in token_weights(escape_important(text), 1.0) for piece in segment.split()]
    if not pieces:
        raise ValueError(f"{asked_by} is empty; describe the picture in a few words.")
    if _EMBEDDING in pieces:
        raise ValueError(f"{asked_by} has '{_EMBEDDING}' without a name; write the name right after the colon.")

    @cache
    def content_of(part):
        return [token for token, is_content in _tokens(clip, part, asked_by, disable_weights=True) if is_content]

    flat = _tokens(clip, text, asked_by)
    ids = [token for token, _ in flat]
    positions = [index for index, (_, is_content) in enumerate(flat) if is_content]
    words, read = [], []
    for piece in pieces:
        for word, tokens in _words_of(piece, content_of, asked_by):
            words.append(Word(word, tuple(positions[len(read) : len(read) + len(tokens)])))
            read += tokens
    if read != [ids[index] for index in positions]:
        raise ValueError(f"{asked_by} has characters that CLIP does not read word by word; write it in plain text.")
    for word in words:
        if ids[word.indices[0]] is None:
            for number, index in enumerate(word.indices):
                ids[index] = f"{word.text}#{number}"
    return PromptTokens(text, tuple(ids), tuple(words))


def find_words(tokens: PromptTokens, text: str, asked_by: str = "The word list") -> list[tuple[int, ...]]:
    """The token positions of every occurrence of some words, one tuple per occurrence.

    text: words separated by commas, spaces or lines, in any case, without their punctuation. Words that follow each
    other in the prompt as they do between two commas are found as that phrase only, others each on its own.
    Raises ValueError when a word is not in the prompt; asked_by is how the sentence begins.
    """
    words = [word for word in tokens.words if not word.is_punctuation]
    keys = [word.key for word in words]
    found = []
    for phrase in re.split(r"[,;\n]", text):
        wanted = [
            Word(part, ()).key
            for piece in phrase.split()
            for part in ([piece] if piece.startswith(_EMBEDDING) else _WORD.findall(piece))
        ]
        wanted = [key for key in wanted if key]
        missing = [key for key in wanted if key not in keys]
        if phrase.strip() and not wanted:
            missing = [phrase.strip()]
        if missing:
            raise ValueError(
                f"{asked_by} names '{missing[0]}', which is not in \"{shorten(tokens.text, 60)}\"; choose "
                f"from: {', '.join(dict.fromkeys(keys))}."
            )
        length = len(wanted)
        starts = [start for start in range(len(keys) - length + 1) if keys[start : start + length] == wanted]
        if starts:
            found += [words[start + offset].indices for start in starts for offset in range(length)]
        else:
            found += [word.indices for word in words if word.key in wanted]
    return list(dict.fromkeys(found))


def _tokens(clip, text: str, asked_by: str, **options) -> list[tuple[int | None, bool]]:
    """Every position's token id (None for an embedding's vector), and whether the prompt's text put it there."""
    tokenize = getattr(clip, "tokenize", None) or clip.tokenize_with_weights
    encoders = tokenize(text, return_word_ids=True, **options)
    if not set(encoders) <= set(CLIP_ENCODERS) or any(
        len(chunk) != CHUNK_LENGTH for chunks in encoders.values() for chunk in chunks
    ):
        raise ValueError(
            f"Edit Prompts: 'clip' has the text encoders {', '.join(sorted(encoders))} where CLIP encoders of "
            f"{CHUNK_LENGTH} tokens are needed; connect the CLIP of an SD 1.x, SD 2.x or SDXL checkpoint."
        )
    flat = {}
    for name, chunks in encoders.items():
        width = getattr(getattr(clip, "tokenizer", clip), f"clip_{name}").embedding_size
        entries = [(token, group != 0) for chunk in chunks for token, _, group in chunk]
        vectors = [token for token, _ in entries if not isinstance(token, numbers.Integral)]
        # ComfyUI drops a vector of another width while encoding, which would move every later token.
        if any(vector.shape[-1] != width for vector in vectors):
            raise ValueError(
                f"{asked_by} has an embedding of another width than the {width} of this text encoder; "
                f"use one made for this model."
            )
        flat[name] = [
            (int(token) if isinstance(token, numbers.Integral) else None, is_content) for token, is_content in entries
        ]
    first, *others = (flat[name] for name in CLIP_ENCODERS if name in flat)
    if any([is_content for _, is_content in other] != [is_content for _, is_content in first] for other in others):
        raise ValueError(
            f"{asked_by} has an embedding of different lengths for the two text encoders of 'clip'; leave it out."
        )
    return first


def _words_of(piece: str, content_of, asked_by: str) -> list[tuple[str, list]]:
    """The words of a piece of prompt without spaces, each with its token ids; content_of(text) gives token ids."""
    whole = content_of(piece)
    if None in whole:
        name, rest = _EMBEDDING_PARTS.fullmatch(piece).groups()
        vectors = whole.count(None)
        return [(name, whole[:vectors]), *(_words_of(rest, content_of, asked_by) if rest else [])]
    words = [(part, content_of(part)) for part in _WORD.findall(unescape_important(piece))]
    if [token for _, tokens in words for token in tokens] != whole:
        if piece.startswith(_EMBEDDING):
            raise ValueError(
                f"{asked_by} names {piece.rstrip(',')}, which ComfyUI does not find; put its file into "
                f"models/embeddings or leave it out."
            )
        words = [(unescape_important(piece), whole)]
    return [(word, tokens) for word, tokens in words if tokens]
