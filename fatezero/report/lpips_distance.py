"""LPIPS, the learned distance of pictures, by the library `lpips` and weights from ComfyUI's models folder.

Nothing is fetched: the library would load AlexNet from the network, so the whole net comes from one safetensors file.
"""

import importlib.util
import os

import comfy.model_management
import folder_paths
import torch

from ..refusal import Refusal

FILE = "lpips_alex.safetensors"
FOLDER = "lpips"
SMALLEST = 32  # pixels; AlexNet's last layers have nothing to see in less


def weights_path() -> str | None:
    """The weights file in models/lpips or in a folder that extra_model_paths.yaml calls lpips, or None."""
    others = folder_paths.folder_names_and_paths.get(FOLDER, ([],))[0]
    paths = [os.path.join(folder, FILE) for folder in (*others, os.path.join(folder_paths.models_dir, FOLDER))]
    return next(filter(os.path.isfile, paths), None)


def lpips_problem(images: torch.Tensor) -> str | None:
    """What LPIPS of these images [n, H, W, 3] lacks, a sentence; None where nothing."""
    if importlib.util.find_spec("lpips") is None:
        return "LPIPS needs the Python library lpips, which is not installed; see this node's help."
    if weights_path() is None:
        return f"LPIPS needs its weights as models/{FOLDER}/{FILE}, which is not there; see this node's help."
    if min(images.shape[1:3]) < SMALLEST:
        return f"LPIPS needs pictures of at least {SMALLEST}x{SMALLEST} pixels."
    return None


def lpips_distance(before: torch.Tensor, after: torch.Tensor, path: str | None = None, batch: int = 8) -> torch.Tensor:
    """LPIPS (v0.1, AlexNet) of two clips; Video-P2P averages it over the frames.

    d = sum over layers l of the mean over places of |w_l (f_l(before) - f_l(after))|², f of length 1 per place.
    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (2018).

    Args:
        before: [n, H, W, 3] of 0..1, at least 32 pixels wide and high.
        after: The same.
        path: The file of the weights; by default `weights_path`.
        batch: How many frames are measured together.

    Returns:
        A value for each frame, float32 [n]; 0 for equal pictures.

    Raises:
        Refusal: For a file that does not hold the whole net.
    """
    path = path or weights_path()
    assert path is not None, "asked without lpips_problem"
    net = _load(path)
    distances = []
    for start in range(0, len(before), batch):
        comfy.model_management.throw_exception_if_processing_interrupted()
        pair = [clip[start : start + batch, ..., :3].float().cpu().movedim(-1, 1) for clip in (before, after)]
        with torch.no_grad():
            distances.append(net(*pair, normalize=True).flatten())
    return torch.cat(distances)


def _load(path: str):
    import lpips
    import safetensors
    import safetensors.torch

    net = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)  # random: nothing is fetched
    try:
        safetensors.torch.load_model(net, path)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise Refusal(
            f"{os.path.basename(path)} does not hold the weights of LPIPS with AlexNet; make "
            "it again as this node's help says."
        ) from error
    return net
