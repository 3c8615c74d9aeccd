"""Where the time of a step goes: torch's profiler, its operators put into a few groups."""

import torch

# The first group one of whose words is in the operator's name.
GROUPS = {
    "convolution": ("conv",),
    "attention": ("scaled_dot_product", "flash", "efficient_attention", "softmax", "bmm"),
    "linear layers": ("addmm", "aten::mm", "linear", "matmul"),
    "norms": ("norm",),
    "copies, gathers": ("copy", "cat", "index", "gather", "clone", "repeat", "fill", "zero", "to_copy", "contiguous"),
}
REST = "activations, sums, the rest"


def seconds_by_group(function) -> dict[str, float]:
    """Seconds of a call in each of GROUPS and in the rest: the GPU's where there is one, else the CPU's."""
    on_gpu = torch.cuda.is_available()
    activities = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * on_gpu
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        function()
        if on_gpu:
            torch.cuda.synchronize()
    groups = dict.fromkeys((*GROUPS, REST), 0.0)
    for event in profile.key_averages():
        if event.device_type == torch.autograd.DeviceType.CPU:  # a GPU's kernels are counted at what called them
            taken = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            groups[group_of(event.key)] += taken / 1e6
    return groups


def group_of(operator: str) -> str:
    return next((group for group, words in GROUPS.items() if any(word in operator for word in words)), REST)
