"""From a mask to numbered pieces: what counts as one lesion."""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, maximum_filter
from skimage.measure import label as label_plateaus
from skimage.segmentation import watershed

from tumorspread.errors import MaskError
from tumorspread.scan.volume import Remark, Reorientation, Triple, Volume, sparse_zeros

# A ball of 3 mm: the Fleischner Society measures nothing smaller (Bankier et al. 2017,
# doi:10.1148/radiol.2017162894). What a model leaves below it is taken for noise.
DUST_MM3 = 14.1
# Two parts are two lesions when the neck between them is thinner than this share of the thinner part.
NECK_SHARE = 0.65
# And when a ball of this radius fits into each: spicules and single rows of voxels are no lesions of their own.
LEAST_RADIUS_MM = 1.5

Labels = NDArray[np.integer]
Box = tuple[slice, slice, slice]


def label_lesions(mask: Volume, *, dust_mm3: float = 0.0, split: bool = False) -> Volume:
    """Number the connected pieces of a mask.

    Args:
        mask: voxels in {0, 1} or bool.
        dust_mm3: pieces of less volume are left out.
        split: divide pieces at necks: where the largest ball that passes from one part to the other has less than
            65 % of the radius of the largest ball in the smaller part.

    Returns:
        On the same grid: 0 outside, 1 for the largest piece, 2 for the next, ... as uint16 or uint32. Voxels that
        touch by a face, an edge or a corner (26-connected) are one piece. Pieces of equal size are numbered in the
        order of their first voxel in the canonical axes, so that the ids do not depend on how the file was stored.

    Raises:
        MaskError: values other than 0 and 1.
    """
    turn = Reorientation.to_canonical(mask)
    canonical = turn.apply_array(_as_bytes(mask.voxels))
    box = filled_box(canonical)
    if box is None:
        return mask.with_voxels(sparse_zeros(mask.shape, np.uint16))
    pieces, count = cc3d.connected_components(np.ascontiguousarray(canonical[box]), return_N=True)
    if split:
        z, y, x = (mask.spacing_mm[a] for a in turn.axes)
        pieces, count = _split(pieces, (z, y, x))
    rank = _rank(pieces, count, dust_mm3 / (1000 * mask.voxel_ml))
    labels = sparse_zeros(mask.shape, rank.dtype)
    # Slice by slice: of the whole at once there would be a third copy.
    for plane, numbers in zip(turn.apply_array(labels)[box], pieces, strict=True):
        filled = numbers != 0
        plane[filled] = rank[numbers[filled]]
    return mask.with_voxels(labels)


def lesion_boxes(labels: NDArray[np.generic]) -> list[Box]:
    """The smallest box around each lesion of a label map 1..n, by id: the first is that of lesion 1.

    Of a label map that lacks some of 1..n, those that it lacks have an empty box.
    """
    outer = filled_box(labels)
    if outer is None:
        return []
    inner = find_objects(labels[outer])
    nowhere = (slice(0, 0), slice(0, 0), slice(0, 0))
    return [nowhere if box is None else _shifted(box, outer) for box in inner]


def _shifted(box: Box, outer: Box) -> Box:
    z, y, x = (slice(b.start + o.start, b.stop + o.start) for b, o in zip(box, outer, strict=True))
    return z, y, x


def is_speck(volume_ml: float) -> bool:
    """Whether a lesion is smaller than a ball of 3 mm, below which the Fleischner Society measures nothing."""
    return 1000 * volume_ml < DUST_MM3


def speck_remark(volumes_ml: Sequence[float]) -> tuple[Remark, ...]:
    """How many of the lesions are specks, in words; nothing where none is."""
    specks = sum(map(is_speck, volumes_ml))
    if not specks:
        return ()
    counted = f"{specks} of {len(volumes_ml)} lesions {'is' if specks == 1 else 'are'} smaller than a ball of 3 mm"
    text = f"{counted}, perhaps stray voxels of the mask; leave such out with --dust {DUST_MM3:g}"
    return (Remark("specks", text),)


