"""What DDIM Invert, Null-Text Optimization and Tune Video Model say about finding again what this session has made."""

REUSE = (
    "Use what this session has computed before for the same clip, source prompt, model and settings, so that a new "
    "target costs the edit only. Kept in ComfyUI's temp folder, which ComfyUI empties when it starts and ends."
)
