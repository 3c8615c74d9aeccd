"""The little that is asked of an mkv or webm file before FFmpeg opens it. A file is a tree of elements (RFC 8794 and
9559): an ID, a size, and what it holds."""

from typing import BinaryIO

EBML = b"\x1a\x45\xdf\xa3"

_SEGMENT = 0x18538067
# Elements that hold others, on the way to those that name another file: of Info (the one before, the one after, by
# number or name), and of a chapter that lies in another file.
_HOLDERS = {_SEGMENT, 0x1549A966, 0x1043A770, 0x45B9, 0xB6}
_LINKS = {0x3CB923, 0x3C83AB, 0x3EB923, 0x3E83BB, 0x6E67}
_MOST = 100_000  # elements to look at


def segment_end(file: BinaryIO) -> int:
    """Where the segment, which holds all but a header, ends; 0 if its size is unknown, as in live recordings.

    Args:
        file: Opened to read; its position is moved.
    """
    file.seek(len(EBML))
    header = _size(file)
    file.seek(header or 0, 1)
    if header is None or _kind(file) != _SEGMENT:
        return 0
    size = _size(file)
    return 0 if size is None else file.tell() + size


def is_linked(file: BinaryIO) -> bool:
    """Whether the file says that other files belong to its clip (linked segments).

    Args:
        file: Opened to read; its position is moved.
    """
    file.seek(0)
    if file.read(len(EBML)) != EBML:
        return False
    file.seek(0)
    for _ in range(_MOST):
        kind = _kind(file)
        size = _size(file)
        if kind is None or kind in _LINKS:
            return kind is not None
        if kind not in _HOLDERS:
            if size is None:
                return False
            file.seek(size, 1)
    return False


def _kind(file: BinaryIO) -> int | None:
    """The next element's ID; None at the end or where there is none."""
    first = file.read(1)
    if not first or first[0] < 0x10:
        return None
    return int.from_bytes(first + file.read(8 - first[0].bit_length()), "big")


def _size(file: BinaryIO) -> int | None:
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()  # the leading zeros count the bytes that follow
    bits = 7 * (more + 1)
    size = int.from_bytes(first + file.read(more), "big") & ((1 << bits) - 1)
    return None if size == (1 << bits) - 1 else size
