"""What an edit changed in a lesion map: voxels, and the ids they had and have."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import ReadError

Flat = NDArray[np.int64]
Ids = NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Delta:
    """A change of a lesion map.

    Attributes:
        places: flat indices of the voxels that change, rising, z slowest and x fastest.
        before: the lesion of each, 0 for none.
        after: likewise; differs from `before` everywhere.
    """

    places: Flat
    before: Ids
    after: Ids

    @classmethod
    def between(cls, labels: NDArray[np.uint16], places: Flat, after: Ids) -> Delta:
        """What it takes to give voxels of a map new ids; those that have them already are left out.

        Args:
            labels: the whole map, contiguous.
            places: flat indices, rising.
            after: of each the new id.
        """
        before = labels.ravel()[places]
        changed = before != after
        return cls(places[changed], before[changed], after[changed].astype(np.uint16))

    @classmethod
    def nothing(cls) -> Delta:
        """No voxel changes."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.uint16))

    @property
    def inverse(self) -> Delta:
        """What takes this back."""
        return Delta(self.places, self.after, self.before)

    @property
    def ids(self) -> frozenset[int]:
        """The lesions that gain or lose voxels."""
        return frozenset({*np.unique(self.before).tolist(), *np.unique(self.after).tolist()} - {0})

    def apply(self, labels: NDArray[np.uint16]) -> None:
        """Change a map in place.

        Raises:
            ReadError: the map is not the one that was changed.
        """
        flat = labels.reshape(-1)
        if len(self.places) and (int(self.places[-1]) >= flat.size or (flat[self.places] != self.before).any()):
            raise ReadError("an edit does not fit the map that it was made of; was the result folder changed?")
        flat[self.places] = self.after

    def to_bytes(self) -> bytes:
        """As a packed file of runs."""
        starts, lengths = to_runs(self.places, self.before, self.after)
        first = np.cumsum([0, *lengths[:-1]]) if len(lengths) else np.zeros(0, np.int64)
        stream = io.BytesIO()
        np.savez_compressed(stream, starts=starts, lengths=lengths, before=self.before[first], after=self.after[first])
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Delta:
        """Read what `to_bytes` wrote.

        Raises:
            ReadError: damaged.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                runs = {name: np.asarray(file[name]) for name in ("starts", "lengths", "before", "after")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ReadError(f"the voxels of an edit cannot be read ({type(error).__name__})") from error
        lengths = runs["lengths"]
        return cls(from_runs(runs["starts"], lengths), runs["before"].repeat(lengths), runs["after"].repeat(lengths))


def from_runs(starts: NDArray[Any], lengths: NDArray[Any]) -> Flat:
    """The flat indices of runs (start, length), in their order."""
    starts, lengths = starts.astype(np.int64), lengths.astype(np.int64)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths), np.int64)


def to_runs(places: Flat, *kinds: NDArray[Any]) -> tuple[Flat, Flat]:
    """Starts and lengths of runs of neighbouring indices alike in all `kinds`.

    Args:
        places: flat indices, rising.
        kinds: of each voxel something that a run shares.
    """
    if not len(places):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    breaks = np.diff(places) != 1
    for kind in kinds:
        breaks |= kind[1:] != kind[:-1]
    first = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    return places[first], np.diff(np.concatenate([first, [len(places)]])).astype(np.int64)


def drawn_places(runs: Iterable[tuple[int, int]], size: int) -> Flat:
    """The voxels that somebody drew, each once, rising.

    Args:
        runs: (start, length) as they came, in any order.
        size: voxels of the volume.

    Raises:
        ReadError: a run begins or ends outside the volume; nothing is allocated for it then.
    """
    table = np.array(list(runs), np.int64).reshape(-1, 2)
    starts, lengths = table[:, 0], table[:, 1]
    if (starts < 0).any() or (lengths < 1).any() or (starts >= size).any() or (lengths > size - starts).any():
        raise ReadError(f"a run of voxels leaves the volume of {size}")
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], (starts + lengths)[order]
    # Runs that overlap would be unfolded more than once: a request of 200,000 runs over all of it would fill memory.
    reached = np.maximum.accumulate(ends)
    starts[1:] = np.maximum(starts[1:], reached[:-1])
    lengths = np.maximum(ends - starts, 0)
    return from_runs(starts, lengths)
