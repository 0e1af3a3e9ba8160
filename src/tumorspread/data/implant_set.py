"""A data set of real chests with synthetic tumours, in MSD layout: what weights that ship are trained on.

Case number n is a function of (seed, n), the hosts and the configuration alone, so a set need not be kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray

from tumorspread.data.acquisition import AcquisitionConfig, acquire
from tumorspread.data.cases import DatasetInfo, write_case, write_dataset_json, write_text
from tumorspread.data.deformation import deform
from tumorspread.data.diaphragm import RISE_MM, raise_diaphragm
from tumorspread.data.field_of_view import narrow_field
from tumorspread.data.hosts import IN_BOX, TUMOUR, HostScan, HostSpec, open_host
from tumorspread.data.implant import ImplantConfig, ImplantedLesion, implant
from tumorspread.data.shapes import ShapeLibrary
from tumorspread.data.splits import Split, write_splits
from tumorspread.errors import DatasetError
from tumorspread.measurement.lungs import LEFT, RIGHT
from tumorspread.scan.volume import Volume

TRUTH = "implants.json"
# The last cases with so many tumours choose the checkpoint; whole scans take long.
VALIDATED, TUMOURS_VALIDATED = 3, 3
EMPTY_P = 0.06
# Lung before and after it lost air, HU, and how much it lost at the least; how thick that must be to be more than a
# vessel or a scar, and how far around it nothing is learned either.
AIRY_HU, HAZY_HU, DENSER_HU, HAZY_MM, MARGIN_MM = -500.0, -700.0, 120.0, 8.0, 4.0
# Small tumours in a lung that has many, a third of them subsolid: those were missed most.
MANY = ImplantConfig((12, 40), (4.0, 25.0), masses=0, texture_weights=(0.42, 0.16, 0.2, 0.06, 0.1, 0.06))


@dataclass(frozen=True)
class ImplantSetConfig:
    """What a set is made of.

    Attributes:
        hosts: the scans.
        data: folder that their paths are relative to.
        shapes: folder of real outlines, as `ShapeLibrary.read` takes it; None makes all by formula.
        seed: of the set.
        acquisition: how hosts vary.
        implant: what is put into them.
        empty_p: share of the cases that get distractors alone.
        many_p: share of the others that get what `many` says, as a lung full of metastases has it: a patch of it
            teaches several small tumours at once.
        many: what is put into those.
        raised_p: share of the cases with half of the diaphragm raised.
        cropped_p: share of the cases that show a part of the chest alone.
        deformed_p: share of the cases whose host is stretched and bent.
        airless_ignored: nothing is learned where lung was made airless or hazy and is no tumour (collapse,
            consolidation, fluid): on CT without contrast such lung looks as tumours do, and a network that is taught to
            tell them apart by what only synthetic ones show calls real masses collapse.
    """

    hosts: tuple[HostSpec, ...]
    data: Path
    shapes: Path | None = None
    seed: int = 0
    acquisition: AcquisitionConfig = field(default_factory=AcquisitionConfig)
    implant: ImplantConfig = field(default_factory=lambda: ImplantConfig(lesions=(2, 10)))
    empty_p: float = EMPTY_P
    many_p: float = 0.0
    many: ImplantConfig = MANY
    raised_p: float = 0.0
    cropped_p: float = 0.0
    deformed_p: float = 0.0
    airless_ignored: bool = False


@dataclass(frozen=True, eq=False)
class ImplantCase:
    """One case: scan (int16 HU), mask (uint8), the host it was made of, and the tumours that were put in.

    `ignored` (uint8) is 1 where the host may have a tumour without an outline; None where it has none such.
    """

    scan: Volume
    mask: Volume
    ignored: Volume | None
    host: str
    lesions: tuple[ImplantedLesion, ...]
    distractors: tuple[str, ...]


def make_case(number: int, config: ImplantSetConfig, library: ShapeLibrary | None) -> ImplantCase:
    """Case `number` of a set.

    Raises:
        ReadError, GeometryError, MaskError, DatasetError: the host cannot be used; see `open_host`.
    """
    random = np.random.default_rng((config.seed, number))
    weights = np.array([host.weight for host in config.hosts])
    spec = config.hosts[int(random.choice(len(weights), p=weights / weights.sum()))]
    host = open_host(spec, config.data)
    # Nothing is drawn where nobody asks for it, here and for `many`, so that older sets stay what they are.
    if config.raised_p and random.random() < config.raised_p:
        host = HostScan(*raise_diaphragm(host.scan, host.labels, _draw_side(random, host), random.uniform(*RISE_MM)))
    # On the host's own grid, where interpolation softens least of what the other scanner will show.
    if config.deformed_p and random.random() < config.deformed_p:
        host = HostScan(*deform(host.scan, host.labels, random))
    scan, labels = acquire(host.scan, host.labels, random, config.acquisition)
    if config.cropped_p and random.random() < config.cropped_p:
        scan, labels = narrow_field(scan, labels, random)
    real, unknown = labels.voxels == TUMOUR, labels.voxels >= IN_BOX
    # A real tumour is lung to its neighbours; which lung does not matter to them.
    lungs = np.where(real, LEFT, labels.voxels % IN_BOX).astype(np.uint8)
    what = config.implant
    if random.random() < config.empty_p:
        what = ImplantConfig(lesions=(0, 0), distractors=what.distractors)
    elif config.many_p and random.random() < config.many_p:
        what = config.many
    done = implant(scan, lungs, random, what, library, keep_clear=_around(real) | unknown)
    mask = done.mask.with_voxels(np.maximum(done.mask.voxels, real).astype(np.uint8))
    if config.airless_ignored:
        unknown = unknown | find_airless(scan, done.scan, mask.voxels > 0)
    ignored = (unknown & (mask.voxels == 0)).astype(np.uint8)
    unlearned = mask.with_voxels(ignored) if ignored.any() else None
    return ImplantCase(done.scan, mask, unlearned, spec.name, done.lesions, done.distractors)


def find_airless(before: Volume, after: Volume, tumour: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where implants took air from the lung beside the tumours, collapse and haze alike, and a margin around.

    Vessels, scars and thin layers do not count.

    Args:
        before: the host, HU.
        after: the same with what was put in.
        tumour: the outlines, on the same grid.
    """
    hazy = (before.voxels < AIRY_HU) & (after.voxels > HAZY_HU) & ~tumour
    hazy &= after.voxels - before.voxels > DENSER_HU
    spacing = before.spacing_mm
    thick = np.asarray(edt.edt(np.ascontiguousarray(hazy), anisotropy=spacing) >= HAZY_MM / 2)
    if not thick.any():
        return thick
    return np.asarray(edt.edt(np.ascontiguousarray(~thick), anisotropy=spacing) <= HAZY_MM / 2 + MARGIN_MM)


