"""Embeddings of frames and prompts from ComfyUI's CLIP_VISION and CLIP, and whether they can be compared."""

import comfy.model_management
import torch
import torch.nn.functional as F

# By the width of the space that images and texts share: what it is called, and where to find both halves.
_ONE_FILE = "load model.safetensors of {} with both Load CLIP and Load CLIP Vision, it holds both halves"
_FAMILIES = {
    768: ("ViT-L/14", _ONE_FILE.format("openai/clip-vit-large-patch14")),
    1024: ("ViT-H/14", _ONE_FILE.format("laion/CLIP-ViT-H-14-laion2B-s32B-b79K")),
    1280: (
        "ViT-bigG/14",
        "connect the CLIP of an SDXL checkpoint, and load the image encoder of laion/"
        "CLIP-ViT-bigG-14-laion2B-39B-b160k with Load CLIP Vision",
    ),
}


def image_embeddings(clip_vision, images: torch.Tensor, batch: int = 16) -> torch.Tensor:
    """One embedding of length 1 for each frame.

    Args:
        clip_vision: ComfyUI's CLIP_VISION (CLIP, DINO; of SigLIP the mean of its tokens).
        images: [n, H, W, 3] of 0..1, which are scaled and cut to their middle square as CLIP was trained.
        batch: How many frames are encoded together.

    Returns:
        float32 [n, d].
    """
    embeddings = []
    for start in range(0, len(images), batch):
        comfy.model_management.throw_exception_if_processing_interrupted()
        embedded = clip_vision.encode_image(images[start : start + batch, ..., :3])["image_embeds"].float().cpu()
        embeddings.append(embedded if embedded.ndim == 2 else embedded.mean(dim=1))
    return F.normalize(torch.cat(embeddings), dim=-1)


def text_embeddings(clip, texts: list[str]) -> torch.Tensor:
    """One embedding of length 1 for each text in the space of CLIP's images; float32 [k, d].

    The text encoder's output at the end of the text (of its first 77 tokens), times the text projection, which ComfyUI
    leaves out for SD 1.x. Only for a clip of which `comparison_problem` has found nothing to say.
    """
    projection = text_projection(clip)
    assert projection is not None, "asked without comparison_problem"
    pooled = [
        clip.encode_from_tokens(clip.tokenize(text), return_pooled="unprojected", return_dict=True)["pooled_output"]
        .float()
        .cpu()
        for text in texts
    ]
    return F.normalize(torch.cat(pooled) @ projection.T, dim=-1)


def comparison_problem(clip, clip_vision) -> str | None:
    """Why texts and images cannot be compared and which file to load instead, a sentence; None where they can."""
    vision = getattr(getattr(clip_vision.model, "visual_projection", None), "weight", None)
    if vision is None:
        return f"'clip vision' is not a CLIP (DINO or SigLIP) and knows no texts; {_FAMILIES[768][1]}."
    width = vision.shape[0]
    name, remedy = _FAMILIES.get(width, (f"{width} numbers wide", "connect the two halves of one CLIP"))
    projection = text_projection(clip)
    if projection is None:
        return (
            "'clip' is a text encoder without its text projection, as in SD 1.x checkpoints and usually in "
            f"clip_l.safetensors, and cannot be compared with images; {remedy}."
        )
    if projection.shape[0] != width:
        other = _FAMILIES.get(projection.shape[0], (f"{projection.shape[0]} numbers wide",))[0]
        return f"'clip' is {other} but 'clip vision' is {name}, so their numbers mean different things; {remedy}."
    return None


def text_projection(clip) -> torch.Tensor | None:
    """The text projection of a CLIP, float32 [d, d]; None where its file had none.

    ComfyUI then leaves zeros or whatever was in memory, and older files an identity, so the numbers are looked at:
    CLIP is made with a spread of d^-1/2 and stays near it.
    """
    model = clip.cond_stage_model
    encoder = getattr(model, getattr(model, "clip", "clip_g"), None)
    weight = getattr(getattr(getattr(encoder, "transformer", None), "text_projection", None), "weight", None)
    if weight is None or weight.is_meta:
        return None
    weight = weight.detach().float().cpu()
    size = len(weight)
    if not torch.isfinite(weight).all() or torch.equal(weight, torch.eye(size)):
        return None
    return weight if 0.1 < float(weight.std()) * size**0.5 < 10 else None
