"""How large the network's windows may be, so that the process stays below the memory it was given."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import psutil

from tumorspread.errors import RecipeError

# Values of the first level that a network holds at once for each voxel of a window, in values a channel: measured with
# `lung` in OpenVINO and torch, fp32 and bf16, on windows of 112 and 144 voxels an edge (156 to 314 bytes a voxel).
VALUES_A_CHANNEL = 5
VALUE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 2}
# Arrays on the network's grid that blending and judging add to the scan, in float32.
GRID_ARRAYS = 4
# What reading the answer back, measuring and the report take besides, GiB.
AFTERWARDS_GIB = 0.15


def most_voxels(
    max_ram_gib: float, grid: tuple[int, ...], tile: tuple[int, ...], *, channels: int, precision: str
) -> int:
    """How many voxels a window may have, from what this process holds now.

    Args:
        max_ram_gib: the most that the process may hold, GiB.
        grid: shape of the scan on the network's grid.
        tile: the smallest window.
        channels: of the network's first level.
        precision: of its engine.

    Returns:
        At least the voxels of `tile`.

    Raises:
        RecipeError: not even that fits.
    """
    voxel_bytes = VALUES_A_CHANNEL * channels * VALUE_BYTES[precision]
    held = psutil.Process().memory_info().rss + GRID_ARRAYS * 4 * math.prod(grid) + AFTERWARDS_GIB * 2**30
    voxels = int((max_ram_gib * 2**30 - held) / voxel_bytes)
    if voxels < math.prod(tile):
        needed = (held + math.prod(tile) * voxel_bytes) / 2**30
        raise RecipeError(
            f"{max_ram_gib:g} GiB of memory are too few: this scan and these weights take {needed:.2f} GiB; "
            f"give --max-ram {math.ceil(10 * needed) / 10:.1f} or more"
        )
    return voxels


def peak_gib() -> float | None:
    """Most memory that this process held at once, GiB; None where the system does not say.

    On Linux from `/proc`: what `getrusage` says counts what the program that started this one held as well.
    """
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**30
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next((int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM:")), None)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # in bytes on a Mac