def write_implants(
    out: Path,
    count: int,
    config: ImplantSetConfig,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a set of `count` cases in MSD layout with `splits.json` and `implants.json`; goes on where it stopped.

    Split 0 is of all cases, split n leaves out those made of patient n in the order of the hosts.

    Args:
        out: folder; made where missing. Cases that are there are kept if they are of the same set.
        count: cases in all.
        config: the set.
        workers: processes.
        progress: called with (cases done, cases in all).

    Returns:
        `out`.

    Raises:
        DatasetError: fewer than two cases, or the folder holds something else or another set.
        OutputError: the folder cannot be written.
    """
    if count < 2:
        raise DatasetError(f"{count} cases asked for; expected 2 or more, to train on and to validate on")
    names = [f"implant_{number:05d}" for number in range(count)]
    info = DatasetInfo(f"Synthetic tumours in real chests, seed {config.seed}", training=tuple(names))
    _open_out(out, config)
    missing = [number for number, name in enumerate(names) if not _truth_file(out, name).exists()]
    done = count - len(missing)
    for _ in _write_all(out, missing, config, workers, info):
        done += 1
        if progress is not None:
            progress(done, count)
    truth = {name: json.loads(_truth_file(out, name).read_text()) for name in names}
    write_splits(out / "splits.json", _leave_out_in_turn(truth, config.hosts), kind="folds", seed=config.seed)
    write_text(out / TRUTH, json.dumps(truth, indent=1) + "\n")
    write_dataset_json(out, info)
    return out


def _leave_out_in_turn(truth: dict[str, Any], hosts: Sequence[HostSpec]) -> list[Split]:
    who = {host.name: host.who for host in hosts}
    splits = []
    for left_out in (None, *dict.fromkeys(who.values())):
        names = [name for name, case in truth.items() if who[case["host"]] != left_out]
        telling = [name for name in names if len(truth[name]["lesions"]) >= TUMOURS_VALIDATED] or names
        val = telling[-min(VALIDATED, max(1, len(names) // 2)) :]
        test = tuple(name for name in truth if name not in names)
        splits.append(Split(tuple(name for name in names if name not in val), tuple(val), test))
    return splits


def _open_out(out: Path, config: ImplantSetConfig) -> None:
    """Make the folder, or see that it is of this set."""
    # Where the hosts lie on this machine is not part of the set.
    settings = json.dumps(asdict(replace(config, data=Path(), shapes=None)), default=str, indent=1) + "\n"
    record = out / "set.json"
    if out.exists() and any(out.iterdir()) and (not record.is_file() or record.read_text() != settings):
        raise DatasetError(f"{out} holds something else, or a set of other settings; name a new folder")
    (out / "truth").mkdir(parents=True, exist_ok=True)
    write_text(record, settings)


def _truth_file(out: Path, name: str) -> Path:
    return out / "truth" / f"{name}.json"


def _write_all(
    out: Path, numbers: Sequence[int], config: ImplantSetConfig, workers: int, info: DatasetInfo
) -> Iterator[None]:
    if workers <= 1:
        for number in numbers:
            _write_one(out, number, config, info)
            yield
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_write_one, out, number, config, info) for number in numbers]
        try:
            for future in as_completed(waiting):
                future.result()
                yield
        finally:
            pool.shutdown(cancel_futures=True)


def _write_one(out: Path, number: int, config: ImplantSetConfig, info: DatasetInfo) -> None:
    case = make_case(number, config, read_library(config.shapes))
    name = info.training[number]
    write_case(out, name, case.scan, case.mask, info, ignored=case.ignored)
    truth = {"host": case.host, "lesions": [asdict(n) for n in case.lesions], "distractors": case.distractors}
    write_text(_truth_file(out, name), json.dumps(truth) + "\n")


@lru_cache(maxsize=2)
def read_library(folder: Path | None) -> ShapeLibrary | None:
    """The shapes of a folder, read once a process; None for None. Errors as for `ShapeLibrary.read`."""
    return None if folder is None else ShapeLibrary.read(folder)


def _draw_side(random: np.random.Generator, host: HostScan) -> int:
    """One of the lungs that the host has."""
    sides = [side for side in (LEFT, RIGHT) if (host.labels.voxels % IN_BOX == side).any()]
    return sides[int(random.integers(len(sides)))]


def _around(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A box with room about each real tumour."""
    clear = np.zeros(mask.shape, bool)
    if mask.any():
        index = np.argwhere(mask)
        low, high = np.maximum(index.min(axis=0) - 12, 0), index.max(axis=0) + 13
        clear[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return clear
