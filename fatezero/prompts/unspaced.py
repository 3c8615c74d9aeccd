"""Words of scripts that are written without spaces between them: Chinese, Japanese, Thai and their neighbours.

Where one word ends, the text encoder's own tokens say: those of Wan and LTX-Video are mostly whole words there.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

_SCRIPTS = (
    r"\u0e00-\u0eff"  # Thai, Lao
    r"\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    r"\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # kana
    r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    r"\uff66-\uff9f"  # kana of half width
)
_UNSPACED = re.compile(f"[{_SCRIPTS}]")

# Their attention is spread over the whole picture, as that of "the" and "of".
PARTICLES = frozenset(
    "的 地 得 了 着 過 过 在 上 下 里 中 和 与 與 及 或 是 有 被 把 从 從 到 向 对 對 于 於 之 其 这 這 那 "
    "一 个 個 只 隻 辆 輛 条 條 位 张 張 名 座 片 朵 "
    "一个 一個 一只 一隻 一辆 一輛 一条 一條 一位 一张 一張 一名 一座 一片 一朵 "
    "の は が を に と で も へ や から まで より する した している いる ある です ます".split()
)


def is_unspaced(text: str) -> bool:
    """Whether a text has letters of such a script.

    >>> is_unspaced("jeep"), is_unspaced("3只猫"), is_unspaced("고양이")
    (False, True, False)
    """
    return bool(_UNSPACED.search(text))


def ends_of_words(text: str, tokens: Sequence[int | None], decode: Callable[[list[int]], str]) -> list[tuple[int, int]]:
    """Where the words end in what stands between two spaces or marks: at the ends of tokens, in these scripts.

    Letters of other scripts stay together ("iPhone手机"), and so do tokens that are a part of a letter each.

    Args:
        text: As written.
        tokens: The ids of its tokens; None for an embedding's vector.
        decode: The text of some tokens.

    Returns:
        For each word how many letters and how many tokens end with it; one word where no such script is in it, or where
        the tokens' text is another than the written one.

    >>> ends_of_words("红猫x1", [3, 1, 4, 5], lambda ids: "".join({3: "红", 1: "猫", 4: "x", 5: "1"}[i] for i in ids))
    [(1, 1), (2, 2), (4, 4)]
    """
    whole = [(len(text), len(tokens))]
    ids = [token for token in tokens if token is not None]
    if not is_unspaced(text) or len(ids) < len(tokens):
        return whole
    read = [_letters(decode(ids[:count])) for count in range(1, len(ids) + 1)]
    if len(_letters(text)) != len(text) or not all(map(_letters(text).startswith, read)) or len(read[-1]) != len(text):
        return whole
    ends = [(len(letters), count) for count, letters in enumerate(read, start=1)]
    last = dict(ends)  # of the tokens that end at a letter
    ends = [end for end in last.items() if end[0] and not unicodedata.category(f"{text} "[end[0]]).startswith("M")]
    scripts = [is_unspaced(text[start:end]) for (start, _), (end, _) in pairwise([(0, 0), *ends])]
    return [end for end, here, after in zip(ends, scripts, [*scripts[1:], True]) if here or after]


def joined(words: Iterable[str]) -> str:
    """Words as one text, with spaces where they are spaced.

    >>> joined(["red", "circle"]), joined(["红色", "圆形", "iPhone"])
    ('red circle', '红色圆形iPhone')
    """
    text = ""
    for word in words:
        text += " " * bool(text and not (is_unspaced(text[-1]) or is_unspaced(word[:1]))) + word
    return text


def _letters(text: str) -> str:
    """A text as tokenizers compare it: without case, spaces and what is left of half a letter."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().rstrip("\ufffd").split())
