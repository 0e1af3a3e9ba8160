"""Room for the voxels of a long scan: in a file without a name, so that they need not stay in memory.

A scan of 2,000 slices holds 1 GiB. In a mapped file its pages can be let go once they were looked at, and come back by
themselves when they are read again: then memory does not grow with the length of the scan.
"""

from __future__ import annotations

import math
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Shorter scans stay in memory: 500 slices of 512 x 512 in int16. What claims to be larger than any scan does, too.
LEAST_BYTES, MOST_BYTES = 2**28, 2**34
# What a walk through a scan keeps behind itself.
STRETCH_BYTES = 2**27
# Of the free space of the disk, what a scan may take.
DISK_SHARE = 0.5


class _Pages(mmap.mmap):
    """Pages of a file: none is lost when it is let go, unlike one of plain memory."""


def roomy_empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array whose values are not set, as by `np.empty`; a large one lies in an unnamed file in the temporary folder.

    Where that folder has too little room, or the system is not Linux, it lies in memory as any other.

    Raises:
        MemoryError: there is no memory for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if sys.platform != "linux" or not LEAST_BYTES <= size <= MOST_BYTES:
        return np.empty(shape, dtype)
    try:
        if size > DISK_SHARE * shutil.disk_usage(tempfile.gettempdir()).free:
            return np.empty(shape, dtype)
        with tempfile.TemporaryFile() as file:
            # Else a disk that fills up later would kill the process at the next write.
            os.posix_fallocate(file.fileno(), 0, size)
            pages = _Pages(file.fileno(), size)
    except OSError:
        return np.empty(shape, dtype)
    return np.frombuffer(pages, dtype).reshape(shape)


def walk(voxels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The planes along the first axis, in order; those that lie behind are let go."""
    stretch = planes_a_stretch(voxels)
    for number, plane in enumerate(voxels, 1):
        yield plane
        if number % stretch == 0:
            let_go(voxels)


def planes_a_stretch(voxels: NDArray[Any]) -> int:
    """After how many planes along the first axis it is time to let go."""
    return max(1, STRETCH_BYTES * len(voxels) // max(1, voxels.nbytes))


def let_go(voxels: NDArray[Any]) -> None:
    """Take the array's pages out of memory, if they lie in a file; nothing changes but the time of the next look."""
    base: Any = voxels
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if isinstance(base, _Pages):
        base.madvise(mmap.MADV_DONTNEED)
