"""Fonts for what is written on pictures.

Pillow brings one along, which has the letters of English alone. For others, a font of the system is looked for, by the
file names under which Windows, macOS and Linux have them.
"""

import re
from functools import cache

from PIL import ImageFont

_NOTO = "NotoSansCJK-Regular.ttc"  # Linux; its faces: Japanese, Korean, Chinese as in mainland China
_SYSTEM_FONTS = (  # letters, and the files that have them, each with the number of its face
    (
        "\u1100-\u11ff\uac00-\ud7af",  # Korean
        (("malgun.ttf", 0), ("AppleSDGothicNeo.ttc", 0), (_NOTO, 1), ("NanumGothic.ttf", 0)),
    ),
    (
        "\u3040-\u30ff",  # Japanese
        (("YuGothM.ttc", 0), ("msgothic.ttc", 0), ("Hiragino Sans GB.ttc", 0), (_NOTO, 0), ("ipag.ttf", 0)),
    ),
    (
        "\u3000-\u303f\u3400-\u9fff\uff00-\uffef",  # Chinese
        (
            ("msyh.ttc", 0),
            ("PingFang.ttc", 0),
            ("Hiragino Sans GB.ttc", 0),
            (_NOTO, 2),
            ("wqy-zenhei.ttc", 0),
            ("wqy-microhei.ttc", 0),
        ),
    ),
    (
        "\u00a1-\u1fff",  # Latin with accents, Cyrillic, Greek
        (("segoeui.ttf", 0), ("Arial.ttf", 0), ("DejaVuSans.ttf", 0), ("LiberationSans-Regular.ttf", 0)),
    ),
)


def font(text: str, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font for a text, of letters `size` pixels high; where the system has none for it, Pillow's own."""
    found = _system_font(_letters(text))
    return ImageFont.truetype(found[0], size, found[1]) if found else ImageFont.load_default(size)


def can_write(text: str) -> bool:
    """Whether there is a font for the letters of a text.

    >>> can_write("before")
    True
    """
    letters = _letters(text)
    return letters is None or _system_font(letters) is not None


def _letters(text: str) -> str | None:
    """The first of the groups of letters that a text has something of; None for English."""
    return next((letters for letters, _ in _SYSTEM_FONTS if re.search(f"[{letters}]", text)), None)


@cache
def _system_font(letters: str | None) -> tuple[str, int] | None:
    """The font file for a group of letters and the number of its face."""
    for name, face in dict(_SYSTEM_FONTS).get(letters or "", ()):
        try:
            return str(ImageFont.truetype(name, 10, face).path), face
        except OSError:  # this system does not have it
            pass
    return None
