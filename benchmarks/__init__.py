"""What is too slow for CI: cost (`dev.py bench`), quality (`dev.py quality`), robustness (`dev.py fuzz`, `faults` and
`soak`) and studies of single questions.

Everything here runs in a real ComfyUI with the pack and the tests' helpers, which are loaded before anything else.
"""

from . import comfyui  # noqa: F401
