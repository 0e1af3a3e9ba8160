"""Files of a result folder, and of no other: a link in it may point anywhere, so none is followed."""

from __future__ import annotations

import stat
from pathlib import Path

from tumorspread.errors import ReadError


def own_file(folder: Path, *names: str) -> Path | None:
    """A file below a folder; None where there is none.

    Args:
        folder: an absolute path without links.
        names: of the folders below it and of the file; ours, never those of a request.

    Raises:
        ReadError: one of them is a link, or not a regular file.
    """
    path = folder
    for name in names[:-1]:
        path = own_folder(path, name)
    path = path / names[-1]
    found = _look(path)
    if found is None:
        return None
    if not stat.S_ISREG(found):
        raise ReadError(f"{folder.name}: {'/'.join(names)} is a link or no regular file; it is not followed")
    return path


def own_folder(folder: Path, name: str) -> Path:
    """A folder in a folder, whether it is there or not.

    Raises:
        ReadError: it is a link, or no folder.
    """
    path = folder / name
    found = _look(path)
    if found is not None and not stat.S_ISDIR(found):
        raise ReadError(f"{folder.name}: {name} is a link or no folder; it is not followed")
    return path


def _look(path: Path) -> int | None:
    """The mode of what lies there, itself and not what it points to."""
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
