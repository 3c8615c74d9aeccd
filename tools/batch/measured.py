"""Edit Report put into a workflow that has none, so that the summary has its numbers."""

LOADER, INFLATE, INVERT, SAMPLER = "FateZeroVideoLoad", "FateZeroInflate", "FateZeroInvert", "FateZeroBlendSampler"
REPORT = "FateZeroEditReport"
ENCODERS, DECODERS = ("VAEEncode", "VAEEncodeTiled"), ("VAEDecode", "VAEDecodeTiled")


def with_report(prompt: dict, definitions: dict) -> dict:
    """The workflow with Edit Report between the clip and its edit.

    Only where the two surely have as many frames of one size, so that no row fails by it: the clip goes as it was
    loaded through one UNet. Other workflows, and those that have a report, stay as they are.

    Args:
        prompt: {node id: {"class_type", "inputs", "_meta"}}; it is not changed.
        definitions: The server's answer to /object_info.
    """
    kinds = {kind: _nodes(prompt, kind) for kind in (LOADER, INFLATE, INVERT, SAMPLER)}
    if REPORT not in definitions or _nodes(prompt, REPORT) or any(len(nodes) != 1 for nodes in kinds.values()):
        return prompt
    (loader,), _, (invert,), (sampler,) = kinds.values()
    decoded = [node for node in _nodes(prompt, *DECODERS) if prompt[node]["inputs"].get("samples") == [sampler, 0]]
    encoded = [node for node in _nodes(prompt, *ENCODERS) if prompt[node]["inputs"].get("pixels") == [loader, 0]]
    if len(decoded) != 1 or prompt[invert]["inputs"].get("latent") not in [[node, 0] for node in encoded]:
        return prompt
    inputs = {"before": [loader, 0], "after": [decoded[0], 0], "source": [invert, 1], "made_by": [sampler, 0]}
    if isinstance(edit := prompt[sampler]["inputs"].get("edit"), list):
        inputs["edit"] = edit
    name = definitions[REPORT]["display_name"]
    return {**prompt, "report": {"class_type": REPORT, "inputs": inputs, "_meta": {"title": name}}}


def _nodes(prompt: dict, *kinds: str) -> list[str]:
    return [node for node, entry in prompt.items() if entry["class_type"] in kinds]
