"""Words that are drawn into pictures, in the language of the page: `web/translate.js` writes it into the workflow."""

import json
from pathlib import Path
from typing import Any

from ...fatezero.report.fonts import can_write

TEXTS = Path(__file__).resolve().parents[2] / "web" / "texts"


def picture_words(hidden: Any) -> dict[str, str]:
    """The words of pictures in another language, for each in English; those that no font here can write are left out.

    Args:
        hidden: Of the node that draws; a graph that comes from no page, or from an English one, names no language.
    """
    place = getattr(hidden, "extra_pnginfo", None)
    for name in ("workflow", "extra", "fatezero", "language"):
        place = place.get(name) if isinstance(place, dict) else None
    file = next((file for file in TEXTS.glob("*.json") if file.stem == place), None)
    if file is None:
        return {}
    words = json.loads(file.read_text(encoding="utf-8"))["pictures"]
    return {english: other for english, other in words.items() if can_write(other)}
