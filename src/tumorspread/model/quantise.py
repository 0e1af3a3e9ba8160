"""Weights and activations as bytes: sooner, and kept only where real scans show the same answer.

NNCF's quantisation after training (OpenVINO's own tool): the range of each layer is taken from tiles of real scans.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray

from tumorspread.errors import TumorspreadError, WeightsError
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.model.conversion import keep_int8, load_openvino
from tumorspread.model.engine import Engine, OpenVinoEngine
from tumorspread.model.openvino import import_nncf
from tumorspread.model.predict import Predictor
from tumorspread.model.tiles import tile_places
from tumorspread.model.unet import fold_norms
from tumorspread.model.weights import load_weights
from tumorspread.model.zoo import find_weights

# Dice of the mask with that of fp32, on every scan.
LEAST_DICE = 0.995
# Tiles that the ranges are taken from; NNCF's own default takes 300 samples, of one image each.
MOST_TILES = 100


@dataclass(frozen=True)
class Checked:
    """One scan that the int8 model was checked on.

    Attributes:
        scan: name of the file or folder.
        dice: of the masks of int8 and fp32; 1 where both are empty.
        same_lesions: each lesion of the one meets one of the other.
    """

    scan: str
    dice: float
    same_lesions: bool

    @property
    def holds(self) -> bool:
        """Whether int8 may be used for such a scan."""
        return self.dice >= LEAST_DICE and self.same_lesions


def quantise(
    weights: str | Path,
    scans: Sequence[Path],
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, tuple[Checked, ...]]:
    """Make the int8 model of weights, check it on scans, and keep it if it holds on all.

    Args:
        weights: the weights file, or the name of weights that come with the package.
        scans: the ranges are taken from the tiles of every second one, from the first; it is checked on the others.
        threads: CPU threads; None leaves the engine's choice.
        progress: called with (scans done, scans in all).

    Returns:
        The model's file, and what the check found.

    Raises:
        WeightsError: it does not hold: on some scan a Dice below `LEAST_DICE`, or other lesions. Nothing is kept.
        TumorspreadError: fewer than two scans; NNCF is not installed; see `Predictor` and `read` for the rest.
    """
    if len(scans) < 2:
        raise TumorspreadError("int8 needs two scans at least: one that sets the ranges, one that it is checked on")
    nncf = import_nncf()
    path = find_weights(weights)
    network, info = load_weights(path)
    model = load_openvino(fold_norms(network), info, path)
    count = threads or torch.get_num_threads()
    predictor = Predictor(path, device="cpu", engine="openvino", precision="fp32", threads=threads)
    predictor.engine = exact = _Watched(OpenVinoEngine(lambda: model, "fp32", count), info.tile)
    tell = progress or (lambda done, total: None)
    setting, checking = scans[::2], scans[1::2]
    for number, scan in enumerate(setting, 1):
        _mask(predictor, scan)
        tell(number, len(scans))
    tiles = exact.pick(MOST_TILES)
    with redirect_stdout(io.StringIO()):  # its own progress
        # Mixed: a leaky ReLU's output lies unevenly about 0. Dice on a real scan rose from 0.987 to 0.990.
        preset = nncf.QuantizationPreset.MIXED
        small = nncf.quantize(model, nncf.Dataset(tiles), preset=preset, subset_size=len(tiles))
    checks = []
    for number, scan in enumerate(checking, 1 + len(setting)):
        masks = []
        for predictor.engine in (exact.engine, OpenVinoEngine(lambda: small, "int8", count)):
            masks.append(_mask(predictor, scan))
        checks.append(compare(scan.name, *masks))
        tell(number, len(scans))
    _refuse_failed(checks)
    return keep_int8(small, info, path), tuple(checks)


def _refuse_failed(checks: Sequence[Checked]) -> None:
    failed = [one for one in checks if not one.holds]
    if failed:
        worst = min(failed, key=lambda one: one.dice)
        other = "" if worst.same_lesions else " and other lesions"
        raise WeightsError(
            f"int8 does not hold on {len(failed)} of {len(checks)} scans: {worst.scan} has Dice {worst.dice:.4f} "
            f"with fp32{other}; expected {LEAST_DICE} and the same lesions"
        )


def compare(scan: str, exact: NDArray[np.bool_], bytewise: NDArray[np.bool_]) -> Checked:
    """How near two masks of one scan are."""
    both, size = np.count_nonzero(exact & bytewise), np.count_nonzero(exact) + np.count_nonzero(bytewise)
    return Checked(scan, float(2 * both / size) if size else 1.0, _meet(exact, bytewise) and _meet(bytewise, exact))


def _meet(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Whether each piece of `mask` has a voxel of `other`."""
    pieces, count = cc3d.connected_components(np.ascontiguousarray(mask), return_N=True)
    return bool(np.isin(np.arange(1, count + 1), pieces[other]).all())


class _Watched:
    """An engine that remembers what it was shown, in tiles of the weights' own size, as the model takes them."""

    def __init__(self, engine: Engine, tile: tuple[int, ...]) -> None:
        self.engine = engine
        self.tile = tile
        self.name, self.precision = engine.name, "fp32"
        self.tiles: list[NDArray[np.float32]] = []

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        for image in tiles:
            shown = image.reshape(image.shape[-3:])
            parts = (shown[place] for place in tile_places(shown.shape, (1, *self.tile)[-3:], (0, 0, 0)))
            self.tiles.extend(np.ascontiguousarray(part).reshape(1, 1, *self.tile) for part in parts)
        return self.engine(tiles)

    def pick(self, most: int) -> list[NDArray[np.float32]]:
        """So many of the tiles at most, evenly from all."""
        places = np.linspace(0, len(self.tiles) - 1, min(most, len(self.tiles))).round().astype(int)
        return [self.tiles[place] for place in places]


def _mask(predictor: Predictor, path: Path) -> NDArray[np.bool_]:
    scan = predictor.read(path)
    sides = segment_lungs(scan).labels if predictor.info.lungs_only else None
    return np.asarray(predictor.detect(scan, sides).mask.voxels)
