"""What the tests of the batch share: a workflow of five nodes, and clips whose frames differ in their shade."""

import av
import numpy as np

PRESETS = [
    {"key": "style", "inputs": {"required": {"self_until": ["FLOAT", {"default": 0.8}]}}},
    {"key": "shape", "inputs": {"required": {"self_until": ["FLOAT", {"default": 0.3}]}}},
]
DEFINITIONS = {
    "FateZeroVideoLoad": {
        "input": {
            "required": {
                "file": ["COMBO", {"options": [], "video_upload": True}],
                "start": ["INT", {}],
                "count": ["INT", {}],
                "every_nth": ["INT", {}],
            }
        }
    },
    "FateZeroInflate": {
        "input": {
            "required": {
                "key_frames": [["current + middle (paper)", "custom"], {}],
                "custom_key_frames": ["STRING", {}],
                "normalise_across_frames": ["BOOLEAN", {}],
            }
        }
    },
    "FateZeroBlendSampler": {"input": {"required": {"preset": ["COMFY_DYNAMICCOMBO_V3", {"options": PRESETS}]}}},
    "FateZeroVideoSave": {
        "input": {"required": {"filename_prefix": ["STRING", {}], "format": [["mp4", "png", "gif"], {}]}}
    },
}


def node(kind, title, **inputs):
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}


def workflow():
    """Loads a clip, inflates, samples and saves it twice."""
    return {
        "1": node("FateZeroVideoLoad", "Video Load", file="demo/a.mp4", start=1, count=0, every_nth=2),
        "2": node(
            "FateZeroInflate",
            "Inflate UNet",
            key_frames="current + middle (paper)",
            custom_key_frames="current, middle",
            normalise_across_frames=False,
        ),
        "3": node("FateZeroBlendSampler", "Sampler", model=["2", 0], preset="style", **{"preset.self_until": 0.7}),
        "4": node("FateZeroVideoSave", "Edited", images=["1", 0], audio=["1", 2], filename_prefix="x", format="mp4"),
        "5": node("FateZeroVideoSave", "Beside", images=["1", 0], filename_prefix="y", format="mp4"),
    }


def write_clip(path, shades, sound=False):
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=8)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        audio = output.add_stream("aac", rate=48000, layout="stereo") if sound else None
        for shade in shades:
            picture = np.full((32, 32, 3), 20 * shade, np.uint8)
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        output.mux(video.encode(None))
        if audio:
            seconds = np.arange(48000 * len(shades) // 8) / 48000
            tone = np.sin(2 * np.pi * 440 * seconds).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
            frame.rate = 48000
            output.mux(audio.encode(frame))
            output.mux(audio.encode(None))


def shades_of(path):
    with av.open(str(path)) as container:
        return [round(frame.to_ndarray(format="rgb24").mean() / 20) for frame in container.decode(video=0)]
