"""Pictures as slices: order, grey values and places, and a no to what is no slice."""

from __future__ import annotations

import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from tumorspread.errors import GeometryError, ReadError, TumorspreadError
from tumorspread.scan import slices as module
from tumorspread.scan.slices import natural_key, read_gray_image, read_slices

SPACING = (2.5, 0.8, 0.7)


@pytest.fixture
def gray() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (12, 9, 7)).astype(np.uint8)


def save_stack(folder, stack, suffix="png") -> None:
    folder.mkdir(exist_ok=True)
    for number, plane in enumerate(stack):
        Image.fromarray(plane).save(folder / f"slice{number}.{suffix}")


def test_files_in_natural_order_run_from_foot_to_head_rows_to_the_back_columns_to_the_left(tmp_path, gray):
    save_stack(tmp_path / "stack", gray)
    volume = read_slices(tmp_path / "stack", spacing_mm=SPACING)
    assert volume.voxels.dtype == np.float32
    assert np.allclose(volume.voxels, gray / 255)
    assert volume.spacing_mm == pytest.approx(SPACING)
    assert np.allclose(volume.to_world((11, 2, 3)), (3 * 0.7, 2 * 0.8, 11 * 2.5))


def test_a_window_maps_black_and_white_onto_its_ends(tmp_path, gray):
    save_stack(tmp_path / "stack", gray)
    volume = read_slices(tmp_path / "stack", spacing_mm=SPACING, window_hu=(-1000, 400))
    assert np.allclose(volume.voxels, -1000 + gray / 255 * 1400, atol=1e-3)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_span_the_full_scale(tmp_path, suffix):
    deep = np.random.default_rng(0).integers(0, 65536, (3, 8, 9)).astype(np.uint16)
    save_stack(tmp_path / "stack", deep, suffix)
    assert np.allclose(read_slices(tmp_path / "stack", spacing_mm=SPACING).voxels, deep / 65535)


def test_a_multi_page_tiff_and_a_zip_are_stacks_too(tmp_path, gray):
    pages = [Image.fromarray(plane) for plane in gray]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert np.allclose(read_slices(tmp_path / "pages.tif", spacing_mm=SPACING).voxels, gray / 255)
    save_stack(tmp_path / "stack", gray)
    with zipfile.ZipFile(tmp_path / "stack.zip", "w") as archive:
        for file in (tmp_path / "stack").iterdir():
            archive.write(file, f"export/{file.name}")
        archive.writestr("export/readme.txt", "slices")
    assert np.allclose(read_slices(tmp_path / "stack.zip", spacing_mm=SPACING).voxels, gray / 255)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "CMYK"])
def test_colours_become_bt601_luma_and_transparency_is_dropped(tmp_path, mode):
    rgb = np.random.default_rng(1).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    image = Image.fromarray(rgb).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(7)
    image.save(tmp_path / "image.tif")
    if mode in ("RGB", "RGBA"):
        expected = rgb @ np.array([0.299, 0.587, 0.114]) / 255
    else:
        expected = np.asarray(image.convert("RGB")) @ np.array([0.299, 0.587, 0.114]) / 255
    assert np.allclose(read_gray_image(tmp_path / "image.tif"), expected, atol=1.01 / 255)


def test_jpeg_reads_within_its_loss(tmp_path):
    ramp = np.tile(np.arange(0, 256, 4, np.uint8), (32, 1))
    Image.fromarray(ramp).save(tmp_path / "image.jpg", quality=95)
    assert np.abs(read_gray_image(tmp_path / "image.jpg") - ramp / 255).max() < 0.03


def test_spacing_is_asked_for_and_must_be_above_zero(tmp_path, gray):
    save_stack(tmp_path / "stack", gray)
    with pytest.raises(GeometryError, match="--spacing Z,Y,X"):
        read_slices(tmp_path / "stack")
    for spacing in ((0, 1, 1), (1, -1, 1), (1, 1, float("nan"))):
        with pytest.raises(GeometryError, match="above 0"):
            read_slices(tmp_path / "stack", spacing_mm=spacing)
    with pytest.raises(ReadError, match="LOW below HIGH"):
        read_slices(tmp_path / "stack", spacing_mm=SPACING, window_hu=(400, -1000))


def test_slices_of_different_size_are_refused_by_name(tmp_path, gray):
    save_stack(tmp_path / "stack", gray)
    Image.fromarray(gray[0, :5]).save(tmp_path / "stack" / "slice3.png")
    with pytest.raises(ReadError, match=r"slice3.png is 5x7, those before 9x7"):
        read_slices(tmp_path / "stack", spacing_mm=SPACING)


def test_a_lost_slice_that_is_an_image_by_name_alone_is_refused(tmp_path, gray):
    save_stack(tmp_path / "stack", gray)
    (tmp_path / "stack" / "slice5.png").write_bytes(b"")
    with pytest.raises(ReadError, match=r"slice5.png is empty or not an image"):
        read_slices(tmp_path / "stack", spacing_mm=SPACING)


def test_depths_without_a_full_scale_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.zeros((4, 4), np.int32)).save(tmp_path / "int.tif")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "inverted.tif", tiffinfo={262: 0})
    for name in ("float.tif", "int.tif"):
        with pytest.raises(ReadError, match="expected 8 or 16 bits"):
            read_gray_image(tmp_path / name)
    if Image.open(tmp_path / "inverted.tif").tag_v2[262] == 0:
        with pytest.raises(ReadError, match="0 is white"):
            read_gray_image(tmp_path / "inverted.tif")


def test_several_pages_are_no_single_image(tmp_path, gray):
    pages = [Image.fromarray(plane) for plane in gray[:2]]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ReadError, match="several pages"):
        read_gray_image(tmp_path / "pages.tif")


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    for side in (9_000, 12_000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        with pytest.raises(ReadError, match=rf"bomb.png: .*({side}x{side} pixels|DecompressionBomb)"):
            read_gray_image(tmp_path / "bomb.png")
    monkeypatch.setattr(module, "MAX_VOXELS", 100)
    save_stack(tmp_path / "stack", np.zeros((3, 9, 7), np.uint8))
    with pytest.raises(ReadError, match="more than 100 voxels"):
        read_slices(tmp_path / "stack", spacing_mm=SPACING)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_damaged_images_give_our_own_error_or_an_image(tmp_path, gray, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(gray[0]).save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    for length in (0, 1, 8, 30, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(ReadError, match="not a readable PNG, JPG or TIFF"):
            read_gray_image(path)
    messages = []
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_gray_image(path).ndim == 2
        except TumorspreadError as error:
            messages.append(str(error))
    assert not any("\n" in message for message in messages)


def test_a_missing_file_and_a_folder_without_images_are_refused(tmp_path):
    with pytest.raises(ReadError, match="cannot be read"):
        read_gray_image(tmp_path / "absent.png")
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(ReadError, match="no PNG, JPG or TIFF"):
        read_slices(tmp_path, spacing_mm=SPACING)


def test_natural_order_counts_numbers_by_value():
    names = ["s10.png", "s2.png", "S1.png", "a/2/x", "a/10/x", "7"]
    assert sorted(names, key=natural_key) == ["7", "a/2/x", "a/10/x", "S1.png", "s2.png", "s10.png"]
