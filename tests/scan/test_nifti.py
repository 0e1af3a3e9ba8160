"""NIfTI there and back in every orientation, and a clear no to what has no place."""

from __future__ import annotations

import gzip
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from tumorspread.errors import GeometryError, OutputError, ReadError, TumorspreadError
from tumorspread.scan.nifti import read_nifti, write_nifti
from tumorspread.scan.volume import Reorientation, Volume

ALL_48 = [(p, f) for p in permutations(range(3)) for f in product((False, True), repeat=3)]


def scan(rotation=None, dtype=np.int16) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 0.7], [0, 0.8, 0], [2.5, 0, 0]])
    if rotation is not None:
        affine[:3, :3] = rotation @ affine[:3, :3]
    affine[:3, 3] = (-101.5, 40.25, -300)
    return Volume((np.arange(120).reshape(4, 5, 6) - 60).astype(dtype), affine)


def simpleitk_affine(image: SimpleITK.Image) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return affine


@pytest.mark.parametrize(("axes", "flips"), ALL_48)
def test_all_48_orientations_survive_the_file_and_simpleitk_agrees(tmp_path, axes, flips):
    volume = Reorientation(axes, flips).apply(scan())
    write_nifti(volume, tmp_path / "scan.nii")
    back = read_nifti(tmp_path / "scan.nii")
    assert back.voxels.dtype == volume.voxels.dtype
    assert np.array_equal(back.voxels, volume.voxels)
    assert np.allclose(back.affine, volume.affine, atol=1e-4)
    image = SimpleITK.ReadImage(str(tmp_path / "scan.nii"))
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), volume.voxels)
    assert np.allclose(simpleitk_affine(image), volume.affine, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_oblique_grids_survive_the_packed_file(tmp_path, seed):
    volume = scan(Rotation.random(rng=seed).as_matrix())
    write_nifti(volume, tmp_path / "scan.nii.gz")
    back = read_nifti(tmp_path / "scan.nii.gz")
    assert np.array_equal(back.voxels, volume.voxels)
    assert np.allclose(back.affine, volume.affine, atol=1e-4)
    assert back.same_grid(volume)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.int32, np.float64])
def test_the_type_of_the_voxels_survives(tmp_path, dtype):
    volume = Volume(np.arange(24).reshape(2, 3, 4).astype(dtype), scan().affine)
    write_nifti(volume, tmp_path / "scan.nii.gz")
    assert read_nifti(tmp_path / "scan.nii.gz").voxels.dtype == dtype


def test_a_mask_of_bools_is_written_as_zeros_and_ones(tmp_path):
    mask = scan().with_voxels(scan().voxels > 0)
    write_nifti(mask, tmp_path / "mask.nii.gz")
    back = read_nifti(tmp_path / "mask.nii.gz")
    assert back.voxels.dtype == np.uint8
    assert np.array_equal(back.voxels, mask.voxels)


def test_a_single_voxel_survives(tmp_path):
    write_nifti(scan().crop((1, 1, 1), (2, 2, 2)), tmp_path / "one.nii.gz")
    assert read_nifti(tmp_path / "one.nii.gz").shape == (1, 1, 1)


def test_slope_and_intercept_of_the_header_are_applied(tmp_path):
    image = nib.Nifti1Image(np.full((3, 3, 3), 10, np.int16), np.eye(4))
    image.header.set_slope_inter(2, -1024)
    image.set_qform(np.eye(4), 1)
    nib.save(image, tmp_path / "scan.nii")
    stored = np.fromfile(tmp_path / "scan.nii", np.int16, offset=352)
    assert np.allclose(read_nifti(tmp_path / "scan.nii").voxels, stored.reshape(3, 3, 3) * 2.0 - 1024)


def test_a_fourth_dimension_of_one_is_dropped_and_of_two_refused(tmp_path):
    for length in (1, 2):
        nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, length), np.int16), np.eye(4)), tmp_path / f"{length}.nii")
    assert read_nifti(tmp_path / "1.nii").shape == (5, 4, 3)
    with pytest.raises(ReadError, match=r"4 dimensions.*expected one 3-D image"):
        read_nifti(tmp_path / "2.nii")


def opposite(image) -> None:
    image.header.set_qform(np.diag([-1, 2, 3, 1.0]) + np.eye(4, k=3) * 90, code=1)


