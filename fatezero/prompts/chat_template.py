"""A prompt inside the chat that HunyuanVideo's Llama reads, of which the model gets the user's part alone."""

from collections.abc import Callable, Sequence

HEADER, USER, HEADER_END, EMPTY_LINE, END = 128006, 882, 128007, 271, 128009  # Llama 3's tokens
SPACE = "Ġ"  # in the text of its tokens


def user_part(ids: Sequence[int]) -> range | None:
    """Where a prompt and the end token behind it stand in a chat, as ComfyUI's HunyuanVideoClipModel cuts it out.

    Args:
        ids: The tokens of the chat.

    Returns:
        Their places; None where the prompt does not follow an empty line, which then is a token of its own no more.

    >>> user_part([1, 128006, 882, 128007, 271, 64, 2579, 128009])
    range(5, 8)
    """
    before = [HEADER, USER, HEADER_END, EMPTY_LINE]
    starts = [place for place in range(len(ids)) if list(ids[place : place + 4]) == before]
    if not starts:
        return None
    start = starts[-1] + len(before)
    return range(start, list(ids).index(END, start) + 1)


def tokens_of_words(
    words: Sequence[str], ids: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> list[tuple[str, tuple[int, ...]]]:
    """Which tokens each word owns: those that begin in it, but for the space before it.

    Args:
        words: Of the prompt, in reading order.
        ids: The prompt's tokens.
        decode: The text of some tokens.

    Returns:
        The words that own any, with their tokens' places in `ids`.
    """
    text, ends = decode(ids), [len(decode(ids[:count]).rstrip("\ufffd")) for count in range(len(ids) + 1)]
    begins = []
    for first, last in zip(ends, ends[1:]):
        part = text[first:last]
        begins.append(first + len(part) - len(part.lstrip()))
    owned, place = [], 0
    for word in words:
        start = text.find(word, place)
        if start < 0:
            continue
        place = start + len(word)
        tokens = tuple(index for index, begin in enumerate(begins) if start <= begin < place)
        if tokens:
            owned.append((word, tokens))
    return owned
