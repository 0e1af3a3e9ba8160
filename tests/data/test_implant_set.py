"""Sets of real chests with synthetic tumours: hosts, repetition, resumption, refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tumorspread.data.acquisition import AcquisitionConfig
from tumorspread.data.cases import find_cases
from tumorspread.data.check import check_dataset
from tumorspread.data.distractors import DistractorConfig
from tumorspread.data.hosts import IN_BOX, TUMOUR, HostSpec, find_list, open_host, read_hosts
from tumorspread.data.implant import ImplantConfig
from tumorspread.data.implant_set import ImplantSetConfig, find_airless, make_case, write_implants
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.data.splits import read_split, read_splits
from tumorspread.errors import DatasetError, GeometryError
from tumorspread.measurement.lungs import segment_lungs
from tumorspread.scan.nifti import read_nifti, write_nifti
from tumorspread.scan.volume import Reorientation, Volume

LIST = """
[[hosts]]
name = "healthy"
scan = "healthy.nii.gz"

[[hosts]]
name = "ill"
patient = "somebody"
scan = "ill.nii.gz"
mask = "ill_mask.nii.gz"
weight = 2.0
"""


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    config = PhantomConfig(spacing_mm=(4.0, 3.0, 3.0), vessels=8)
    write_nifti(make_phantom(1, replace(config, tumours=(0, 0))).scan, folder / "healthy.nii.gz")
    ill = make_phantom(2, replace(config, tumours=(1, 1), diameter_mm=(28.0, 30.0)))
    write_nifti(ill.scan, folder / "ill.nii.gz")
    write_nifti(ill.mask, folder / "ill_mask.nii.gz")
    (folder / "hosts.toml").write_text(LIST)
    return folder


@pytest.fixture
def config(chests):
    few = ImplantConfig(lesions=(1, 2), diameter_mm=(8.0, 20.0))
    return ImplantSetConfig(read_hosts(chests / "hosts.toml"), chests, implant=few, empty_p=0.0)


def test_a_case_is_a_function_of_the_seed_and_its_number(config):
    one, same, next_one = make_case(3, config, None), make_case(3, config, None), make_case(4, config, None)
    assert np.array_equal(one.scan.voxels, same.scan.voxels)
    assert np.array_equal(one.mask.voxels, same.mask.voxels)
    assert one.scan.shape != next_one.scan.shape or not np.array_equal(one.scan.voxels, next_one.scan.voxels)
    other = make_case(3, replace(config, seed=1), None)
    assert one.scan.shape != other.scan.shape or not np.array_equal(one.scan.voxels, other.scan.voxels)


def test_the_real_tumour_of_a_host_is_in_its_mask_and_none_is_put_on_it(chests, config):
    as_it_is = AcquisitionConfig(slice_mm=(0.0,), pixel_mm=0.1, size=(1.0, 1.0), kernel_p=0.0, dose_p=0.0)
    ill = replace(config, hosts=config.hosts[1:], acquisition=as_it_is)
    host = open_host(ill.hosts[0], chests)
    real = host.labels.voxels == TUMOUR
    truth = read_nifti(chests / "ill_mask.nii.gz")
    assert real.sum() * host.scan.voxel_ml == pytest.approx((truth.voxels > 0).sum() * truth.voxel_ml)
    for number in range(3):
        case = make_case(number, ill, None)
        assert case.mask.voxels[real].all()
        assert case.mask.voxels.sum() > real.sum()
        for lesion in case.lesions:
            z, y, x = np.round(case.mask.to_index(lesion.centre_mm)).astype(int)
            assert not real[z, y, x]


def test_a_box_to_ignore_is_carried_to_the_case_and_no_tumour_is_centred_in_it(chests, config, tmp_path):
    as_it_is = AcquisitionConfig(slice_mm=(0.0,), pixel_mm=0.1, size=(1.0, 1.0), kernel_p=0.0, dose_p=0.0)
    scan = read_nifti(chests / "ill.nii.gz")
    turn = Reorientation.to_canonical(scan)
    z, y, x = turn.apply(scan).shape
    box = (z // 4, z // 2, y // 3, y // 2, x // 8, x // 3)
    ill = replace(config.hosts[1], ignore=(box,))
    host = open_host(ill, chests)
    open_ones = open_host(config.hosts[1], chests)
    assert np.array_equal(host.labels.voxels % IN_BOX, open_ones.labels.voxels % IN_BOX)
    unknown = host.labels.voxels >= IN_BOX
    start = np.round(turn.apply(scan).to_index(host.scan.to_world(np.zeros(3)))).astype(int)
    corners = np.argwhere(unknown)
    assert (corners.min(axis=0) + start).tolist() == list(box[::2])
    assert (corners.max(axis=0) + start + 1).tolist() == list(box[1::2])
    made = replace(config, hosts=(ill,), acquisition=as_it_is)
    for number in range(3):
        case = make_case(number, made, None)
        assert np.array_equal(case.ignored.voxels > 0, unknown & (case.mask.voxels == 0))
        for lesion in case.lesions:
            assert not unknown[tuple(np.round(case.mask.to_index(lesion.centre_mm)).astype(int))]
    write_implants(tmp_path / "set", 2, made)
    assert all(case.ignored is not None for case in find_cases(tmp_path / "set"))
    assert not [fault for fault in check_dataset(tmp_path / "set") if fault.level != "note"]
    with pytest.raises(DatasetError, match="box"):
        open_host(replace(ill, ignore=((0, z + 1, 0, y, 0, x),)), chests)


def test_a_case_without_lesions_has_an_empty_mask(config):
    case = make_case(0, replace(config, hosts=config.hosts[:1], empty_p=1.0), None)
    assert case.lesions == ()
    assert not case.mask.voxels.any()


def test_some_cases_have_many_small_tumours_where_that_is_asked_for(config):
    many = ImplantConfig(lesions=(9, 9), diameter_mm=(6.0, 9.0), masses=0)
    asked = replace(config, many_p=0.5, many=many)
    counts = [len(make_case(number, asked, None).lesions) for number in range(6)]
    assert max(counts) > 4  # what has no room is left out
    assert min(counts) <= 2
    small = make_case(counts.index(max(counts)), asked, None)
    assert all(lesion.diameter_mm < 14 for lesion in small.lesions)


def test_the_diaphragm_is_raised_where_that_is_asked_for(config):
    same_size = replace(config, acquisition=AcquisitionConfig(slice_mm=(0.0,), size=(1.0, 1.0)), empty_p=1.0)
    for number in range(3):
        cases = [make_case(number, replace(same_size, raised_p=p), None) for p in (0.0, 1.0)]
        plain_ml, raised_ml = (segment_lungs(case.scan).volumes.total_ml for case in cases)
        assert raised_ml < 0.99 * plain_ml


def test_scans_show_a_part_of_the_chest_where_that_is_asked_for(config):
    same_size = replace(config, acquisition=AcquisitionConfig(slice_mm=(0.0,), size=(1.0, 1.0)), empty_p=1.0)
    whole, part = ([make_case(n, replace(same_size, cropped_p=p), None).scan for n in range(4)] for p in (0.0, 1.0))
    assert sum(one.voxels.size for one in part) < 0.8 * sum(one.voxels.size for one in whole)


def test_chests_are_deformed_where_that_is_asked_for(config):
    same_size = replace(config, acquisition=AcquisitionConfig(slice_mm=(0.0,), size=(1.0, 1.0)), empty_p=1.0)
    plain, bent = (make_case(0, replace(same_size, deformed_p=p), None).scan for p in (0.0, 1.0))
    assert not np.allclose(np.array(plain.spacing_mm) * plain.shape, np.array(bent.spacing_mm) * bent.shape, rtol=0.01)


def test_a_set_is_a_data_set_and_goes_on_where_it_stopped(config, tmp_path):
    out, seen = tmp_path / "set", []
    write_implants(out, 3, config, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [case.name for case in find_cases(out)] == [f"implant_{n:05d}" for n in range(3)]
    assert [finding for finding in check_dataset(out) if finding.level == "fault"] == []
    split = read_split(out)
    assert (len(split.train), len(split.val)) == (2, 1)
    truth = json.loads((out / "implants.json").read_text())
    assert set(truth["implant_00000"]) == {"host", "lesions", "distractors"}
    before = {case.image: case.image.read_bytes() for case in find_cases(out)}
    (out / "truth" / "implant_00001.json").unlink()
    find_cases(out)[1].image.write_bytes(b"cut off by a crash")
    seen.clear()
    write_implants(out, 3, config, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(3, 3)]
    assert {case.image: case.image.read_bytes() for case in find_cases(out)} == before


def test_each_patient_is_left_out_in_turn(config, tmp_path):
    out = write_implants(tmp_path / "set", 9, config)
    truth = json.loads((out / "implants.json").read_text())
    all_of_them, without_healthy, without_somebody = read_splits(out / "splits.json")
    assert sorted((*all_of_them.train, *all_of_them.val)) == sorted(truth)
    assert len(all_of_them.val) == 3
    assert not all_of_them.test
    for split, host in ((without_healthy, "ill"), (without_somebody, "healthy")):
        names = {*split.train, *split.val}
        assert names == {name for name, case in truth.items() if case["host"] == host}
        assert len(split.val) == min(3, len(names) // 2)
        assert set(split.test) == {name for name, case in truth.items() if case["host"] != host}


def test_two_processes_make_the_same_set(config, tmp_path):
    one, two = write_implants(tmp_path / "one", 2, config), write_implants(tmp_path / "two", 2, config, workers=2)
    for a, b in zip(find_cases(one), find_cases(two), strict=True):
        assert np.array_equal(read_nifti(a.image).voxels, read_nifti(b.image).voxels)
        assert np.array_equal(read_nifti(a.mask).voxels, read_nifti(b.mask).voxels)


def test_another_set_in_the_folder_is_refused(config, tmp_path):
    write_implants(tmp_path / "set", 2, config)
    with pytest.raises(DatasetError, match="other settings"):
        write_implants(tmp_path / "set", 2, replace(config, seed=5))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match="something else"):
        write_implants(tmp_path / "mine", 2, config)
    with pytest.raises(DatasetError, match="expected 2 or more"):
        write_implants(tmp_path / "few", 1, config)


def test_patients_are_left_out_and_unknown_ones_refused(chests):
    assert [host.name for host in read_hosts(chests / "hosts.toml", leave_out=("somebody",))] == ["healthy"]
    with pytest.raises(DatasetError, match="no host of nobody"):
        read_hosts(chests / "hosts.toml", leave_out=("nobody",))
    with pytest.raises(DatasetError, match="no host is left"):
        read_hosts(chests / "hosts.toml", leave_out=("somebody", "healthy"))


@pytest.mark.parametrize("text", ["", "[[hosts]]\nname = 'a'\n", "[[hosts]]\nname = 'a'\nscan = 'b'\nsize = 3\n", "[["])
def test_what_is_no_list_of_hosts_is_refused(text, tmp_path):
    (tmp_path / "hosts.toml").write_text(text)
    with pytest.raises(DatasetError, match="not a list of hosts"):
        read_hosts(tmp_path / "hosts.toml")


def test_a_host_without_lungs_or_with_slices_that_are_not_there_is_refused(chests, tmp_path):
    with pytest.raises(DatasetError, match="slices 0 to 999"):
        open_host(HostSpec("healthy", "healthy.nii.gz", slices=(0, 999)), chests)
    scan = read_nifti(chests / "healthy.nii.gz")
    write_nifti(scan.with_voxels(np.full(scan.shape, 40, np.int16)), tmp_path / "meat.nii.gz")
    with pytest.raises(DatasetError, match="no lungs"):
        open_host(HostSpec("meat", "meat.nii.gz"), tmp_path)


@pytest.mark.real
def test_the_list_that_ships_names_scans_that_are_there(shared_data):
    hosts = read_hosts(find_list("shipped"))
    assert len({host.who for host in hosts}) == 8
    assert all((shared_data / host.scan).exists() for host in hosts)
    assert not any(name in host.scan for host in hosts for name in ("RadPhantom", "CIP"))


@pytest.mark.real
def test_a_host_among_strays_is_read_by_the_names_of_its_files(shared_data):
    strays = HostSpec("strays", "dicom/ACRIN-FLT-013_stray")
    with pytest.raises(GeometryError, match="missing"):
        open_host(strays, shared_data)
    host = open_host(replace(strays, files="*.dcm"), shared_data)
    assert host.scan.shape[0] == 49
    assert set(np.unique(host.labels.voxels)) == {0, 1, 2}
    with pytest.raises(DatasetError, match="no file is named"):
        open_host(replace(strays, files="*.ima"), shared_data)


@pytest.mark.parametrize("hu", [30, -400])  # collapse, haze
def test_lung_that_lost_its_air_is_found_and_neither_tumour_nor_vessels(hu):
    shape, spacing = (20, 60, 60), (3.0, 1.0, 1.0)
    before = Volume.upright(np.full(shape, -850.0, np.float32), spacing)
    after = before.voxels.copy()
    tumour, collapse = np.zeros(shape, bool), np.zeros(shape, bool)
    tumour[5:15, 5:25, 5:25] = True
    collapse[5:15, 30:50, 10:40] = True
    after[tumour] = 30
    after[collapse] = hu
    after[:, 27:30, 50:53] = 30  # a vessel of 3 mm
    after[:, 52:, 30:] = -780  # a little more blood
    found = find_airless(before, before.with_voxels(after), tumour)
    assert found[collapse].all()
    assert found[:, 20:].sum() * 3 < (30 + 11) * (20 + 8) * (30 + 8)  # 4 mm around
    assert not found[tumour].any()
    assert not found[:, 27:30, 50:53].any()
    assert not found[:, 55:, 50:].any()


def test_airless_lung_of_the_host_is_learned(config):
    scan = make_case(0, config, None).scan
    assert not find_airless(scan, scan, np.zeros(scan.shape, bool)).any()


def test_nothing_is_learned_from_airless_lung_where_asked(config):
    all_dense = replace(config.implant, distractors=DistractorConfig(consolidation=1.0, effusion=1.0))
    asked = replace(config, implant=all_dense)
    for number in range(6):
        plain = make_case(number, asked, None)
        wary = make_case(number, replace(asked, airless_ignored=True), None)
        assert np.array_equal(plain.scan.voxels, wary.scan.voxels)
        assert np.array_equal(plain.mask.voxels, wary.mask.voxels)
        assert plain.ignored is None
        if wary.ignored is not None:
            assert not (wary.ignored.voxels[wary.mask.voxels > 0]).any()
            return
    pytest.fail("no case had dense lung")
