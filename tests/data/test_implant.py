from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from tumorspread.data.distractors import ADDERS, DistractorConfig
from tumorspread.data.host_noise import measure_noise
from tumorspread.data.implant import PLACES, TEXTURES, ImplantConfig, implant
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.data.shapes import ShapeLibrary
from tumorspread.errors import DatasetError
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.scan.volume import Volume

CALM = DistractorConfig(**dict.fromkeys(ADDERS, 0.0))
EMPTY = PhantomConfig(spacing_mm=(2.0, 1.6, 1.6), tumours=(0, 0), vessels=25)
# Nothing but the body of a tumour, of one density, in the middle of the lung.
PLAIN = ImplantConfig(
    lesions=(1, 1),
    place_weights=(1, 0, 0, 0, 0, 0, 0, 0),
    mass_place_weights=(1, 0, 0, 0, 0, 0, 0, 0),
    texture_weights=(1, 0, 0, 0, 0, 0),
    halo_p=0,
    lucency_p=0,
    push_p=0,
    obstruction_p=0,
    fluid_p=0,
    distractors=CALM,
)


def sized(config, diameter):
    return replace(config, diameter_mm=(diameter, diameter * 1.001))


def only(names, name):
    return tuple(float(n == name) for n in names)


@pytest.fixture(scope="module")
def host():
    """A phantom without tumour, and its lungs."""
    scan = make_phantom(2, EMPTY).scan
    return scan, segment_lungs(scan).labels


