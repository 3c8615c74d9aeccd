"""A prompt as CLIP reads it: its token ids, and which of their positions each written word owns."""

import math
import numbers
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, wraps
from typing import Any, NamedTuple, TypeVar

from comfy.sd1_clip import escape_important, token_weights, unescape_important

from ..readable import readable
from ..refusal import Refusal, shortened
from .chat_template import SPACE, tokens_of_words, user_part
from .unspaced import PARTICLES, ends_of_words, is_unspaced

Read = TypeVar("Read")
CHUNK_LENGTH = 77
CLIP_ENCODERS = ("l", "h", "g")
T5_ENCODERS = ("umt5xxl", "t5xxl")  # of Wan and of LTX-Video: one chunk of any length, without a begin token
LLAMA = "llama"  # of HunyuanVideo: the same, cut out of a chat; the CLIP beside it reads the prompt as a whole
HUNYUAN_ENCODERS = {"l", LLAMA}

# Their attention is spread over the whole picture, so they would spoil a mask.
FUNCTION_WORDS = (
    frozenset(
        "a an the and or of in on at to by for from with without into onto over under is are his her its their as like "
        "that which who while during against above below behind across through along down off inside outside near next "
        "beside between around toward towards past not instead".split()
    )
    | PARTICLES
)

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
    def names_something(self) -> bool:
        """Whether it can be seen in a picture: no punctuation, article, preposition or the like, nor another program's
        BREAK."""
        return bool(self.key) and self.key not in FUNCTION_WORDS and self.text != "BREAK"

    @property
    def key(self) -> str:
        """What two words are compared by when a person names them: no case, no punctuation around."""
        return word_key(self.text)


def word_key(text: str) -> str:
    """The key of a word as written, see `Word.key`."""
    return unicodedata.normalize("NFC", text).casefold().strip(_PUNCTUATION)


def split_words(text: str) -> list[str]:
    """A text without weights as a prompt's words: at spaces and around punctuation, names such as Spider-Man whole.

    >>> split_words("Spider-Man rides, at 16:9")
    ['Spider-Man', 'rides', ',', 'at', '16', ':', '9']
    """
    return [
        part for piece in text.split() for part in ([piece] if piece.startswith(_EMBEDDING) else _WORD.findall(piece))
    ]


class Chunk(NamedTuple):
    """Positions in one chunk of tokens: its first, the begin of text (None for T5), end of text, padding after it."""

    first: int
    begin: int | None
    end: int
    padding: range


def kept_with_prompt(read: Callable[["PromptTokens"], Read]) -> Callable[["PromptTokens"], Read]:
    """A function of a prompt alone that is asked again and again: what it gives stays with the prompt and goes with it.

    Args:
        read: Gives something immutable for a PromptTokens.
    """

    @wraps(read)
    def kept(prompt: "PromptTokens") -> Read:
        held, name = vars(prompt), read.__qualname__
        if name not in held:
            held[name] = read(prompt)
        return held[name]

    return kept


def divide(word: Word, tokens: Sequence[int | None], decode: Callable[[list[int]], str]) -> list[Word]:
    """A word as the words that it is made of where none are spaced, see `ends_of_words`."""
    divided, text_start, first = [], 0, 0
    for text_end, last in ends_of_words(word.text, tokens, decode):
        divided.append(Word(word.text[text_start:text_end], word.indices[first:last]))
        text_start, first = text_end, last
    return divided


