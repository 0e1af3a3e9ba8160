"""The cache of prepared cases: what training reads, memory-mapped.

Preparing a scan (read, turn, resample, normalise) takes seconds, and training wants its patches thousands of times.
A case is prepared once a setting: the folder's name is the fingerprint of the settings, and a case whose files
changed since is prepared again. How to prepare is the caller's business (`model` knows), so it is passed in.
Machines may share a cache: a case is written into a folder of the writer's own, which is then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cc3d
import numpy as np
from numpy.typing import NDArray

from tumorspread.data.cases import Case
from tumorspread.errors import DatasetError, OutputError
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.volume import Volume

Prepare = Callable[[Volume, Volume, Volume | None], tuple[NDArray[np.float32], NDArray[np.uint8]]]

LAYOUT, RECORD = "2", "case.json"
# How often a case's old folder may come back under the new one's hands before it counts as an error.
RENAMES = 50
# What a prepared mask holds.
TUMOUR, IGNORED = 1, 2
# Tumour voxels kept a lesion, as centres of patches: enough to place patches evenly over the largest.
CENTRES_A_LESION = 4000
# Voxels kept as centres of patches anywhere: many more than such patches of a case in a training.
PLACES = 4000


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """One case on the network's grid.

    Attributes:
        name: of the case.
        image: (z, y, x) float16, normalised, memory-mapped.
        mask: (z, y, x) uint8, memory-mapped: 0 other tissue, 1 tumour, 2 not to be learned from.
        centres: (n, 4) int32, a row a kept tumour voxel: number of its lesion, z, y, x. Empty without tumour.
        places: (n, 3) int32, voxels z, y, x drawn from those to learn from.
    """

    name: str
    image: NDArray[np.float16]
    mask: NDArray[np.uint8]
    centres: NDArray[np.int32]
    places: NDArray[np.int32]


def prepare_cases(
    cases: Sequence[Case],
    folder: Path,
    *,
    prepare: Prepare,
    settings: str,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Prepare the cases that are not in the cache yet.

    Args:
        cases: to prepare.
        folder: the cache; made where missing.
        prepare: (scan, mask, what is ignored or None) to (image, mask) on the network's grid.
        settings: text of all settings that `prepare` depends on; another text is another cache.
        progress: called with (cases done, cases in all).

    Returns:
        The folder for these settings, to be given to `open_case`.

    Raises:
        DatasetError: a mask that does not lie on its scan's grid.
        OutputError: the cache cannot be written.
    """
    place = folder / hashlib.sha256(f"{LAYOUT}|{settings}".encode()).hexdigest()[:16]
    for done, case in enumerate(cases, 1):
        stamp = _stamp(case)
        if not _is_current(place / case.name, stamp):
            _prepare_case(case, place / case.name, prepare, stamp)
        if progress is not None:
            progress(done, len(cases))
    return place


def open_case(name: str, place: Path) -> PreparedCase:
    """Map a prepared case into memory.

    Raises:
        DatasetError: it is not in the cache, or its files are damaged.
    """
    folder = place / name
    try:
        return PreparedCase(
            name,
            np.load(folder / "image.npy", mmap_mode="r"),
            np.load(folder / "mask.npy", mmap_mode="r"),
            np.load(folder / "centres.npy"),
            np.load(folder / "places.npy"),
        )
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"the prepared case {folder} is missing or damaged; delete its folder") from error


def _prepare_case(case: Case, folder: Path, prepare: Prepare, stamp: str) -> None:
    scan, mask = read_nifti(case.image), read_nifti(case.mask)
    if not scan.same_grid(mask):
        raise DatasetError(f"{case.name}: image and mask lie on different grids; run `tumorspread data check`")
    ignored = None if case.ignored is None else read_nifti(case.ignored)
    if ignored is not None and not scan.same_grid(ignored):
        raise DatasetError(f"{case.name}: image and what is ignored of it lie on different grids")
    image, prepared_mask = prepare(scan, _binary(mask), None if ignored is None else _binary(ignored))
    own = folder.with_name(f".{folder.name}.{socket.gethostname()}-{os.getpid()}")
    try:
        own.mkdir(parents=True, exist_ok=True)
        np.save(own / "image.npy", image.astype(np.float16))
        np.save(own / "mask.npy", prepared_mask)
        np.save(own / "centres.npy", _tumour_centres(prepared_mask == TUMOUR))
        np.save(own / "places.npy", _draw_places(prepared_mask != IGNORED))
        (own / RECORD).write_text(stamp)
        _publish(own, folder, stamp)
    except OSError as error:
        raise OutputError(f"cannot write the cache {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _publish(own: Path, folder: Path, stamp: str) -> None:
    """Rename `own` to `folder`, in place of what is out of date there; another machine's same case stays."""
    for _ in range(RENAMES):
        try:
            os.rename(own, folder)
        except OSError as error:
            # Where another machine has just moved the folder out of the way it is none for a moment.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if _is_current(folder, stamp):
                return
            fault = error
            old = own.with_name(f"{own.name}.old")
            with suppress(FileNotFoundError):
                os.rename(folder, old)
            shutil.rmtree(old, ignore_errors=True)
        else:
            return
    raise fault


def _binary(mask: Volume) -> Volume:
    return mask.with_voxels((mask.voxels > 0).astype(np.uint8))


def _tumour_centres(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    labels = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26)
    voxels = np.argwhere(labels)
    lesions = labels[tuple(voxels.T)]
    order = np.argsort(lesions, kind="stable")
    rows = np.column_stack([lesions, voxels]).astype(np.int32)[order]
    pieces = np.split(rows, np.flatnonzero(np.diff(rows[:, 0])) + 1)
    return np.concatenate([piece[:: max(1, len(piece) // CENTRES_A_LESION)] for piece in pieces])


def _draw_places(learned: NDArray[np.bool_]) -> NDArray[np.int32]:
    flat = np.flatnonzero(learned)
    drawn = np.random.default_rng(0).choice(flat, min(PLACES, len(flat)), replace=False)
    return np.column_stack(np.unravel_index(drawn, learned.shape)).astype(np.int32)


def _stamp(case: Case) -> str:
    """What must not have changed since: size and time of the files."""
    files = [path for path in (case.image, case.mask, case.ignored) if path is not None]
    stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return json.dumps(stats)


def _is_current(folder: Path, stamp: str) -> bool:
    try:
        return (folder / RECORD).read_text() == stamp
    except OSError:
        return False
