"""Turns a workflow as the frontend saves it into the prompt that the server runs, as the frontend itself would.

So one JSON file per workflow serves ComfyUI's template browser, dev.py and the tests. Covers what the shipped workflows
use: widgets, dynamic combos, links and notes; reroutes, subgraphs, muted and bypassed nodes are refused.
"""

WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COLOR", "COMBO", "COMFY_DYNAMICCOMBO_V3")
NOTES = ("Note", "MarkdownNote")
EXPORT = "save the workflow by Export (API) of ComfyUI's page, which leaves no such nodes"


def prompt_from_workflow(workflow, object_info):
    """The API-format prompt {node id: {"class_type", "inputs", "_meta"}} of a workflow in the UI format.

    object_info  the server's answer to /object_info; widget values are stored by position, and this gives their names
    ValueError when the workflow uses a node or a choice that the server lacks, or a node that is muted or bypassed.
    """
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        if node["type"] not in object_info:
            raise ValueError(
                f"Node {node['id']} is a {node['type']}, which this server does not have; install what brings it, "
                f"or, for a reroute, subgraph or primitive, {EXPORT}."
            )
        if node.get("mode", 0) != 0:
            raise ValueError(
                f"Node {node['id']} ({node['type']}) is muted or bypassed; switch it on, remove it, or {EXPORT}."
            )
        definition = object_info[node["type"]]
        inputs = _widget_values(definition["input"], iter(node.get("widgets_values") or []))
        inputs.update(
            (slot["name"], sources[slot["link"]]) for slot in node.get("inputs", []) if slot.get("link") is not None
        )
        title = node.get("title") or definition["display_name"] or node["type"]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": title}}
    return prompt


def _widget_values(groups, stored, prefix=""):
    """{input name: value} of a node's widgets, taken from the iterator `stored` in the frontend's order."""
    values = {}
    for group in ("required", "optional"):
        specifications = groups.get(group, {})
        for name, written in specifications.items():
            kind, options = _kind(written)
            if kind not in WIDGET_TYPES or options.get("forceInput"):
                continue
            value = next(stored, _default(kind, options))
            values[prefix + name] = {"__value__": value} if isinstance(value, list) else value
            if kind == "INT" and options.get("control_after_generate", name in ("seed", "noise_seed")):
                next(stored, None)  # what the frontend does with the seed after a run
            if kind == "COMFY_DYNAMICCOMBO_V3":
                choices = _choices(options)
                if value not in choices:
                    raise ValueError(f"Input '{prefix}{name}' holds {value!r}, which this server does not offer.")
                values.update(_widget_values(choices[value], stored, f"{prefix}{name}."))
    return values


def specification(groups, name, inputs):
    """(kind, options) of a node's input; of one that belongs to a choice, such as `preset.self_until`, of that choice.

    groups  the node's "input" in /object_info; inputs  the values of the node, which tell what is chosen
    """
    chosen, _, rest = name.partition(".")
    written = next(group[chosen] for group in groups.values() if isinstance(group, dict) and chosen in group)
    kind, options = _kind(written)
    return specification(_choices(options)[inputs[chosen]], rest, {}) if rest else (kind, options)


def choose(inputs, name, choice, options):
    """Makes a choice in a node's inputs, as a person does by hand: what belongs to it gets the values it comes with."""
    for other in [other for other in inputs if other.startswith(f"{name}.")]:
        del inputs[other]
    inputs[name] = choice
    inputs.update(_widget_values(_choices(options)[choice], iter(()), f"{name}."))


def _kind(written):
    """(kind, options) as /object_info writes them, in the old form and in the new."""
    kind, *rest = written
    options = rest[0] if rest else {}
    return ("COMBO", {"options": kind, **options}) if isinstance(kind, list) else (kind, options)


def _choices(options):
    """{choice: the inputs that come with it}."""
    return {option["key"]: option["inputs"] for option in options["options"]}


def _default(kind, options):
    """What a widget holds in a workflow saved before the widget existed."""
    if "default" in options:
        return options["default"]
    if kind == "COMFY_DYNAMICCOMBO_V3":
        return options["options"][0]["key"]
    if kind == "COMBO":
        return next(iter(options["options"]), None)
    return {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False, "COLOR": "#ffffff"}[kind]