@pytest.fixture
def put(host):
    """Implant into the host with a seed."""
    return lambda seed, config, shapes=None: implant(*host, np.random.default_rng(seed), config, shapes)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Two outlines, a ball on thick slices and a box, as a folder of shapes."""
    folder = tmp_path_factory.mktemp("shapes")
    z, y, x = np.ogrid[-4:5, -10:11, -10:11]
    ball, box = (2.5 * z) ** 2 + y**2 + x**2 <= 100, np.ones((8, 8, 8), bool)
    np.savez(folder / "some.npz", a=np.packbits(ball), b=np.packbits(box))
    rows = [f"a,9,21,21,2.5,1,1,{ball.sum() * 2.5 / 1000}", "b,8,8,8,1,1,1,0.512"]
    header = "name,z,y,x,spacing_z_mm,spacing_y_mm,spacing_x_mm,volume_ml"
    (folder / "some.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.mark.parametrize("diameter", [8.0, 16.0, 30.0])
@pytest.mark.parametrize("with_library", [False, True])
def test_the_outline_of_a_free_tumour_has_the_volume_of_the_wanted_ball(put, library, diameter, with_library):
    shapes = ShapeLibrary.read(library) if with_library else None
    done = put(1, sized(replace(PLAIN, real_shape_p=float(with_library)), diameter), shapes)
    assert len(done.lesions) == 1
    assert done.mask.voxels.sum() * done.mask.voxel_ml == pytest.approx(np.pi / 6 * diameter**3 / 1000, rel=0.12)
    assert done.lesions[0].diameter_mm == pytest.approx(diameter, rel=0.05)
    centre = done.mask.to_world(np.argwhere(done.mask.voxels).mean(axis=0))
    assert done.lesions[0].centre_mm == pytest.approx(centre, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_solid_tumour_has_the_density_of_the_hosts_tissue_and_the_strength_of_its_noise(host, put, seed):
    done = put(seed, sized(PLAIN, 40.0))
    inner = ndimage.binary_erosion(done.mask.voxels, iterations=4)
    hu = done.scan.voxels.astype(float)
    # The muscle of the phantom has 45 HU, its blood 40.
    assert 0 < hu[inner].mean() < 80
    grain = hu - ndimage.uniform_filter(hu, (1, 7, 7))
    smooth = ndimage.gaussian_filter(hu, 2)
    muscle = ndimage.binary_erosion((smooth > 25) & (smooth < 65) & (host[1] == 0), iterations=4)
    assert grain[inner].std() == pytest.approx(grain[muscle].std(), rel=0.25)


def test_the_noise_of_a_scan_is_measured_and_drawn_with_its_strength_and_its_grain():
    random = np.random.default_rng(0)
    truth = ndimage.gaussian_filter(random.standard_normal((24, 160, 160)), (0.6, 0.8, 0.8))
    truth *= 22 / truth.std()
    model = measure_noise(truth + 50, (1.0, 0.8, 0.8))
    drawn = model.draw(random, (24, 120, 120))
    assert model.sd_hu == pytest.approx(22, rel=0.12)
    assert drawn.std() == pytest.approx(22, rel=0.12)
    for axis in range(3):
        lag = [np.corrcoef(np.delete(f, 0, axis).ravel(), np.delete(f, -1, axis).ravel())[0, 1] for f in (truth, drawn)]
        assert lag[0] == pytest.approx(lag[1], abs=0.12)


def test_a_scan_without_homogeneous_tissue_gets_an_ordinary_noise():
    assert measure_noise(np.full((4, 20, 20), -1000), (5.0, 1.0, 1.0)).sd_hu == 20


def test_nothing_changes_far_from_the_tumours(host, put):
    done = put(4, sized(PLAIN, 20.0))
    changed = done.scan.voxels != host[0].voxels
    away = ndimage.distance_transform_edt(done.mask.voxels == 0, done.mask.spacing_mm)
    assert changed.any()
    assert away[changed].max() < 40


@pytest.mark.parametrize("place", PLACES)
def test_a_tumour_lies_in_a_lung_or_a_few_millimetres_beyond_and_never_on_bone(host, put, place):
    scan, lungs = host
    weights = only(PLACES, place)
    away = ndimage.distance_transform_edt(lungs == 0, scan.spacing_mm)
    for seed, diameter in ((1, 12.0), (2, 70.0)):
        config = replace(ImplantConfig(), place_weights=weights, mass_place_weights=weights, lesions=(1, 1))
        done = put(seed, sized(config, diameter))
        inside = done.mask.voxels > 0
        assert [lesion.place for lesion in done.lesions] == [place]
        assert away[inside].max() <= 7
        assert not (inside & (ndimage.gaussian_filter(scan.voxels.astype(float), 1) > 250) & (lungs == 0)).any()
        assert 0.5 * diameter < done.lesions[0].diameter_mm < 1.1 * diameter


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_has_its_density(put, texture):
    done = put(3, sized(replace(PLAIN, texture_weights=only(TEXTURES, texture)), 28.0))
    assert done.lesions[0].texture == texture
    inside = done.scan.voxels[ndimage.binary_erosion(done.mask.voxels)].astype(float)
    low, high = {"ground_glass": (-750, -300), "part_solid": (-700, 0), "cavitary": (-900, 20)}.get(texture, (-20, 130))
    assert low < inside.mean() < high
    if texture == "calcified":
        assert inside.max() > 200


def test_the_same_state_gives_the_same_implants_and_another_one_others(put):
    config = ImplantConfig(lesions=(2, 4), diameter_mm=(5, 40))
    first, again, other = put(5, config), put(5, config), put(6, config)
    assert first.lesions == again.lesions
    assert first.distractors == again.distractors
    assert np.array_equal(first.scan.voxels, again.scan.voxels)
    assert np.array_equal(first.mask.voxels, again.mask.voxels)
    assert first.lesions != other.lesions


@pytest.mark.parametrize("spacing", [(5.0, 2.5, 2.5), (0.7, 1.5, 1.5)])
def test_thick_and_thin_slices_carry_the_same_size(spacing):
    extent = (204.0, 240.0, 336.0) if spacing[0] > 1 else (60.0, 240.0, 336.0)
    scan = make_phantom(0, replace(EMPTY, spacing_mm=spacing, extent_mm=extent, vessels=8)).scan
    done = implant(scan, segment_lungs(scan).labels, np.random.default_rng(1), sized(PLAIN, 18.0))
    assert [lesion.diameter_mm for lesion in done.lesions] == pytest.approx([18.0], rel=0.06)


def test_turned_and_flipped_axes_give_the_same_tumours_in_the_world(host):
    scan, lungs = host
    affine = scan.affine[:, [2, 1, 0, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (scan.shape[1] - 1)
    affine[:3, 1] *= -1
    turned = Volume(scan.voxels.transpose(2, 1, 0)[:, ::-1], affine)
    config = ImplantConfig(lesions=(2, 2), diameter_mm=(8, 30))
    first = implant(scan, lungs, np.random.default_rng(1), config)
    second = implant(turned, lungs.transpose(2, 1, 0)[:, ::-1], np.random.default_rng(1), config)
    assert np.array_equal(second.mask.voxels[:, ::-1].transpose(2, 1, 0), first.mask.voxels)
    assert np.array_equal(second.scan.voxels[:, ::-1].transpose(2, 1, 0), first.scan.voxels)
    for one, other in zip(first.lesions, second.lesions, strict=True):
        assert one.centre_mm == pytest.approx(other.centre_mm)


@pytest.mark.parametrize("name", ADDERS)
def test_a_distractor_changes_the_lung_and_is_no_tumour(host, put, name):
    config = replace(ImplantConfig(), lesions=(0, 0), distractors=replace(CALM, **{name: 1.0}))
    done = put(3, config)
    change = done.scan.voxels.astype(float) - host[0].voxels
    assert done.distractors == (name,)
    assert not done.mask.voxels.any()
    assert done.lesions == ()
    assert (np.abs(change) > 100).sum() > 20


def test_a_mass_moves_and_blocks_lung_outside_its_outline(host, put):
    config = sized(replace(PLAIN, mass_place_weights=only(PLACES, "hilum"), push_p=1, obstruction_p=1, fluid_p=1), 60.0)
    done = put(2, config)
    change = np.abs(done.scan.voxels.astype(float) - host[0].voxels)
    outside = (done.mask.voxels == 0) & (host[1] > 0)
    assert (change[outside] > 100).sum() * done.mask.voxel_ml > 3


def test_no_tumour_grows_where_it_must_not(host):
    scan, lungs = host
    right = lungs == 2
    for seed in range(4):
        done = implant(scan, lungs, np.random.default_rng(seed), sized(PLAIN, 12.0), keep_clear=right)
        assert not done.mask.voxels[right].any()


def test_one_lung_a_float_scan_and_a_crop_are_hosts_too(host):
    scan, lungs = host
    single = np.where(lungs == 2, lungs, 0).astype(np.uint8)
    crop = scan.with_voxels(scan.voxels.astype(np.float32)).crop((30, 20, 0), (70, 120, 110))
    done = implant(crop, single[30:70, 20:120, :110], np.random.default_rng(0), ImplantConfig(diameter_mm=(6, 20)))
    assert done.scan.voxels.dtype == np.float32
    assert done.mask.voxels.any()


def test_scans_without_lungs_and_folders_without_shapes_are_refused(host, tmp_path, library):
    scan, lungs = host
    with pytest.raises(DatasetError, match="empty"):
        implant(scan, np.zeros_like(lungs), np.random.default_rng(0))
    with pytest.raises(DatasetError, match="of shape"):
        implant(scan, lungs[1:], np.random.default_rng(0))
    with pytest.raises(DatasetError, match="no pair"):
        ShapeLibrary.read(tmp_path)
    (tmp_path / "some.npz").write_bytes((library / "some.npz").read_bytes())
    (tmp_path / "some.csv").write_text("name,z\nc,1\n")
    with pytest.raises(DatasetError, match="does not name"):
        ShapeLibrary.read(tmp_path)


def test_real_outlines_make_shapes_of_the_volume_of_the_unit_ball(shared_data):
    shapes = ShapeLibrary.read(shared_data / "lesion_masks")
    assert len(shapes.masks) == 1640
    for index in range(0, 1640, 211):
        shape = shapes.shape(index)
        assert (shape.depth > 0).sum() / 12**3 == pytest.approx(4 / 3 * np.pi, rel=0.02)
        assert 0.9 < shape.reach < 4.5
