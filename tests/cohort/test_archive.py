"""A cohort out of an archive: what becomes a case, what the workers fetch, and where the secret is not."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pydicom.uid import generate_uid
from tests.dicomweb.conftest import served
from tests.pacs.conftest import make_report, make_series
from tests.scan.conftest import make_enhanced, make_slices

from tumorspread.cli import main
from tumorspread.cohort.analysis import CaseAnalysis
from tumorspread.cohort.cases import Case, Skipped
from tumorspread.cohort.discovery import find_cases
from tumorspread.cohort.following import PatientFollowUp, follow_patients
from tumorspread.cohort.plan import make_plan
from tumorspread.cohort.retry import Limits
from tumorspread.cohort.run import Options, collect, run_cases
from tumorspread.cohort.settings import Machine, Settings, weights_digest
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.dicomweb.server import Credentials
from tumorspread.errors import DatasetError, GeometryError, ReadError
from tumorspread.model.predict import Predictor
from tumorspread.pipeline import analyse
from tumorspread.scan.read import read

SECRET = "Bearer hush-4711"
# A thorax so coarse, at half its size, is measured in a second.
CONFIG, SHRUNK = PhantomConfig(spacing_mm=(12.0, 10.0, 10.0), vessels=3), 0.5


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Small weights that nobody has trained: what they find is at least the same each time."""
    import torch

    from tumorspread.model.preprocess import PreprocessConfig
    from tumorspread.model.unet import UNet, UNetConfig
    from tumorspread.model.weights import Provenance, WeightsInfo, save_weights

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    config = UNetConfig(dims=3, widths=(4, 8), convolutions=1)
    info = WeightsInfo(config, PreprocessConfig(spacing_mm=(8.0, 8.0, 8.0)), (16, 16, 16), 0.5, Provenance("x"))
    save_weights(UNet(config), info, file)
    return Settings(str(file), weights_digest(str(file)), engine="torch", precision="fp32")


@pytest.fixture
def web():
    with served() as web:
        yield web


def make_chest(seed, *, patient="anna", date="20240502"):
    """Slices of a phantom."""
    scan = make_phantom(seed, CONFIG).scan
    z, y, x = (SHRUNK * one for one in scan.spacing_mm)
    stored = np.clip(np.asarray(scan.voxels, np.int32) + 1024, 0, 4095).astype(np.uint16)
    slices = make_series(len(stored))
    for number, one in enumerate(slices):
        one.PatientID, one.StudyDate = patient, date
        one.Rows, one.Columns = stored.shape[1:]
        one.PixelSpacing, one.SliceThickness, one.ImagePositionPatient = [y, x], z, [0, 0, z * number]
        one.PixelData = stored[number].tobytes()
    return slices


def split(found):
    found = list(found)
    return [one for one in found if isinstance(one, Case)], [one for one in found if isinstance(one, Skipped)]


def test_each_study_with_ct_is_a_case_and_one_without_is_left_out(web):
    first = make_series(6)
    report = make_report(make_series(1)[0])
    web.add([*first, report])
    (case,), (skipped,) = split(find_cases(f"{web.url}/dicom-web/studies"))
    study, series = first[0].StudyInstanceUID, first[0].SeriesInstanceUID
    assert case == Case(study, f"{web.url}/dicom-web", series, study, None, "SECRET-4711", "2020-01-02", case.stamp)
    assert (skipped.place, skipped.reason) == (
        f"{web.url}/dicom-web/studies/{report.StudyInstanceUID}",
        "no CT in this study: SR",
    )
    assert split(find_cases(f"{web.url}/dicom-web")) == ([case], [])
    assert not any("/instances" in path for path in web.asked)


def test_the_stamp_changes_with_the_number_of_images(web):
    slices = make_series(7)
    web.add(slices[:6])
    (before,), _ = split(find_cases(f"{web.url}/studies"))
    assert split(find_cases(f"{web.url}/studies"))[0] == [before]
    web.add(slices)
    (after,), _ = split(find_cases(f"{web.url}/studies"))
    assert (after.id, after.stamp != before.stamp) == (before.id, True)


def names(cases):
    return sorted(case.series for case in cases)


def test_of_several_series_the_one_with_most_images_is_taken_and_where_that_is_in_doubt_each(web):
    study = generate_uid()
    thick, thin, scout = (make_series(count, study=study) for count in (6, 9, 1))
    web.add([*thick, *thin, *scout])
    (case,), skipped = split(find_cases(f"{web.url}/studies"))
    assert (case.id, case.series) == (study, thin[0].SeriesInstanceUID)
    assert sorted(one.reason for one in skipped) == [
        "1 CT slices: no chest; expected 5 at least",
        "another CT series of this study is read: the one with most images",
    ]
    both = sorted(one[0].SeriesInstanceUID for one in (thick, thin))
    cases, _ = split(find_cases(f"{web.url}/studies", all_series=True))
    assert names(cases) == both
    assert len({case.id for case in cases}) == 2
    twin = make_series(9, study=study)
    web.add(twin)
    cases, _ = split(find_cases(f"{web.url}/studies"))
    assert names(cases) == sorted([*both, twin[0].SeriesInstanceUID])
    web.hides = ("00201209",)
    assert len(split(find_cases(f"{web.url}/studies"))[0]) == 4


def test_an_enhanced_ct_is_a_case_though_it_is_one_file(web):
    enhanced = make_enhanced(make_slices(8))
    web.add([enhanced])
    (case,), _ = split(find_cases(f"{web.url}/studies"))
    assert case.series == enhanced.SeriesInstanceUID