@readable
@dataclass(frozen=True)
class PromptTokens:
    """A tokenised prompt; immutable.

    Attributes:
        text: As written.
        ids: Flat over all chunks, an int for each vocabulary token and a str such as "embedding:name#0" for each
            vector of an embedding; of a Llama's tokens their text, "" for a space that stands alone.
        words: In reading order.
        weights: The weight of each position, as in (word:1.2); empty where they are not known.
        is_t5: Whether T5 read it, or HunyuanVideo's Llama: one chunk without a begin token, where CLIP has chunks of
            77 with one.
    """

    text: str
    ids: tuple[int | str, ...]
    words: tuple[Word, ...]
    weights: tuple[float, ...] = field(default=(), compare=False, repr=False)
    is_t5: bool = False

    @property
    def length(self) -> int:
        """Number of tokens, padding included: 77 per chunk of CLIP's."""
        return len(self.ids)

    @property
    def end(self) -> int:
        """Position of the last end-of-text token; only padding follows."""
        return self.chunks[-1].end

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The positions that no word owns, chunk by chunk."""
        owned = {index for word in self.words for index in word.indices}
        size = self.length if self.is_t5 else CHUNK_LENGTH
        chunks = []
        for first in range(0, self.length, size):
            begin = None if self.is_t5 else first
            content = range(first if self.is_t5 else first + 1, first + size)
            end = next((index for index in content if index not in owned), content[-1])
            chunks.append(Chunk(first, begin, end, range(end + 1, first + size)))
        return tuple(chunks)

    @cached_property
    def keys(self) -> list[str]:
        """The key of each word, "" for punctuation."""
        return [word.key for word in self.words]

    @cached_property
    def named_words(self) -> tuple[Word, ...]:
        """The words that a person can name: all but punctuation."""
        return tuple(word for word in self.words if not word.is_punctuation)

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Where in `named_words` each key stands, in ascending order."""
        places: dict[str, list[int]] = {}
        for place, word in enumerate(self.named_words):
            places.setdefault(word.key, []).append(place)
        return places

    def word_ids(self, word: Word) -> tuple[int | str, ...]:
        """The token ids of one of the words; equal for words that CLIP cannot tell apart (it knows no case).

        Of a word without spaces around it its letters: which tokens spell it depends on those beside it.
        """
        if is_unspaced(word.text):
            return (word.key,)
        return tuple(self.ids[index] for index in word.indices if self.ids[index] != "")

    def weight(self, word: Word) -> float:
        """The weight of one of the words, as in (word:1.2); 1 where it has none."""
        return self.weights[word.indices[-1]] if self.weights else 1.0


class _Position(NamedTuple):
    """What a tokenizer put at one position: a token (None for an embedding's vector), and whether the text asked."""

    token: int | None
    weight: float
    is_content: bool


def tokenize_prompt(clip: Any, text: str, name: str = "prompt", may_be_empty: bool = False) -> PromptTokens:
    """Tokenises a prompt with ComfyUI's CLIP and finds which tokens belong to which word.

    A word is what stands between spaces, commas and the like; in scripts without spaces, such as Chinese, what the
    tokenizer reads as one. Marks around it are words of their own ("man," gives "man" and ","), those inside a name are
    not ("Spider-Man", "Ukiyo-e").

    Args:
        clip: A comfy.sd.CLIP or one of ComfyUI's tokenizers (SD 1.x, SD 2.x, SDXL, Wan, LTX-Video, HunyuanVideo).
        text: A prompt in ComfyUI's syntax: (word:1.2) weights, escaped parentheses, embedding:name, any length.
        name: What the node calls the prompt.
        may_be_empty: Whether it may have no words, as what is left of a person's prompt may.

    Returns:
        The tokens, flat over all chunks, and the words that own them.

    Raises:
        Refusal: For a prompt without words, another kind of text encoder, an embedding that is missing or of another
            encoder's width, and weights that are no numbers.
    """
    pieces = _pieces(text, name)
    if not (pieces or may_be_empty):
        raise Refusal(f"'{name}' is empty; describe the picture in a few words.")
    encoders = _tokenized(clip, text)
    if encoders.keys() == HUNYUAN_ENCODERS:
        return _in_chat(clip, text, encoders[LLAMA], name)

    @cache
    def content_of(part: str) -> list[int | None]:
        return [place.token for place in _positions(clip, part, name, disable_weights=True) if place.is_content]

    def decode(some: list[int]) -> str:
        first = min(encoders, key=(*CLIP_ENCODERS, *T5_ENCODERS).index)  # whose tokens stand for all encoders'
        return _inner_tokenizer(clip, first).tokenizer.decode(some)

    flat = _positions(clip, text, name)
    _check_weights((place.weight for place in flat), name)
    content = [index for index, place in enumerate(flat) if place.is_content]
    words: list[Word] = []
    read: list[int | None] = []
    for piece in pieces:
        for part, tokens in _words_of(piece, content_of, name):
            words += divide(Word(part, tuple(content[len(read) : len(read) + len(tokens)])), tokens, decode)
            read += tokens
    if read != [flat[index].token for index in content]:
        raise Refusal(f"'{name}' has characters that the text encoder does not read word by word; write plain text.")
    weights = tuple(place.weight for place in flat)
    return PromptTokens(text, _ids(flat, words), tuple(words), weights, is_t5=_is_t5(_tokenizer(clip)))


