"""Phrases that name no thing in the picture but its look: light, time of day, camera, artist, kind of picture."""

import re

from .known_words import IS, PARTS
from .tokens import FUNCTION_WORDS, PromptTokens, Word
from .wording import is_quality_tag

_ARTICLES = {"a", "an", "the"}
_PICTURES = set(
    "painting watercolor watercolour sketch drawing cartoon anime manga comic illustration film movie art artwork "
    "mosaic engraving woodcut render rendering photo photograph photography picture image video clip footage portrait "
    "still scene timelapse".split()
)
_WORKS = set(  # further ones, which are also things: "a poster of a cat", but "a poster on a wall"
    "statue sculpture postcard poster stamp print tapestry fresco mural etching lithograph linocut stencil collage "
    "doodle pastel caricature emoji sticker logo icon wallpaper silhouette blueprint diorama hologram rendition "
    "depiction impression interpretation masterpiece window gif screenshot selfie negative".split()
)
_LIGHT_AND_TIME = set(
    "lighting illumination backlight backlighting sunlight moonlight daylight candlelight fog mist haze day night "
    "morning evening afternoon noon midnight dawn dusk sunset sunrise twilight hour summer winter autumn daytime "
    "nighttime weather sunny rainy cloudy overcast foggy misty stormy windy motion".split()
)
_WEATHER = set("rain snowfall thunder blizzard downpour heatwave sunshine".split())  # beside those in -storm
_QUALITIES = set(
    "bokeh grain blur focus exposure contrast aperture vignette vignetting flare flares tone tones palette colors "
    "colours quality resolution detail details atmosphere mood composition aesthetic aesthetics depth dof perspective "
    "angle view viewpoint shot close-up closeup lens cinematic photorealistic photorealism realistic realism "
    "hyperrealistic hyperrealism hyperdetailed detailed dramatic moody vibrant monochrome grayscale greyscale sepia "
    "solo".split()
)
_SEASONS = {"spring", "fall"}  # also things, but for "in spring"
_MAKERS = set(  # cameras, films, programs and pages
    "canon nikon sony fujifilm fuji kodak leica arri arriflex panavision hasselblad polaroid gopro dslr imax "
    "technicolor cinestill portra velvia hdr hd uhd iso unreal octane blender vray v-ray raytracing artstation "
    "deviantart pixiv unsplash".split()
)
_ANGLES = {"<", ">"}
_FILES = {"lora", "lyco", "hypernet"}  # of other programs' syntax
_MEASURE = re.compile(r"\d+(?:\.\d+)?(?:mm|k|fps|p)?|f/?\d+(?:\.\d+)?|iso\d+")  # 35mm, 8k, f/1.8, and 16:9
_SPOKEN_OF = {"camera", "lighting", "mood", "atmosphere"}  # "The camera pans left"
_FILMS, _SHOW = set("video footage clip scene shot image picture".split()), {"shows", "depicts", "features", "captures"}
_CLAUSE = re.compile(r"(?:\w+ )*depth of field|rule of thirds|shot (?:on|with) .+")
# After these "a painting" is a thing: "a cat and a painting", "a wall with a painting".
_BEFORE_THINGS = set("and or with on at over under near behind above against wearing holding carrying".split())
_DRAWN = set("painted drawn rendered sketched illustrated animated filmed photographed".split())
_BEFORE_MAKERS = {"by", "as", "like"}
_BEFORE_MEANS = _BEFORE_MAKERS | {"in", "with", "on"}  # but "a boat painted in red"
_BEFORE_LIGHT = {"in", "with", "by"}  # "in a soft light", but "a red light on a pole"


def praises(prompt: PromptTokens, phrase: tuple[Word, ...]) -> bool:
    """Whether a phrase, or all between the marks around it, is a quality tag ("8k", "trending on artstation"), or it
    names no picture but a file ("<lora:wolf:0.8>")."""
    words, first = prompt.keys, prompt.words.index(phrase[0])
    mark = next((at for at in reversed(range(first)) if not _ANGLES.isdisjoint(prompt.words[at].text)), -1)
    if mark >= 0 and prompt.words[mark].text.endswith("<") and words[mark + 1] in _FILES:
        return True
    clause = _clause(words, first)
    return is_quality_tag(" ".join(word.text for word in phrase)) or is_quality_tag(" ".join(words[clause]))


