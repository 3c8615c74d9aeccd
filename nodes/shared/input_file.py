"""Files that a person chooses by name: only those that truly lie in ComfyUI's folders, as ComfyUI itself sees to."""

import os

import folder_paths


def is_inside(folder: str | os.PathLike, path: str | os.PathLike) -> bool:
    """Whether a path, all links followed, lies in a folder."""
    try:
        folder, path = os.path.realpath(folder), os.path.realpath(path)
        return os.path.commonpath((folder, path)) == folder
    except ValueError:  # on another drive, or with a null character
        return False


def input_path(name: str) -> str | None:
    """Where a chosen file lies.

    Args:
        name: Its name in the input folder, or in another of ComfyUI's by an ending such as " [output]".

    Returns:
        The path; None if there is no such file, or it or a link on the way leads out of the folder.
    """
    name, folder = folder_paths.annotated_filepath(name)
    folder = folder or folder_paths.get_input_directory()
    path = os.path.abspath(os.path.join(folder, name))
    return path if is_inside(folder, path) and os.path.isfile(path) else None


def files_inside(folder: str | os.PathLike) -> list[str]:
    """The names of the files in a folder, sorted, without links that lead out of it; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.is_file() and (not entry.is_symlink() or is_inside(folder, entry.path))
            )
    except OSError:  # else the frontend would get no nodes at all
        return []
