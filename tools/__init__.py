"""What stands behind dev.py: making the environment, running ComfyUI, talking to it."""
