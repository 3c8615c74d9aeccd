"""The pack and its demo world, in the ComfyUI of COMFYUI_PATH."""
from benchmarks.cost import comfyui  # noqa: F401  (loads both, before anything else imports ComfyUI)
from fatezero_pack.demo import judge as pixels, model, world  # noqa: F401
