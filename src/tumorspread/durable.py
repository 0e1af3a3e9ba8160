"""Files that are whole after a kill -9 or a power cut, or not there at all.

A rename is atomic, but only a synced file in a synced folder outlives the power, so both are synced before anybody is
told that something is kept.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


def write_file(path: Path, content: bytes, unfinished: Path) -> None:
    """Write a file at once and for good.

    Args:
        path: the file; one that is there is replaced.
        content: all of it.
        unfinished: folder on the same disk for the file while it grows.

    Raises:
        OSError: such as a full disk; nothing of the new file is left then.
    """
    growing = unfinished / uuid4().hex
    try:
        with growing.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(growing, path)
    finally:
        with suppress(FileNotFoundError):
            growing.unlink()
    sync_folder(path.parent)


def move_folder(source: Path, target: Path) -> None:
    """Make a folder and its files durable, then rename it.

    Raises:
        OSError: it cannot be synced or renamed.
    """
    for path in source.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    sync_folder(source)
    make_folder(target.parent)
    os.replace(source, target)
    sync_folder(target.parent)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, that outlive the power; for the owner's eyes alone.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Windows keeps them in its journal and opens no folders."""
    if sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
