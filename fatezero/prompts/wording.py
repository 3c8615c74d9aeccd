"""Prompts that are written as for another tool: instructions, quality tags, negatives, and marks that ComfyUI lacks.

FateZero needs two descriptions of the same clip. What is written otherwise still runs, so each finding is a note and
not a refusal.
"""

import re
from collections.abc import Iterator

QUALITY_TAGS = (
    "masterpiece|best quality|high(?:est)? quality|top quality|amazing quality|absurdres|highres|hi-?res|4k|8k|uhd|"
    "ultra[- ]?hd|(?:highly|ultra|extremely|insanely) detailed|intricate details?|award[- ]winning|"
    "trending on artstation|sharp focus|raw photo|score_\\d\\w*"
)
NEGATIVE_TAGS = (
    "worst quality|low(?:est)? quality|normal quality|jpeg artifacts|lowres|bad anatomy|bad hands|extra fingers|"
    "missing fingers|deformed|disfigured|mutated|ugly|watermark|signature"
)
SHOWN_LETTERS = 40
LONGEST_INSTRUCTION = 300  # letters; longer ones get no example

_TAGS = re.compile(rf"\b(?:{QUALITY_TAGS})(?!\w)", re.IGNORECASE)
_NEGATIVE_TAGS = re.compile(rf"\b(?:{NEGATIVE_TAGS})(?!\w)", re.IGNORECASE)
_NOT = re.compile(r"\b(?:no|not|without(?: an?)?|don't|do not|never|negative prompt\s*:)\s+\w+", re.IGNORECASE)
_MARKS = (  # what another program reads there, and what to do instead
    (re.compile(r"\bBREAK\b"), "leave it out; a long prompt is divided by itself"),
    (re.compile(r"\bAND\b"), "write it in small letters, or leave it out"),
    (re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>"), "load the LoRA with Load LoRA, before Inflate UNet"),
    (re.compile(r"\[[^\[\]]*:[^\[\]]*\]"), "an edit has one prompt for all steps, so write one of the words"),
    (re.compile(r"\[[^\[\]:]*\]"), "write weights as (word:0.8)"),
    (re.compile(r"(?<!\w)__[\w/*-]+__(?!\w)"), "write the word that is meant, or let a wildcard node write it"),
)
_CHOICES = re.compile(r"(?<!\\)\{[^{}]*\}")  # of ComfyUI's dynamic prompts
_COMMENTS = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL)
# Of French, German, Spanish, Portuguese and Italian. The second ones stand in names, too: "Playa de la Concha".
_FOREIGN = set(
    "une des du sur avec dans les das ein eine einen auf mit und dem una sobre con um uma na il della".split()
)
_OFTEN_FOREIGN = set("un der le la el los las de do da den die en im no o e y et di lo su".split())
_ENGLISH = {"the", "of", "with", "and", "an"}

_THING = r"(?:the|an?|this|that|his|her|its|their|my)\s+(?P<thing>.+?)"
_VERBS = "make|turn|change|replace|swap|convert|transform|recolou?r|colou?r|paint|edit|add|put|give|remove|delete|erase"
_REFERENCE = r"the|an?|this|that|it|him|her|them|his|its|their|my|everything|all|some|more"
_INSTRUCTION = re.compile(
    rf"^\W*(?:please\s+|can you\s+|could you\s+|let's\s+|i want (?:you )?to\s+)*(?:{_VERBS})\s+(?:{_REFERENCE})\b",
    re.IGNORECASE,
)
_INTO = re.compile(
    rf"\b(?:turn|change|replace|swap|convert|transform)\s+{_THING}\s+(?:in)?(?:to|with|for|by)\s+"
    r"(?:(?:the|an?)\s+)?(?P<new>.+)$",
    re.IGNORECASE,
)
_MAKE = re.compile(rf"\b(?:make|turn|paint|recolou?r|colou?r)\s+{_THING}\s+(?P<new>\w[\w-]*)$", re.IGNORECASE)
_BEFORE = r"(?P<article>\b(?:an?|the|one|two|three)\s+)(?P<adjectives>(?:\w+\s+){0,2})"


def wording_notes(source: str, target: str, any_language: bool = False) -> list[str]:
    """What in two prompts reads otherwise than the person meant it, a sentence each.

    Args:
        source: The prompt that describes the clip, as written.
        target: The prompt of the edit, as written.
        any_language: Whether the text encoder was trained on more languages than English, as those of video models.

    Returns:
        Sentences that name the prompt, quote what was found and say what to write; none for two plain descriptions.

    >>> wording_notes("a red circle on grass", "make the circle purple")
    ["'target prompt' is an instruction; describe the clip, not the change: a purple circle on grass"]
    """
    return [
        *_instructions(source, target),
        *_quality_tags(source, target),
        *_negatives(source, target),
        *_marks(source, target),
        *_choices(source, target),
        *_comments(source, target),
        *([] if any_language else _scripts(source, target)),
    ]


def is_quality_tag(text: str) -> bool:
    """Whether a text is one of the tags that praise a picture and show nothing in it.

    >>> [is_quality_tag(text) for text in ("Best quality", "8k", "a masterpiece of clay")]
    [True, True, False]
    """
    return _TAGS.fullmatch(text) is not None


