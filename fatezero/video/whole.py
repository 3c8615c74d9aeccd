"""Whether a file was cut off, such as by a broken download: its parts tell how long it should be."""

from typing import BinaryIO

from .matroska import EBML, segment_end

_PNG = b"\x89PNG\r\n\x1a\n"
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"sidx", b"styp", b"meta", b"uuid")
_TRAILER = 4096  # bytes in which to look for a jpeg's end: other programs may have added something


def is_cut_off(file: BinaryIO) -> bool:
    """Whether an mp4, mkv, webm, avi, webp, png, gif or jpeg ends before its time; False for other formats.

    Args:
        file: The file, opened to read; its position is moved.
    """
    file.seek(0, 2)
    length = file.tell()
    file.seek(0)
    start = file.read(16)
    if start[4:8] in _BOXES:
        return _boxes_end(file, length) > length
    if start[:4] == EBML:
        return segment_end(file) > length
    if start[:4] == b"RIFF":
        return int.from_bytes(start[4:8], "little") + 8 > length
    if start[:8] == _PNG:
        return _chunks_end(file, length) > length
    file.seek(max(0, length - _TRAILER))
    if start[:4] == b"GIF8":
        return not file.read().rstrip(b"\0\r\n").endswith(b"\x3b")
    return start[:3] == b"\xff\xd8\xff" and b"\xff\xd9" not in file.read()


def _boxes_end(file: BinaryIO, length: int) -> int:
    """Where the boxes of an mp4 end; beyond the file also if the table of its frames is missing."""
    position, kinds = 0, set()
    while position + 8 <= length:
        file.seek(position)
        header = file.read(16)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if kind not in _BOXES:  # something that another program has added
            break
        kinds.add(kind)
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        position = length if size == 0 else position + max(size, 8)
    return position if kinds & {b"moov", b"meta"} else length + 1


def _chunks_end(file: BinaryIO, length: int) -> int:
    position = 8
    while position < length:
        file.seek(position)
        header = file.read(8)
        position += int.from_bytes(header[:4], "big") + 12
        if header[4:] == b"IEND":
            return position
    return length + 1