def names_look(prompt: PromptTokens, phrase: tuple[Word, ...]) -> bool:
    """Whether a phrase says how a picture looks, and not what is in it.

    It says so by its last word ("cinematic lighting", "at night"), by the word style, by a camera or program without
    an article, or as a part of what stands between two commas ("by Greg Rutkowski", "shallow depth of field").

    Args:
        prompt: The prompt.
        phrase: One of its phrases.
    """
    words = prompt.keys
    first, end = prompt.words.index(phrase[0]), prompt.words.index(phrase[-1]) + 1
    keys, last, before = words[first:end], words[end - 1], words[:first]
    is_bare = not before or before[-1] not in _ARTICLES
    ahead = next((key for key in reversed(before) if key not in _ARTICLES), "")
    is_close_up = keys[-2:] == ["close", "up"]
    is_style = "style" in keys or [key for key in before if key not in _ARTICLES][-2:] == ["style", "of"]
    is_season = last in _SEASONS and [key for key in before[-2:] if key != "the"][-1:] == ["in"]
    if is_style or is_season or is_close_up or last in _QUALITIES | _LIGHT_AND_TIME:
        return True
    if last in _PICTURES:
        return is_bare or ahead not in _BEFORE_THINGS or words[end : end + 1] == ["of"]
    if last == "camera" and is_bare and ahead not in _BEFORE_THINGS:
        return True
    if last in _WEATHER or last.endswith("storm"):
        return ahead in {"", "during"}
    if last == "light":
        return is_bare or ahead in _BEFORE_LIGHT
    if is_bare and not _MAKERS.isdisjoint(keys) or all(map(_MEASURE.fullmatch, keys)):
        return True
    return _is_part_of_look(words, first) or _is_said_of_look(words, first, end)


def _is_said_of_look(words: list[str], first: int, end: int) -> bool:
    """Whether a phrase belongs to a sentence about the camera, the light or the film ("The camera pans left", "The
    lighting is soft and warm", "The video shows"): its subject, or what is said of that without an article."""
    part = _clause(words, first)
    start = part.start + (words[part.start] == "the")
    subject, verb = [*words[start : part.stop], "", ""][:2]
    if subject in _FILMS:
        return first == start and verb in _SHOW
    if subject not in _SPOKEN_OF or verb in FUNCTION_WORDS - IS | {""}:
        return False
    return first == start or words[first - 1] not in _ARTICLES or words[end - 1] in PARTS


def tells_how_drawn(participle: str, next_word: str = "") -> bool:
    """Whether two words begin to say how a picture is made ("painted by Monet", "rendered in Unreal Engine")."""
    return participle in _DRAWN and next_word in (_BEFORE_MAKERS if participle == "painted" else _BEFORE_MEANS)


def is_picture_of(prompt: PromptTokens, phrase: tuple[Word, ...]) -> bool:
    """Whether a phrase before "of" is a kind of picture ("a poster of a cat") and no part, measure or model."""
    return names_look(prompt, phrase) or phrase[-1].key in _WORKS


def _is_part_of_look(words: list[str], at: int) -> bool:
    """Whether the words between the marks around the one at a place are a look as a whole, or it is their artist."""
    part = _clause(words, at)
    if _CLAUSE.fullmatch(" ".join(words[part])):
        return True
    ahead = words[part.start : at + 2]
    if any(map(tells_how_drawn, ahead, ahead[1:])):
        return True
    ahead = words[part.start : at]
    return "by" in ahead and (ahead[0] == "by" or ahead[ahead.index("by") - 1] in _PICTURES)


def _clause(words: list[str], at: int) -> slice:
    """Where the words between the marks around the one at a place lie; marks have no key."""
    start = next((place + 1 for place in reversed(range(at)) if not words[place]), 0)
    return slice(start, next((place for place in range(at, len(words)) if not words[place]), len(words)))
