"""`python dev.py bench`: what an inversion and an edit cost, as ratios to ComfyUI's own sampler and to stored maps.

sizes: how large each measurement is; runs: what is run; timing, memory, step_profile: how it is measured; figures: what
is made of it; report: where it is written.
"""
