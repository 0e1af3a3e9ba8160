"""What a training reads: prepared cases of a split, as patches to learn from and whole scans to validate on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from tumorspread.data.cases import DatasetInfo, find_cases, read_dataset_info
from tumorspread.data.patches import PatchDataset, load_patches
from tumorspread.data.prepared import IGNORED, TUMOUR, PreparedCase, open_case, prepare_cases
from tumorspread.data.splits import Split, read_split
from tumorspread.errors import TrainingError
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.measurement.room import REACH_MM
from tumorspread.model.detect import find_lungs
from tumorspread.model.preprocess import prepare_mask, prepare_scan
from tumorspread.model.recipe import Recipe
from tumorspread.scan.volume import Volume


class TrainingData(pl.LightningDataModule):  # type: ignore[misc]
    """The cases of a split, prepared once by the first process, and loaders of each process's share."""

    def __init__(
        self, folder: Path, split: Split, recipe: Recipe, cache: Path | None, report: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.folder = folder
        self.split = split
        self.recipe = recipe
        self.cache = cache
        self.report = report
        self.train_cases: list[PreparedCase] = []
        self.val_cases: list[PreparedCase] = []

    def prepare_data(self) -> None:
        """Fill the cache; Lightning calls this in one process of a machine.

        Machines that share the cache begin at different cases, so that each finds the others' done.
        """
        self._prepare(self.trainer.node_rank / self.trainer.num_nodes)
        self.report(f"prepared {len(self.split.train)} cases to train on, {len(self.split.val)} to validate on")

    def setup(self, stage: str) -> None:
        """Map the cases into memory."""
        place = self._prepare()
        self.train_cases = [open_case(name, place) for name in self.split.train]
        self.val_cases = [open_case(name, place) for name in self.split.val]
        if not any(len(case.centres) for case in self.train_cases):
            raise TrainingError("no training case has a tumour on the network's grid; check the masks and spacing")
        if not any(len(case.centres) for case in self.val_cases):
            raise TrainingError("no validation case has a tumour on the network's grid; there is no Dice to go by")

    def train_dataloader(self) -> Any:
        """Patches of this process's share of each epoch."""
        recipe, trainer = self.recipe, self.trainer
        dataset = PatchDataset(self.train_cases, recipe.patch, recipe.augment, recipe.seed)
        pin = torch.cuda.is_available()
        return load_patches(dataset, rank=trainer.global_rank, world=trainer.world_size, pin_memory=pin)

    def val_dataloader(self) -> Any:
        """Whole prepared scans of this process's share.

        A process without a scan gets one None: Lightning refuses a loader of none, and the others would wait for it.
        """
        share: Sequence[PreparedCase | None] = self.val_cases[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(share or [None], batch_size=None, collate_fn=_arrays)  # type: ignore[arg-type]

    def _prepare(self, begin: float = 0.0) -> Path:
        return prepare_data(self.folder, (*self.split.train, *self.split.val), self.recipe, self.cache, begin=begin)


def prepare_data(folder: Path, names: Sequence[str], recipe: Recipe, cache: Path | None, *, begin: float = 0.0) -> Path:
    """Fill the cache with the cases of those names, and give its folder for this recipe.

    Args:
        folder: of the data set.
        names: of the cases.
        recipe: how they are prepared.
        cache: folder of all prepared cases; None puts it into the data set's folder.
        begin: where in their list to begin, 0 to 1; what stands before comes last.

    Raises:
        DatasetError, OutputError: see `prepare_cases`.
    """
    config, wanted = recipe.preprocess, set(names)
    cases = [case for case in find_cases(folder) if case.name in wanted]
    first = int(begin * len(cases))
    return prepare_cases(
        cases[first:] + cases[:first],
        cache or folder / ".prepared",
        prepare=lambda scan, mask, ignored: _prepare_case(scan, mask, ignored, recipe),
        settings=repr((config, REACH_MM if recipe.patch.lungs_only else None)),
    )


def sample_patches(
    folder: Path, recipe: Recipe, count: int, cache: Path | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The first patches of a training, augmented as it would: (images, masks), each (count, *patch.size).

    Raises:
        DatasetError, TrainingError: as `train`.
    """
    info, split = read_dataset_info(folder), read_split(folder)
    check_fit(recipe, info, split)
    place = prepare_data(folder, split.train, recipe, cache)
    cases = [open_case(name, place) for name in split.train]
    dataset = PatchDataset(cases, recipe.patch, recipe.augment, recipe.seed)
    pairs = [dataset[number] for number in range(count)]
    return np.stack([image[0].numpy() for image, _ in pairs]), np.stack(
        [(mask[0] == TUMOUR).float().numpy() for _, mask in pairs]
    )


def _prepare_case(
    scan: Volume, mask: Volume, ignored: Volume | None, recipe: Recipe
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    (image, way), labels = prepare_scan(scan, recipe.preprocess), prepare_mask(mask, recipe.preprocess)
    if recipe.patch.lungs_only:
        lungs = find_lungs(segment_lungs(scan).labels, way)
        if lungs is not None:
            labels[~lungs.near & (labels == 0)] = IGNORED
    if ignored is not None:
        labels[(prepare_mask(ignored, recipe.preprocess) > 0) & (labels == 0)] = IGNORED
    return image, labels


def _arrays(case: PreparedCase | None) -> tuple[NDArray[np.float16], NDArray[np.uint8]] | None:
    """A scan stays mapped on its way to the network; torch's default would copy it into a tensor."""
    return None if case is None else (case.image, case.mask)


def check_fit(recipe: Recipe, info: DatasetInfo, split: Split) -> None:
    """Refuse a recipe that does not suit the data set, before anything is written."""
    if not split.train or not split.val:
        raise TrainingError("the split needs cases to train on and cases to validate on; see `data split`")
    if recipe.preprocess.intensity != info.intensity:
        raise TrainingError(
            f"the data set holds {info.intensity} scans and the recipe expects {recipe.preprocess.intensity}; "
            f"set preprocess.intensity={info.intensity} and preprocess.window to match"
        )
    keeps_slices = recipe.preprocess.size_yx is not None or recipe.preprocess.spacing_mm[0] == 0
    if info.slices == "independent" and (recipe.unet.dims == 3 or not keeps_slices):
        raise TrainingError(
            "the data set holds independent slices: set unet.dims=2, a patch.size of two edges, and "
            "preprocess.size_yx (or a spacing of 0 along z)"
        )