def drop_unknown(found: NDArray[np.bool_], truth: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask without what counts neither for nor against it.

    Args:
        found: the mask.
        truth: the true tumours; they count wherever they lie.
        unknown: where there may be a tumour that nobody has outlined.

    Returns:
        `found` without the pieces (26-connected) that reach into `unknown` and touch no true tumour, and without the
        unknown part of the others.
    """
    labels = cc3d.connected_components(np.ascontiguousarray(found))
    dropped = np.setdiff1d(labels[unknown & found], labels[truth & found])
    return found & ~np.isin(labels, dropped) & ~(unknown & ~truth)


def dust_remark(mask: Volume, lesions: Volume, dust_mm3: float) -> tuple[Remark, ...]:
    """What `label_lesions` left out of a mask, in words; nothing where it left out nothing."""
    box = filled_box(mask.voxels)
    if box is None:
        return ()
    left_out = (mask.voxels[box] != 0) & (lesions.voxels[box] == 0)
    voxels = int(np.count_nonzero(left_out))
    if not voxels:
        return ()
    count = cc3d.connected_components(np.ascontiguousarray(left_out), return_N=True)[1]
    pieces = "1 piece" if count == 1 else f"{count} pieces"
    text = f"{pieces} of the mask below {dust_mm3:g} mm3, {voxels * mask.voxel_ml:.3g} mL in all, left out as dust"
    return (Remark("dust_left_out", text),)


def _as_bytes(voxels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The mask as bytes, without a copy where it holds bytes."""
    if voxels.dtype == bool:
        return voxels.view(np.uint8)
    whole = voxels.dtype.kind in "iu"
    proper = voxels.min() >= 0 and voxels.max() <= 1 if whole else np.isin(voxels, (0, 1)).all()
    if not proper:
        raise MaskError("the mask holds values other than 0 and 1; expected one lesion label")
    return voxels.astype(np.uint8, copy=False)


def filled_box(mask: NDArray[np.generic]) -> Box | None:
    """The smallest box that holds the mask; None for an empty one."""
    # Numbers, since their greatest and their bits together are found several times as fast as whether any is set.
    numbers = mask.view(np.uint8) if mask.dtype == bool else mask
    slices = np.flatnonzero(numbers.max(axis=(1, 2)))
    if not len(slices):
        return None
    z = slice(int(slices[0]), int(slices[-1]) + 1)
    shadow = np.bitwise_or.reduce(numbers[z], axis=0) > 0
    y, x = (np.flatnonzero(shadow.any(axis=axis)) for axis in (1, 0))
    return z, slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1)


def _rank(pieces: Labels, count: int, least_voxels: float) -> Labels:
    """For each piece its number by size, 0 for dust."""
    sizes = np.zeros(count, np.int64)
    # Of the whole at once numpy would make eight bytes of every voxel.
    for plane in pieces:
        sizes += np.bincount(plane[plane != 0], minlength=count + 1)[1:]
    kept = int((sizes >= least_voxels - 1e-9).sum())
    rank: Labels = np.zeros(count + 1, np.uint16 if kept < 2**16 else np.uint32)
    rank[1 + np.argsort(-sizes, kind="stable")[:kept]] = np.arange(1, kept + 1)
    return rank


def _split(pieces: Labels, spacing_mm: Triple) -> tuple[Labels, int]:
    """The pieces divided at their necks, numbered in the order of their first voxel."""
    out = np.zeros(pieces.shape, np.uint32)
    count = 0
    for number, box in enumerate(cc3d.statistics(pieces)["bounding_boxes"]):
        if number:
            inside = pieces[box] == number
            parts = divide_at_necks(inside, spacing_mm)
            out[box][inside] = parts[inside] + count
            count += int(parts.max())
    first = np.unique(out.ravel(), return_index=True)[1][1 if (out == 0).any() else 0 :]
    order = np.zeros(count + 1, np.uint32)
    order[out.ravel()[np.sort(first)]] = np.arange(1, count + 1)
    return order[out], count


def divide_at_necks(piece: NDArray[np.bool_], spacing_mm: Triple) -> Labels:
    """One piece in parts 1..n: basins of the distance to its surface, joined where the neck is wide."""
    depth = edt.edt(np.ascontiguousarray(piece), anisotropy=spacing_mm, black_border=True)
    peaks = _peaks(depth)
    basins = watershed(-depth, label_plateaus(peaks, connectivity=3), mask=piece)
    heights = np.zeros(int(basins.max()) + 1)
    np.maximum.at(heights, basins.ravel(), depth.ravel())
    joined = np.arange(len(heights))
    # The widest passes first, so that a part is joined to the one it is most of a piece with.
    for width, a, b in sorted(_passes(basins, depth), key=lambda p: (-p[0], p[1], p[2])):
        one, other = joined[a], joined[b]
        thinner = min(heights[one], heights[other])
        if one != other and (width >= NECK_SHARE * thinner or thinner < LEAST_RADIUS_MM):
            joined[joined == max(one, other)] = min(one, other)
            heights[min(one, other)] = max(heights[one], heights[other])
    return np.asarray(np.unique(joined, return_inverse=True)[1][basins])


def _peaks(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels deeper than, or as deep as, all 26 around them."""
    return np.asarray((depth > 0) & (depth == maximum_filter(depth, 3, mode="constant")))


def _passes(basins: Labels, depth: NDArray[np.float32]) -> list[tuple[float, int, int]]:
    """(radius of the widest pass, basin, basin) for each two basins that share a face."""
    widest: dict[tuple[int, int], float] = {}
    for axis in range(3):
        lower, upper = [slice(None)] * 3, [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        here, there = basins[tuple(lower)], basins[tuple(upper)]
        border = (here != there) & (here > 0) & (there > 0)
        width_mm = np.minimum(depth[tuple(lower)][border], depth[tuple(upper)][border])
        for a, b, width in zip(here[border], there[border], width_mm, strict=True):
            pair = (int(min(a, b)), int(max(a, b)))
            widest[pair] = max(widest.get(pair, 0.0), float(width))
    return [(width, a, b) for (a, b), width in widest.items()]
