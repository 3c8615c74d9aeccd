"""Where files of tuned models lie: `models/fatezero`, what extra_model_paths adds, what Save Tuned Model writes.

The pack brings one along, of the demo model.
"""

import os
from pathlib import Path, PurePath

import folder_paths

from ...fatezero.tuning.tuned_file import ENDINGS

FOLDER = "fatezero"  # within ComfyUI's models folder
SAVED_IN = "fatezero_tuned"  # within the output folder
_DEMO = Path(__file__).resolve().parents[2] / "demo" / "tuned"
# Folders of a diffusers model beside its UNet's.
_OTHER_PARTS = {"text_encoder", "vae", "safety_checker", "tokenizer", "feature_extractor", "scheduler"}


def register_folder() -> None:
    """Makes the folders known to ComfyUI, after those of extra_model_paths."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.get_output_directory(), SAVED_IN))
    folder_paths.add_model_folder_path(FOLDER, str(_DEMO))
    paths, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, set(ENDINGS))


def tuned_files() -> list[str]:
    """What there is to choose from; of a diffusers folder its UNet's file."""
    files = folder_paths.get_filename_list(FOLDER)
    return [file for file in files if not _OTHER_PARTS.intersection(PurePath(file).parts)]


def tuned_path(file: str) -> str | None:
    """Where a chosen file lies, None where it is not there."""
    return folder_paths.get_full_path(FOLDER, file)
