"""One door for every scan and every mask: looks at the bytes, then picks the reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorspread.errors import MaskError, ReadError
from tumorspread.scan.bundle import Bundle, Kind, file_kind, open_bundle, plain
from tumorspread.scan.dicom import Tilt, read_dicom
from tumorspread.scan.dicom_seg import read_segments
from tumorspread.scan.drawings import drawing_kind
from tumorspread.scan.nifti import read_nifti
from tumorspread.scan.rtstruct import read_contours
from tumorspread.scan.slices import IMAGE_SUFFIXES, read_slices
from tumorspread.scan.volume import Reorientation, Triple, Volume

_EXPECTED = "expected NIfTI (.nii, .nii.gz), DICOM or PNG/JPG/TIFF slices (a file, folder or zip)"
# Strangers people do bring, by their first bytes.
_STRANGERS = {
    b"%PDF": "a PDF",
    b"NRRD": "an NRRD image",
    b"ObjectTyp": "a MetaImage",
    b"\x89HDF": "an HDF5 file",
}


def read(
    path: str | Path,
    *,
    series: str | None = None,
    tilt: Tilt = "resample",
    spacing_mm: Triple | None = None,
    window_hu: tuple[float, float] | None = None,
) -> Volume:
    """Read a scan: a NIfTI file, a DICOM CT series, or a stack of PNG, JPG or TIFF slices.

    Args:
        path: file, folder or zip; what it is, its bytes say.
        series: for DICOM, the SeriesInstanceUID or a unique ending of it; by default see `choose_series`.
        tilt: for DICOM, whether a tilted gantry is resampled to an upright grid or refused. Other kinds of scans are
            refused in any case where their axes are not at right angles.
        spacing_mm: for slices, (z, y, x).
        window_hu: for slices, the HU of black and white.

    Returns:
        The scan as `read_nifti`, `read_dicom` or `read_slices` gives it.

    Raises:
        ReadError: nothing there, not a scan, damaged, or an option that does not belong to this kind.
        GeometryError: the voxels' places are missing, broken or ambiguous.
    """
    path = Path(path)
    kind = scan_kind(path)
    if series is not None and kind != "dicom":
        raise ReadError(f"{plain(path.name)}: --series is for DICOM; this is {_SHOWN[kind]}, leave it out")
    if kind != "image" and (spacing_mm is not None or window_hu is not None):
        raise ReadError(
            f"{plain(path.name)}: --spacing and --window are for PNG, JPG and TIFF slices; this is "
            f"{_SHOWN[kind]}, which carries its own: leave them out"
        )
    if kind == "dicom":
        return read_dicom(path, series=series, tilt=tilt)
    if kind == "image":
        return read_slices(path, spacing_mm=spacing_mm, window_hu=window_hu)
    return read_nifti(path)


def read_mask(
    path: str | Path, scan: Volume | None = None, *, label: int | None = None, roi: str | None = None
) -> Volume:
    """Read a mask: a NIfTI image, a DICOM segmentation (SEG), or the contours of a DICOM RTSTRUCT.

    Args:
        path: the file.
        scan: the scan it belongs to; DICOM needs it. A NIfTI mask on the same points with its axes in another order or
            direction is turned to the scan's, voxel for voxel.
        label: for NIfTI, which label to take, where there are several; for SEG, the number of the segment.
        roi: for RTSTRUCT, the name of the ROI to take, where there are several, see `read_contours`; for SEG, the label
            (or the number) of the segment, see `read_segments`.

    Returns:
        bool voxels, on the scan's grid where a scan is given. A mask without any voxel set is a valid answer, but for
        contours.

    Raises:
        ReadError: missing, damaged, none of the three, DICOM without a scan, or an option that does not belong to this
            kind.
        GeometryError: the mask's place is missing or broken.
        MaskError: not on the scan's grid or slices, several labels, segments or ROIs and none chosen, the chosen one
            absent, no closed contours, or values that are no labels (NaN, fractions, negative).
    """
    path = Path(path)
    if path.is_file() and file_kind(path) == "dicom":
        return _read_dicom_mask(path, scan, label, roi)
    if roi is not None and path.is_file():
        raise ReadError(f"{plain(path.name)}: --roi is for DICOM RTSTRUCT and SEG; this is not DICOM, leave it out")
    image = _read_mask_image(path, "a NIfTI mask, SEG or RTSTRUCT")
    mask = image.with_voxels(_select(path.name, image.voxels, label))
    return mask if scan is None else _onto(path.name, mask, scan)


def _read_dicom_mask(path: Path, scan: Volume | None, label: int | None, roi: str | None) -> Volume:
    name, kind = plain(path.name), drawing_kind(path)
    if label is not None and (kind == "RTSTRUCT" or roi is not None):
        raise ReadError(
            f"{name}: --label is for NIfTI masks and for the number of a segment in a SEG; this is {kind}, choose with "
            "--roi NAME alone"
        )
    if scan is None:
        raise ReadError(f"{name}: {kind} becomes a mask on the grid of a scan; give the scan as well")
    if kind == "RTSTRUCT":
        return read_contours(path, scan, roi=roi)
    return read_segments(path, scan, segment=roi if label is None else label)


def read_labels(path: str | Path, scan: Volume) -> Volume:
    """Read a NIfTI label map, such as one of lobes.

    Args:
        path: the file.
        scan: the scan it belongs to; axes in another order or direction are turned to the scan's.

    Returns:
        uint16 voxels on the scan's grid, 0 outside.

    Raises:
        ReadError: missing, damaged, or not NIfTI.
        GeometryError: the map's place is missing or broken.
        MaskError: not on the scan's grid, or values that are no labels (NaN, fractions, negative, above 65535).
    """
    path = Path(path)
    image = _read_mask_image(path, "a NIfTI label map")
    voxels = image.voxels
    if voxels.dtype.kind == "f" and not (np.isfinite(voxels).all() and (voxels % 1 == 0).all()):
        raise MaskError(f"{plain(path.name)}: values that are not whole numbers (or NaN); expected labels")
    low, high = int(voxels.min()), int(voxels.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise MaskError(f"{plain(path.name)}: values from {low} to {high}; expected labels from 0 to 65535")
    return _onto(path.name, image.with_voxels(voxels.astype(np.uint16)), scan)


def _read_mask_image(path: Path, expected: str) -> Volume:
    if not path.is_file():
        raise ReadError(f"{path}: no such file; expected {expected}")
    if scan_kind(path) != "nifti":
        raise ReadError(f"{plain(path.name)}: not NIfTI (.nii, .nii.gz); expected {expected}, convert it first")
    return read_nifti(path)


_SHOWN = {"nifti": "NIfTI", "dicom": "DICOM", "image": "a picture"}


def scan_kind(path: Path) -> str:
    """`nifti`, `dicom` or `image`, or the one line that says what was found instead."""
    kind: Kind = file_kind(path) if path.is_file() else "zip"
    if kind in ("nifti", "gzip"):
        return "nifti"
    if kind == "other":
        raise ReadError(f"{plain(path.name)}: {_stranger(path)}; {_EXPECTED}")
    if kind != "zip":
        return kind
    with open_bundle(path) as bundle:
        return _bundle_kind(bundle)


def _bundle_kind(bundle: Bundle) -> str:
    kinds = set()
    for file in bundle.files:
        kinds.add(bundle.kind(file))
        if "dicom" in kinds:
            return "dicom"
    if "image" in kinds or any(file.lower().endswith(IMAGE_SUFFIXES) for file in bundle.files):
        return "image"
    if kinds & {"nifti", "gzip"}:
        raise ReadError(f"{bundle.name}: holds NIfTI or packed files; give the one file, unpacked from here")
    raise ReadError(f"{bundle.name}: nothing in it can be read as a scan; {_EXPECTED}")


def _stranger(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(16)
    if not head:
        return "an empty file"
    known = [shown for start, shown in _STRANGERS.items() if head.startswith(start)]
    return known[0] if known else "not a scan"


def _select(name: str, voxels: NDArray[Any], label: int | None) -> NDArray[np.bool_]:
    # Masks are sparse: looking only at what is not 0 (NaN included) is 20 times faster than np.unique of all.
    set_voxels = voxels[voxels != 0]
    if voxels.dtype.kind == "f" and not (np.isfinite(set_voxels).all() and (set_voxels % 1 == 0).all()):
        raise MaskError(f"{plain(name)}: values that are not whole numbers (or NaN); expected a mask of 0 and 1")
    labels = [int(value) for value in np.unique(set_voxels)]
    shown = "[" + ", ".join(map(str, labels[:8])) + (", ..." if len(labels) > 8 else "") + "]"
    if labels and labels[0] < 0:
        raise MaskError(f"{plain(name)}: negative values {shown}; expected a mask of 0 and 1")
    if label is not None and label not in labels:
        raise MaskError(f"{plain(name)}: no voxel has label {label}; it has labels {shown}")
    if label is None and len(labels) > 1:
        raise MaskError(f"{plain(name)}: has labels {shown}; expected one; choose one with label=N, or --label N")
    return np.asarray(voxels == label if label is not None else voxels != 0)


def _onto(name: str, mask: Volume, scan: Volume) -> Volume:
    """The mask on the scan's grid, exactly, or the reason why it cannot be."""
    if scan.same_grid(mask):
        return scan.with_voxels(mask.voxels)
    turn, back = Reorientation.to_canonical(mask), Reorientation.to_canonical(scan)
    turned, upright = turn.apply(mask), back.apply(scan)
    if upright.same_grid(turned):
        return scan.with_voxels(np.ascontiguousarray(back.invert_array(turned.voxels)))
    raise MaskError(f"{plain(name)}: {_difference(turned, upright)}; expected a mask on the scan's grid")


def _difference(mask: Volume, scan: Volume) -> str:
    if mask.shape != scan.shape:
        return f"has {_by(mask.shape)} voxels (z, y, x), the scan {_by(scan.shape)}"
    if not np.allclose(mask.spacing_mm, scan.spacing_mm, rtol=1e-3):
        return f"has spacing {_by(mask.spacing_mm)} mm (z, y, x), the scan {_by(scan.spacing_mm)}"
    cosines = (mask.directions * scan.directions).sum(axis=0)
    angle = float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())
    shift = float(np.linalg.norm(mask.to_world((0, 0, 0)) - scan.to_world((0, 0, 0))))
    return f"lies elsewhere (first voxel {shift:.2f} mm apart, axes turned by {angle:.2f} degrees)"


def _by(numbers: tuple[float, ...]) -> str:
    return "x".join(f"{number:g}" for number in numbers)
