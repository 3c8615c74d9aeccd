"""The method: video editing by attention fusion (FateZero, Video-P2P) on ComfyUI's UNet models."""
