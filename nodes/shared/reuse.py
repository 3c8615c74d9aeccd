"""What Invert and Null-Text Optimization say about finding a run of this session again."""

REUSE = (
    "Use what this session has computed before for the same clip, source prompt, model and settings, so that a new "
    "target costs the edit only. Kept in ComfyUI's temp folder, which ComfyUI empties when it starts and ends."
)