@pytest.mark.parametrize(
    ("tag", "value", "case"),
    [("PatientID", "", (None, "2020-01-02")), ("StudyDate", "2020", ("SECRET-4711", None))],
)
def test_what_an_archive_does_not_know_is_not_known(web, tag, value, case):
    slices = make_series(6)
    for one in slices:
        setattr(one, tag, value)
    web.add(slices)
    (found,), _ = split(find_cases(f"{web.url}/studies"))
    assert (found.patient, found.date) == case


def test_credentials_for_anything_else_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="are for a DICOMweb address"):
        find_cases(str(tmp_path), credentials=Credentials(header_env="X"))


def test_wrong_credentials_are_one_line_and_leave_no_plan(web, tmp_path, monkeypatch, capsys):
    web.secret = SECRET
    web.add(make_series(6))
    monkeypatch.setenv("WRONG", "Authorization: Bearer guess-4712")
    argv = ["tumorspread", "cohort", f"{web.url}/dicom-web", "-o", str(tmp_path / "study"), "--dry-run"]
    monkeypatch.setattr("sys.argv", [*argv, "--header-env", "WRONG"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (1, 1)
    assert "status 401" in said
    assert "guess" not in said
    assert not (tmp_path / "study").exists()
    monkeypatch.setenv("WRONG", f"Authorization: {SECRET}")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert len((tmp_path / "study" / "plan.jsonl").read_text().splitlines()) == 1


@pytest.fixture
def header(tmp_path):
    (tmp_path / "header").write_text(f"Authorization: {SECRET}\n")
    return Credentials(header_file=tmp_path / "header")


def test_a_study_that_is_gone_or_damaged_is_refused_and_nothing_of_it_stays(web, settings, tmp_path):
    slices = make_series(6)
    web.add(slices)
    (case,), _ = split(find_cases(f"{web.url}/dicom-web"))
    work = CaseAnalysis(settings, Machine(threads=1, device="cpu"))
    del slices[3].ImagePositionPatient
    web.add(slices)
    with pytest.raises(GeometryError, match="ImagePositionPatient"):
        work(case, tmp_path)
    web.files.clear()
    with pytest.raises(ReadError, match="no such study"):
        work(case, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_dies_midway_costs_only_time_and_the_secret_is_nowhere(
    client, place, web, header, settings, tmp_path
):
    web.secret = SECRET
    chests = [make_chest(seed, patient=f"p{seed}") for seed in range(3)]
    for chest in chests:
        web.add(chest)
    work = CaseAnalysis(settings, Machine(threads=1, device="cpu"), header)
    assert SECRET.encode() not in pickle.dumps(work)
    place.prepare()
    found = list(find_cases(f"{web.url}/dicom-web", credentials=header))
    web.dies_after = 1
    make_plan(found, place, work.digest)
    ended = run_cases(client, work, place, 3, options=Options(limits=Limits(tries=1)))
    rows = [row for _, row in collect(place)]
    assert (ended.rows, ended.failed) == (3, 2)
    assert {row.status for row in rows} == {"done", "failed"}
    assert {row.error for row in rows if row.status == "failed"} == {"NetworkError"}
    web.dies_after = None
    assert make_plan(found, place, work.digest).to_do == 2
    assert run_cases(client, work, place, 2).failed == 0
    rows = {row.series: row for _, row in collect(place)}
    for chest in chests:
        row = rows[chest[0].SeriesInstanceUID]
        assert (row.status, row.patient, row.date) == ("done", chest[0].PatientID, "2024-05-02")
        expected = findings_of(chest, settings, tmp_path)
        assert (row.measures.volume_ml, row.measures.lung_ml) == (expected.burden.volume_ml, expected.lungs.total_ml)
        assert row.measures.lung_ml > 100
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if b"hush" in path.read_bytes() or path.suffix == ".dcm"]
    assert not list(place.unfinished.iterdir())


def test_a_patient_with_two_dates_in_an_archive_is_followed_and_his_scans_are_fetched_for_it(
    client, place, web, header, settings
):
    web.secret = SECRET
    for date in ("20240502", "20240901"):
        web.add(make_chest(1, date=date))
    place.prepare()
    work = CaseAnalysis(settings, Machine(threads=1, device="cpu"), header)
    make_plan(find_cases(f"{web.url}/dicom-web", credentials=header), place, work.digest)
    assert run_cases(client, work, place, 2).failed == 0
    ended = follow_patients(client, PatientFollowUp(place, threads=1, credentials=header))
    assert ended is not None
    assert (ended.rows, ended.failed) == (1, 0)
    ((case, row),) = collect(place.patients)
    assert (case.id, row.status) == ("anna", "done"), row.reason
    first, second = row.measures.visits
    assert (first["lung_dice_after"], first["case"] == second["case"]) == (None, False)
    assert second["lung_dice_after"] == pytest.approx(1, abs=0.02)  # the same chest
    assert not list(place.folder.rglob("*.dcm"))
    assert not list(place.patients.unfinished.iterdir())


def findings_of(slices, settings, tmp_path):
    """Of the same slices in a folder, without a cohort."""
    folder = tmp_path / slices[0].SeriesInstanceUID
    folder.mkdir()
    for one in slices:
        one.save_as(folder / f"{one.SOPInstanceUID}.dcm", enforce_file_format=True)
    predictor = Predictor(settings.weights, device="cpu", engine="torch", precision="fp32", threads=1)
    return analyse(read(folder), predictor).findings