BROKEN = {
    "no orientation": (
        lambda i: (i.set_qform(None, 0), i.set_sform(None, 0)),
        GeometryError,
        "left and right",
    ),
    "two orientations": (opposite, GeometryError, "disagree by"),
    "zero spacing": (lambda i: i.header["pixdim"].__setitem__(3, 0), GeometryError, "disagree by"),
    "NaN spacing": (
        lambda i: i.header["pixdim"].__setitem__(2, np.nan),
        GeometryError,
        "expected mm above 0",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_header_without_one_sure_place_is_refused(tmp_path, case):
    change, error, message = BROKEN[case]
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([1, 2, 3, 1.0]))
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    nib.save(image, tmp_path / "scan.nii")
    raw = nib.Nifti1Image.from_filename(tmp_path / "scan.nii")
    change(raw)
    data = raw.header.binaryblock + b"\0\0\0\0" + bytes(240)
    (tmp_path / "scan.nii").write_bytes(data)
    with pytest.raises(error, match=message):
        read_nifti(tmp_path / "scan.nii")


def test_a_sheared_affine_is_refused_by_the_name_of_the_file(tmp_path):
    affine = np.eye(4)
    affine[0, 2] = 0.3
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.set_sform(affine, 1)
    nib.save(image, tmp_path / "tilted.nii.gz")
    with pytest.raises(GeometryError, match=r"tilted.nii.gz: .*right angles"):
        read_nifti(tmp_path / "tilted.nii.gz")


def test_colour_voxels_are_refused(tmp_path):
    rgb = np.zeros((3, 3, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / "rgb.nii")
    with pytest.raises(ReadError, match="expected numbers, one a voxel"):
        read_nifti(tmp_path / "rgb.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_cut_anywhere_or_overwritten_is_refused_by_our_own_error(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    write_nifti(scan(), path)
    whole = path.read_bytes()
    for length in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(TumorspreadError):
            read_nifti(path)
    rng = np.random.default_rng(2)
    plain = gzip.decompress(whole) if suffix == ".nii.gz" else whole
    messages = []
    for _ in range(150):
        damaged = bytearray(plain)
        for place in rng.integers(0, 348, 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(gzip.compress(damaged) if suffix == ".nii.gz" else damaged)
        try:
            read_nifti(path)
        except TumorspreadError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert not any("\n" in message for message in messages)


def test_a_packed_file_with_one_wrong_bit_in_its_voxels_is_refused_by_its_checksum(tmp_path):
    path = tmp_path / "scan.nii.gz"
    voxels = np.random.default_rng(1).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    write_nifti(Volume(voxels, scan().affine), path)
    header, body = gzip.decompress(path.read_bytes())[:352], voxels.transpose(2, 1, 0).tobytes("F")
    stored = bytearray(gzip.compress(header + body, compresslevel=0))
    stored[9000] ^= 4
    path.write_bytes(stored)
    with pytest.raises(ReadError, match="voxels cannot be read"):
        read_nifti(path)


@pytest.mark.parametrize(("name", "packed"), [("scan.nii", True), ("scan.nii.gz", False), ("scan", True)])
def test_whether_a_file_is_packed_its_bytes_say_and_not_its_name(tmp_path, name, packed):
    write_nifti(scan(), tmp_path / ("true.nii.gz" if packed else "true.nii"))
    misnamed = (tmp_path / ("true.nii.gz" if packed else "true.nii")).rename(tmp_path / name)
    assert np.array_equal(read_nifti(misnamed).voxels, scan().voxels)


def test_writing_where_no_file_can_be_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(OutputError, match="cannot write"):
        write_nifti(scan(), tmp_path / "taken" / "scan.nii.gz")
    (tmp_path / "scan.nii.gz").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_nifti(scan(), tmp_path / "scan.nii.gz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.nii.gz", "taken"]


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ReadError, match="no such file"):
        read_nifti(tmp_path / "absent.nii.gz")


@pytest.mark.real
@pytest.mark.parametrize("name", ["RadPhantom-pat2", "elastix_rightlung_baseline", "ACRIN-FLT-001_19600101_2"])
def test_real_scans_read_as_simpleitk_reads_them_and_survive_a_round_trip(shared_data, tmp_path, name):
    volume = read_nifti(shared_data / "scans" / f"{name}.nii.gz")
    image = SimpleITK.ReadImage(str(shared_data / "scans" / f"{name}.nii.gz"))
    assert np.array_equal(volume.voxels, SimpleITK.GetArrayViewFromImage(image))
    assert np.allclose(volume.affine, simpleitk_affine(image), atol=1e-3)
    write_nifti(volume, tmp_path / "copy.nii")
    back = read_nifti(tmp_path / "copy.nii")
    assert np.array_equal(back.voxels, volume.voxels)
    assert back.same_grid(volume)


def test_the_same_volume_gives_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    volume = Volume.upright(np.arange(24, dtype=np.int16).reshape(2, 3, 4), (1, 1, 1))
    write_nifti(volume, tmp_path / "a.nii.gz")
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_nifti(volume, tmp_path / "b.nii.gz")
    first, second = ((tmp_path / f"{name}.nii.gz").read_bytes() for name in "ab")
    assert first == second
