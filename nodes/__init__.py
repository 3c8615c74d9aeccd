"""What a person sees: one file per stage of the graph, from video to video."""

from threading import Thread

import folder_paths

from ..fatezero.compat import ComfyExtension
from ..fatezero.disk import remove_unfinished
from ..fatezero.source.resume import remove_abandoned


def _tidy_up() -> None:
    output = folder_paths.get_output_directory()
    remove_abandoned(output)
    remove_unfinished(output)


class FateZeroExtension(ComfyExtension):
    """The pack's nodes, in the order in which a clip meets them."""

    async def on_load(self):
        """Removes what killed saves and inversions have left in the output folder, while ComfyUI goes on starting."""
        Thread(target=_tidy_up, name="FateZero tidying up", daemon=True).start()

    async def get_node_list(self):
        from .attention_blend import AttentionBlend
        from .attention_mask import AttentionMask
        from .blend_sampler import AttentionBlendSampler
        from .compare_videos import CompareVideos
        from .composite import CompositeOutsideMask
        from .coupled_sampler import CoupledEditSampler
        from .demo_model import LoadDemoModel
        from .demo_video_model import LoadDemoVideoModel
        from .edit_prompts import EditPrompts
        from .edit_report import EditReport
        from .fit_mask import FitMask
        from .heat_map import AttentionHeatMap
        from .inflate import InflateUNet
        from .invert import Invert
        from .null_text import NullTextOptimization
        from .shared.clip_route import register_clip_route
        from .shared.tuned_folder import register_folder
        from .source_load import LoadSourceRun
        from .source_save import SaveSourceRun
        from .tune import TuneVideoModel
        from .tuned_load import LoadTunedModel
        from .tuned_save import SaveTunedModel
        from .video_load import VideoLoad, preview
        from .video_save import VideoSave

        register_folder()
        register_clip_route(preview)
        return [
            VideoLoad,
            FitMask,
            LoadDemoModel,
            LoadDemoVideoModel,
            EditPrompts,
            TuneVideoModel,
            LoadTunedModel,
            SaveTunedModel,
            InflateUNet,
            Invert,
            NullTextOptimization,
            SaveSourceRun,
            LoadSourceRun,
            AttentionMask,
            AttentionHeatMap,
            AttentionBlend,
            AttentionBlendSampler,
            CoupledEditSampler,
            CompositeOutsideMask,
            EditReport,
            CompareVideos,
            VideoSave,
        ]
