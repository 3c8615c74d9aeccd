"""A range of steps on a prompt that leaves none out, as prompt-control puts on every prompt."""


def without_whole_range(conditioning: list) -> list:
    """A CONDITIONING whose prompts have no range of steps where theirs is the whole.

    >>> without_whole_range([["prompt", {"start_percent": 0.0, "end_percent": 1.0}]])
    [['prompt', {}]]
    >>> without_whole_range([["prompt", {"start_percent": 0.0, "end_percent": 0.5}]])
    [['prompt', {'start_percent': 0.0, 'end_percent': 0.5}]]
    """
    return [[embedding, _without(options), *others] for embedding, options, *others in conditioning]


def _without(options: dict) -> dict:
    if options.get("start_percent", 0.0) > 0.0 or options.get("end_percent", 1.0) < 1.0:
        return options
    return {name: value for name, value in options.items() if name not in ("start_percent", "end_percent")}