def _instructions(source: str, target: str) -> Iterator[str]:
    for name, text in (("source prompt", source), ("target prompt", target)):
        if _INSTRUCTION.match(text):
            example = described(source, target) if name == "target prompt" else None
            example = example or "write 'source prompt' again with the words changed"
            if name == "source prompt":
                example = "say what it shows before the edit"
            yield f"'{name}' is an instruction; describe the clip, not the change: {example}"


def described(source: str, instruction: str) -> str | None:
    """The description that an instruction means, from the source prompt; None where it cannot be told.

    >>> described("a red circle on grass", "replace the red circle with a blue square")
    'a blue square on grass'
    """
    text = instruction.strip().rstrip(".!")
    if len(text) > LONGEST_INSTRUCTION:
        return None
    if found := _INTO.search(text):
        return _in_place(source, found["thing"], found["new"])
    if found := _MAKE.search(text):
        return _in_place(source, found["thing"], f"{found['new']} {found['thing'].split()[-1]}")
    return None


def _in_place(source: str, thing: str, new: str) -> str | None:
    """The source with other words in the place of a thing and of what stands between its article and it."""
    named = rf"\b{re.escape(thing)}\b"
    found = re.search(rf"{_BEFORE}{named}" if " " not in thing else named, source, re.IGNORECASE)
    found = found or re.search(named, source, re.IGNORECASE)
    if found is None:
        return None
    article = found.groupdict().get("article") or ""
    return _articles(source[: found.start()] + article + new + source[found.end() :])


def _articles(text: str) -> str:
    """A text whose "a" and "an" fit the words after them."""

    def fitting(found: re.Match) -> str:
        article = "an" if found[2][0].lower() in "aeiou" else "a"
        return f"{article}{found[1]}{found[2]}"

    return re.sub(r"\ban?(\s+)(\w+)", fitting, text)


def _quality_tags(source: str, target: str) -> Iterator[str]:
    before, after = _found(_TAGS, source), _found(_TAGS, target)
    for name, other, tags in (
        ("target prompt", "source prompt", [tag for tag in after if tag not in before]),
        ("source prompt", "target prompt", [tag for tag in before if tag not in after]),
    ):
        if tags:
            yield (
                f"'{name}' has quality tags that '{other}' lacks ({_list(tags)}); they count as changed words and "
                "change the whole picture. Leave them out, or write them in both prompts."
            )


def _negatives(source: str, target: str) -> Iterator[str]:
    before = [*_found(_NOT, source), *_found(_NEGATIVE_TAGS, source)]
    new = [text for text in [*_found(_NOT, target), *_found(_NEGATIVE_TAGS, target)] if text not in before]
    if new:
        yield (
            f"'target prompt' says what should not be there ({_list(new)}), and the model reads it as being there. "
            "Leave it out, and write what to avoid in the negative prompt."
        )


def _marks(source: str, target: str) -> Iterator[str]:
    """Syntax of other programs, which ComfyUI reads as words."""
    for pattern, instead in _MARKS:
        found = dict.fromkeys([*pattern.findall(source), *pattern.findall(target)])
        if found:
            yield f"{_list(list(found))} is no syntax of ComfyUI, which reads it as words; {instead}."


def _choices(source: str, target: str) -> Iterator[str]:
    """Words of which the page has taken none, since the prompt came by the API or a table."""
    found = dict.fromkeys([*_CHOICES.findall(source), *_CHOICES.findall(target)])
    if found:
        yield (
            f"only ComfyUI's page chooses among the words in {_list(list(found))}, so that all of them are read here; "
            "write the one that is meant."
        )


def _comments(source: str, target: str) -> Iterator[str]:
    """What the page takes out of a prompt, and nothing else does."""
    found = dict.fromkeys(text.strip() for text in [*_COMMENTS.findall(source), *_COMMENTS.findall(target)])
    if found:
        yield (
            f"only ComfyUI's page leaves out comments such as {_list(list(found))}, so that they are read here as "
            "words; delete them."
        )


def _scripts(source: str, target: str) -> Iterator[str]:
    """Words in a script or a language that CLIP was not trained on."""
    for name, text in (("source prompt", source), ("target prompt", target)):
        letters = [letter for letter in text if letter.isalpha()]
        if sum(letter > "\u024f" for letter in letters) > len(letters) / 2:
            yield (
                f"'{name}' is not in Latin letters; the text encoder of Stable Diffusion was trained on English, so "
                "write it in English."
            )
        elif is_foreign(text):
            yield (
                f"'{name}' seems not to be English; the text encoder of Stable Diffusion was trained on English, so "
                "write it in English."
            )


def is_foreign(text: str) -> bool:
    """Whether a text has the small words of another language that is written in Latin letters, and none of English."""
    words = set(re.findall(r"[^\W\d_]+", text.lower()))
    small = words & (_FOREIGN | _OFTEN_FOREIGN)
    return len(small) > 1 and not small.isdisjoint(_FOREIGN) and words.isdisjoint(_ENGLISH)


def _found(pattern: re.Pattern, text: str) -> list[str]:
    return list(dict.fromkeys(match.lower() for match in pattern.findall(text)))


def _list(texts: list[str]) -> str:
    shown = ", ".join(texts)
    return shown if len(shown) <= SHOWN_LETTERS else shown[: SHOWN_LETTERS - 1] + "…"
