"""Load Inverted Clip: an inverted clip from a file, in place of inverting it again."""

import os
from pathlib import Path, PurePath

import folder_paths

from ..fatezero.compat import io, schema, ui
from ..fatezero.network.transformer.families import family_of
from ..fatezero.network.unet.check import require_unet
from ..fatezero.refusal import Refusal, shortened
from ..fatezero.source.reconstruction import inverted_noise
from ..fatezero.source.resume import FOLDER as UNFINISHED
from ..fatezero.source.source_check import check_models
from ..fatezero.source.source_file import read_source
from .shared.checked import checked
from .shared.input_file import files_inside, input_path, is_inside
from .shared.two_models import inverted_low_noise_model_input
from .shared.wire_types import SourceRunType

NODE = "Load Inverted Clip"
SAVED_IN = "fatezero"  # within the output folder
_OUTPUT = " [output]"  # how ComfyUI marks files of its output folder


class LoadSourceRun(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroLoadSource",
            display_name=NODE,
            category="FateZero/inversion",
            description="Brings back an inverted clip that Save Inverted Clip has written, in the place of DDIM Invert "
            "+ Store Attention: edits of it are the same to the last bit.",
            search_aliases=["load inversion", "restore source", "fatezero"],
            inputs=[
                io.Model.Input("model", tooltip="The model, LoRAs and inflation that the clip was inverted with."),
                io.Combo.Input(
                    "file",
                    options=_files(),
                    tooltip="A file of Save Inverted Clip, in the folder fatezero of ComfyUI's output folder "
                    "or in the input folder.",
                ),
                inverted_low_noise_model_input(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The inverted noise; the sampler must add none."),
                SourceRunType.Output(display_name="source", tooltip="The inverted clip, for masks and edits."),
                io.Sigmas.Output(display_name="sigmas", tooltip="The noise levels, for SamplerCustomAdvanced."),
                io.String.Output(display_name="report", tooltip="What was inverted, and the file."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file=None):
        # A connected input arrives as None, here and in fingerprint_inputs.
        return True if file is None or input_path(file) is not None else f"{NODE}: {_missing(file)}"

    @classmethod
    def fingerprint_inputs(cls, file=None, **settings):
        path = input_path(file) if file else None
        if path is None:
            return ""
        facts = os.stat(path)
        return f"{path} {facts.st_mtime_ns} {facts.st_size}"

    @classmethod
    @checked
    def execute(cls, model, file, low_noise_model=None) -> io.NodeOutput:
        if family_of(model) is None:
            require_unet(model)
        path = input_path(file)
        if path is None:
            raise Refusal(_missing(file))
        source = read_source(path)
        check_models(model, low_noise_model, source)
        report = f"{source.summary()}\nloaded from {file}"
        noise = {"samples": inverted_noise(model, source)}
        return io.NodeOutput(noise, source, source.sigmas.flip(0), report, ui=ui.PreviewText(report))


def _files() -> list[str]:
    """The files to choose from; only the folders that can hold source runs are looked through."""
    output = folder_paths.get_output_directory()
    unfinished = os.path.join(output, *PurePath(UNFINISHED).parts)
    found = []
    for folder, folders, names in os.walk(os.path.join(output, SAVED_IN)):
        folders[:] = [
            name for name in sorted(folders) if not name.startswith(".") and os.path.join(folder, name) != unfinished
        ]
        here = [Path(folder, name) for name in _runs(names)]
        found += [path.relative_to(output).as_posix() + _OUTPUT for path in here if is_inside(output, path)]
    return found + _runs(files_inside(folder_paths.get_input_directory()))


def _runs(names: list[str]) -> list[str]:
    return sorted(name for name in names if name.endswith(".safetensors"))


def _missing(file: str) -> str:
    return (
        f"'file' is {shortened(file)}, which is not in ComfyUI's output or input folder; choose another one, or save "
        "the inverted clip again."
    )