def _in_chat(clip: Any, text: str, chats: list, name: str) -> PromptTokens:
    """The tokens of a prompt that a Llama reads inside a chat; chats: one, of (token, weight, word number)."""
    (chat,) = chats
    if not all(isinstance(token, numbers.Integral) for token, *_ in chat):
        raise Refusal(f"'{name}' has an embedding, which HunyuanVideo's text encoder does not know; leave it out.")
    part = user_part([int(token) for token, *_ in chat])
    if part is None:
        raise Refusal(f"'{name}' begins with an empty line; delete it.")
    numbers_read, weights = zip(*((int(chat[place][0]), float(chat[place][1])) for place in part))
    _check_weights(weights, name)
    tokenizer = getattr(_tokenizer(clip), LLAMA).tokenizer

    def decode(some: Sequence[int]) -> str:
        return tokenizer.decode(list(some), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    prompt = numbers_read[:-1]
    words = [word for piece in _pieces(text, name) for word in _WORD.findall(unescape_important(piece))]
    if words != split_words(decode(prompt)):
        raise Refusal(
            f"'clip' reads '{name}' as \"{shortened(decode(prompt))}\", as HunyuanVideo's tokenizer does in some "
            "versions of transformers; install transformers 4.57."
        )
    # A word at the very beginning has other tokens than after a space.
    ids = tuple(token.lstrip(SPACE) for token in tokenizer.convert_ids_to_tokens(list(numbers_read)))
    owned = [
        divided
        for word, places in tokens_of_words(words, prompt, decode)
        for divided in divide(Word(word, places), [prompt[place] for place in places], decode)
    ]
    return PromptTokens(text, ids, tuple(owned), weights, is_t5=True)


def _check_weights(weights: Iterable[float], name: str) -> None:
    if not all(map(math.isfinite, weights)):
        raise Refusal(f"'{name}' has a weight that is not a finite number; write it like (word:1.2).")


def _pieces(text: str, name: str) -> list[str]:
    """What stands between spaces in a prompt, without the marks of weights."""
    half = next((letter for letter in text if "\ud800" <= letter <= "\udfff"), None)
    if half is not None:
        wrong = half.encode("unicode_escape").decode()
        raise Refusal(f"'{name}' has the character {wrong}, which is half of one; delete it and type it again.")
    try:
        pieces = [piece for segment, _ in token_weights(escape_important(text), 1.0) for piece in segment.split()]
    except RecursionError:
        raise Refusal(f"'{name}' has too many parentheses inside each other; remove most of them.") from None
    if _EMBEDDING in pieces:
        raise Refusal(f"'{name}' has '{_EMBEDDING}' without a name; write the name right after the colon.")
    return pieces


def _ids(flat: list[_Position], words: list[Word]) -> tuple[int | str, ...]:
    """The token ids, and names for the vectors of embeddings."""
    vectors = {
        index: f"{word.text}#{number}"
        for word in words
        for number, index in enumerate(word.indices)
        if flat[index].token is None
    }
    return tuple(vectors[index] if place.token is None else place.token for index, place in enumerate(flat))


def _positions(clip: Any, text: str, name: str, **options: Any) -> list[_Position]:
    """Every position of a text, on which all text encoders of the CLIP agree."""
    first, *others = [
        _encoder_positions(clip, encoder, chunks, name) for encoder, chunks in _chunks(clip, text, **options).items()
    ]
    for other in others:
        if [place.is_content for place in other] != [place.is_content for place in first]:
            raise Refusal(
                f"'{name}' has an embedding of different lengths for the two text encoders of 'clip'; leave it out."
            )
    return first


def _tokenized(clip: Any, text: str, **options: Any) -> dict[str, list]:
    """What ComfyUI's tokenizers make of a text, by the names of the text encoders."""
    tokenize = getattr(clip, "tokenize", None) or clip.tokenize_with_weights
    return tokenize(text, return_word_ids=True, **options)


def _chunks(clip: Any, text: str, **options: Any) -> dict[str, list]:
    """The chunks of (token, weight, word number) of each text encoder, in the order of CLIP_ENCODERS."""
    encoders = _tokenized(clip, text, **options)
    if len(encoders) == 1 and set(encoders) <= set(T5_ENCODERS):
        return encoders
    if not set(encoders) <= set(CLIP_ENCODERS) or any(
        len(chunk) != CHUNK_LENGTH for chunks in encoders.values() for chunk in chunks
    ):
        raise Refusal(
            f"'clip' has the text encoders {', '.join(sorted(encoders))}; connect the CLIP of an SD 1.x, SD 2.x or "
            "SDXL checkpoint, or the text encoder of Wan, LTX-Video or HunyuanVideo."
        )
    return {name: encoders[name] for name in CLIP_ENCODERS if name in encoders}


def _tokenizer(clip: Any) -> Any:
    return getattr(clip, "tokenizer", clip)


def _inner_tokenizer(clip: Any, encoder: str) -> Any:
    """ComfyUI's tokenizer of one text encoder."""
    tokenizer = _tokenizer(clip)
    return getattr(tokenizer, f"clip_{encoder}", None) or getattr(tokenizer, tokenizer.clip)


def _is_t5(tokenizer: Any) -> bool:
    return getattr(tokenizer, "clip_name", None) in T5_ENCODERS


def _encoder_positions(clip: Any, encoder: str, chunks: list, name: str) -> list[_Position]:
    width = _inner_tokenizer(clip, encoder).embedding_size
    positions = []
    for token, weight, group in (entry for chunk in chunks for entry in chunk):
        is_vector = not isinstance(token, numbers.Integral)
        # ComfyUI drops a vector of another width while encoding, which would move every later token.
        if is_vector and token.shape[-1] != width:
            raise Refusal(
                f"'{name}' has an embedding of another width than the {width} of this text encoder; "
                "use one made for this model."
            )
        positions.append(_Position(None if is_vector else int(token), float(weight), group != 0))
    return positions


def _words_of(
    piece: str, content_of: Callable[[str], list[int | None]], name: str
) -> list[tuple[str, list[int | None]]]:
    """The words of a piece of prompt without spaces, each with its token ids; content_of(text) gives token ids."""
    whole = content_of(piece)
    if None in whole and (divided := _EMBEDDING_PARTS.fullmatch(piece)):
        embedding, rest = divided.groups()
        vectors = whole.count(None)
        return [(embedding, whole[:vectors]), *(_words_of(rest, content_of, name) if rest else [])]
    parts = _WORD.findall(unescape_important(piece))
    words = [(part, content_of(part)) for part in parts]
    if [token for _, tokens in words for token in tokens] != whole:
        if piece.startswith(_EMBEDDING):
            raise Refusal(
                f"'{name}' names {piece.rstrip(',')}, which ComfyUI does not find; put its file into "
                "models/embeddings or leave it out."
            )
        words = _cut(parts, content_of)  # T5 reads a mark that stands alone with a space before it
    if [token for _, tokens in words for token in tokens] != whole:
        words = [(unescape_important(piece), whole)]
    return [(word, tokens) for word, tokens in words if tokens]


def _cut(parts: list[str], content_of: Callable[[str], list[int | None]]) -> list[tuple[str, list[int | None]]]:
    """The parts of a piece, each with the token ids that it adds to those of the parts before it."""
    words: list[tuple[str, list[int | None]]] = []
    before = 0
    for number, part in enumerate(parts, start=1):
        tokens = content_of("".join(parts[:number]))
        words.append((part, tokens[before:]))
        before = len(tokens)
    return words
