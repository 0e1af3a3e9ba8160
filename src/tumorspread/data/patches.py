"""Patches for training: where they are cut, and the loader that serves them.

A patch is a function of (seed, epoch, number): whichever process cuts it, in whichever run, it is the same. That is
what makes a resumed training equal to an uninterrupted one, and gives each process of several its own share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tumorspread.data.augment import Augmentation, AugmentConfig
from tumorspread.data.prepared import IGNORED, TUMOUR, PreparedCase
from tumorspread.errors import RecipeError


@dataclass(frozen=True)
class PatchConfig:
    """Which patches, and how many.

    Attributes:
        size: edges in voxels, (z, y, x) or (y, x).
        batch: patches a step, on each device.
        steps_per_epoch: steps that make an epoch, on each device.
        tumour_share: share of patches centred on tumour, 0 to 1; every lesion is as likely as the next, so that
            small ones are seen as often as large ones.
        jitter: how far the tumour may lie from the patch's centre, as a share of the edge.
        lungs_only: learn nothing from what lies out of reach of the lungs (`distance_to_lungs`): the loss does not
            count it, and patches are centred in the lungs and their rim.
        workers: loader processes.
    """

    size: tuple[int, ...] = (64, 64, 64)
    batch: int = 2
    steps_per_epoch: int = 100
    tumour_share: float = 0.67
    jitter: float = 0.3
    lungs_only: bool = False
    workers: int = 1

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if len(self.size) not in (2, 3) or min(self.size) < 8:
            raise RecipeError(f"patch.size {self.size}: expected two or three edges of 8 voxels or more")
        if min(self.batch, self.steps_per_epoch) < 1 or self.workers < 0:
            raise RecipeError("patch: batch and steps_per_epoch must be 1 or more, workers 0 or more")
        if not 0 <= self.tumour_share <= 1 or not 0 <= self.jitter <= 0.5:
            raise RecipeError("patch: expected 0 <= tumour_share <= 1 and 0 <= jitter <= 0.5")


class PatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """Patch number n of a training, as (image, mask) of shape (1, *size) each; the mask holds 0, 1 or 2 (ignored).

    Args:
        cases: prepared cases; a patch picks one at random, those with tumour for patches on tumour.
        config: which patches.
        augment: how they are changed.
        seed: of the whole training.
    """

    def __init__(self, cases: Sequence[PreparedCase], config: PatchConfig, augment: AugmentConfig, seed: int) -> None:
        self.cases = list(cases)
        self.with_tumour = [case for case in self.cases if len(case.centres)]
        self.config = config
        self.seed = seed
        self.augmentation = Augmentation(augment, config.size)
        # A 2-D patch is a slab of one slice while it is cut.
        # An even number of voxels more than the patch: its middle then lies on voxels, not between them.
        wide = [edge + 2 * int(np.ceil(edge * (augment.margin - 1) / 2)) for edge in config.size]
        self.reach = (1, *wide) if len(wide) == 2 else tuple(wide)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        random = np.random.default_rng((self.seed, number))
        case, centre = self._pick(random)
        centre = move_inside(centre, (1, *self.config.size)[-3:], case.image.shape)
        start = [c - r // 2 for c, r in zip(centre, self.reach, strict=True)]
        image = cut(case.image, start, self.reach)
        mask = cut(case.mask, start, self.reach)
        if len(self.config.size) == 3:
            image, mask = image[None], mask[None]
        # Each label a channel of its own: half-way between 0 and 2 is not 1.
        labels = np.concatenate([mask == TUMOUR, mask == IGNORED]).astype(np.float32)
        pair = (torch.from_numpy(image), torch.from_numpy(labels))
        image_out, (tumour, ignored) = self.augmentation(*pair, seed=int(random.integers(2**32)))
        return image_out, torch.where(tumour > 0, tumour, IGNORED * ignored)[None]

    def _pick(self, random: np.random.Generator) -> tuple[PreparedCase, NDArray[np.int64]]:
        if self.with_tumour and random.random() < self.config.tumour_share:
            case = self.with_tumour[random.integers(len(self.with_tumour))]
            lesions = np.unique(case.centres[:, 0])
            of_lesion = case.centres[case.centres[:, 0] == lesions[random.integers(len(lesions))]]
            centre = of_lesion[random.integers(len(of_lesion)), 1:].astype(np.int64)
            reach = np.array(self.config.size) * self.config.jitter
            shift = np.round(random.uniform(-reach, reach)).astype(np.int64)
            return case, centre + (np.r_[0, shift] if len(shift) == 2 else shift)
        case = self.cases[random.integers(len(self.cases))]
        return case, case.places[random.integers(len(case.places))].astype(np.int64)


class EpochSampler(Sampler[int]):
    """The patch numbers of one epoch for one process of several; `set_epoch` is called by the trainer.

    Args:
        per_epoch: patches an epoch for each process.
        rank: number of this process.
        world: number of processes.
    """

    def __init__(self, per_epoch: int, rank: int = 0, world: int = 1) -> None:
        self.per_epoch = per_epoch
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose patches come next, from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.per_epoch * self.world
        return iter(range(first + self.rank, first + self.per_epoch * self.world, self.world))


def load_patches(
    dataset: PatchDataset, *, rank: int = 0, world: int = 1, pin_memory: bool = False
) -> DataLoader[tuple[Tensor, Tensor]]:
    """The loader of batches (image, mask), each (batch, 1, *size), for one process of several."""
    config = dataset.config
    return DataLoader(
        dataset,
        batch_size=config.batch,
        sampler=EpochSampler(config.batch * config.steps_per_epoch, rank, world),
        num_workers=config.workers,
        worker_init_fn=_use_one_thread,
        persistent_workers=config.workers > 0,
        pin_memory=pin_memory,
    )


def move_inside(centre: ArrayLike, size: ArrayLike, shape: ArrayLike) -> NDArray[np.int64]:
    """The nearest centre at which a patch lies within the scan; the scan's middle along an axis that is too short.

    The tiles of `predict` lie within the scan too: what is seen in training is what is seen then.
    """
    edge, length = np.asarray(size), np.asarray(shape)
    low = np.minimum(edge, length) // 2
    return np.asarray(np.clip(centre, low, np.maximum(low, length - edge + edge // 2)), np.int64)


def cut(array: NDArray[Any], start: Sequence[int], size: Sequence[int]) -> NDArray[np.float32]:
    """The box of `size` at `start` (which may lie outside the array), float32, mirrored beyond the array's faces.

    Air in its place would teach the network black corners that no scan has, wherever a patch is turned at a border.
    """
    places = [_mirror(np.arange(s, s + e), n) for s, e, n in zip(start, size, array.shape, strict=True)]
    return np.asarray(array[np.ix_(*places)], np.float32)


def _mirror(index: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Indices folded into 0..count-1, the outermost voxel not repeated."""
    period = max(1, 2 * (count - 1))
    folded = index % period
    return np.asarray(np.minimum(folded, period - folded) if count > 1 else np.zeros_like(index))


def _use_one_thread(worker: int) -> None:
    """A loader process that starts threads of its own takes cores from the network."""
    torch.set_num_threads(1)
