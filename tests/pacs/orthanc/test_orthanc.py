"""A real Orthanc and dcmtk's storescu on loopback: scans come in, are forwarded, and the results are read in the PACS.

The listener is the command itself in a process of its own; only the network that finds the tumours is replaced, but
in the last test.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

pytestmark = [pytest.mark.slow, pytest.mark.pacs, pytest.mark.timeout(900)]

COUNT = 30


@pytest.fixture
def scan(net, tmp_path):
    """Files of a CT series, and the datasets."""
    folder = tmp_path / "ct"
    folder.mkdir()
    slices = net.make_series(COUNT)
    for one in slices:
        one.save_as(folder / f"{one.InstanceNumber:03}.dcm", enforce_file_format=True)
    return folder, slices


def storescu(port, folder, *options, called="ORTHANC"):
    """Send a folder as a scanner does."""
    subprocess.run(
        ["storescu", *options, "-aet", "CT1", "-aec", called, "127.0.0.1", str(port), "+sd", str(folder)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def command(*args):
    """Run the command; its stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "tumorspread", *map(str, args)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def fetch_results(orthanc, slices, out):
    """SEG and SR of the study as DICOMweb gives them; there must be one of each."""
    command("fetch", orthanc.web, "--study", slices[0].StudyInstanceUID, "-o", out)
    found = {}
    for path in out.rglob("*.dcm"):
        found.setdefault(dcmread(path, stop_before_pixels=True).Modality, []).append(path)
    assert len(found["CT"]) == len(slices)
    (seg,), (report,) = found["SEG"], found["SR"]
    return hd.seg.segread(seg), hd.sr.srread(report)


def check_results(seg, report, slices):
    """Both speak of this scan, and the numbers are those of its voxels."""
    for made in (seg, report):
        assert made.StudyInstanceUID == slices[0].StudyInstanceUID
        assert (made.PatientName, made.PatientID) == (slices[0].PatientName, slices[0].PatientID)
    assert seg.FrameOfReferenceUID == slices[0].FrameOfReferenceUID
    voxels = sum(int((one.pixel_array > 1224).sum()) for one in slices)
    assert int(np.count_nonzero(seg.pixel_array)) == voxels
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    volume_ml = [one.value for one in group.get_measurements() if one.unit.value == "mL"]
    assert volume_ml[0] == pytest.approx(voxels * 1.5 * 1.5 * 2.5 / 1000, rel=1e-3)
    assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID


def exactly_once(orthanc, slices):
    """Whether the PACS holds one SEG and one SR of the study; more of one is never right."""
    counts = [len(orthanc.instances(slices[0].StudyInstanceUID, modality)) for modality in ("SEG", "SR")]
    assert max(counts) < 2, counts
    return counts == [1, 1]


def test_a_ct_is_stored_forwarded_analysed_and_its_results_are_read_in_the_pacs(place, scan, tmp_path):
    orthanc, listener = place
    folder, slices = scan
    listener.start()
    storescu(orthanc.dicom, folder)
    listener.wait_state(slices[0].SeriesInstanceUID, "done")
    check_results(*fetch_results(orthanc, slices, tmp_path / "back"), slices)
    assert [event for event in listener.events() if event != "received"] == ["ready", "analysed", "sent", "done"]
    assert orthanc.send_on(slices[0].SeriesInstanceUID)
    time.sleep(3.0)
    assert exactly_once(orthanc, slices)
    assert listener.analyses() == 1
    assert listener.stop() == 0
    assert listener.errors.read_text().splitlines()[-1] == "stopped"
    assert not [secret for secret in ("Doe", "SECRET-4711") if secret in listener.errors.read_text()]


def while_receiving(orthanc, listener, folder, series, wait_for):
    storescu(orthanc.dicom, folder)
    wait_for(lambda: listener.slices(series) >= 3, seconds=60)


def when_all_is_received(orthanc, listener, folder, series, wait_for):
    storescu(orthanc.dicom, folder)
    wait_for(lambda: listener.slices(series) == COUNT, seconds=60)


def during_the_analysis(orthanc, listener, folder, series, wait_for):
    storescu(orthanc.dicom, folder)
    wait_for(lambda: listener.analyses() == 1, seconds=60)


def with_results_that_wait(orthanc, listener, folder, series, wait_for):
    storescu(orthanc.dicom, folder)
    wait_for(lambda: listener.analyses() == 1, seconds=60)
    orthanc.freeze()
    listener.wait_state(series, "analysed")


def while_sending(orthanc, listener, folder, series, wait_for):
    study = dcmread(next(folder.iterdir())).StudyInstanceUID
    storescu(orthanc.dicom, folder)
    wait_for(lambda: any(orthanc.instances(study, modality) for modality in ("SEG", "SR")), seconds=60)


MOMENTS = (while_receiving, when_all_is_received, during_the_analysis, with_results_that_wait, while_sending)


@pytest.mark.parametrize("reach", MOMENTS, ids=lambda moment: moment.__name__)
def test_after_a_kill_all_results_are_there_exactly_once(place, scan, tmp_path, net, reach):
    orthanc, listener = place
    folder, slices = scan
    series = slices[0].SeriesInstanceUID
    listener.start(seconds=2.0)
    reach(orthanc, listener, folder, series, net.wait_for)
    listener.kill()
    orthanc.thaw()
    was_whole = listener.slices(series) == COUNT
    listener.start()
    if not was_whole:
        # A PACS repeats what was not answered; Orthanc does when asked.
        assert orthanc.send_on(series)
    listener.wait_state(series, "done")
    assert exactly_once(orthanc, slices)
    check_results(*fetch_results(orthanc, slices, tmp_path / "back"), slices)
    assert orthanc.send_on(series)
    net.wait_for(lambda: "duplicate" in listener.events(), seconds=60)
    assert exactly_once(orthanc, slices)
    assert listener.stop() == 0


def test_a_pacs_that_was_down_gets_the_results_when_it_is_back(place, scan, net):
    orthanc, listener = place
    folder, slices = scan
    listener.start("--allow", "CT1")
    orthanc.stop()
    storescu(listener.port, folder, called="SPREAD")
    net.wait_for(lambda: "retry" in listener.events(), seconds=120)
    assert listener.state(slices[0].SeriesInstanceUID) == "analysed"
    orthanc.start()
    listener.wait_state(slices[0].SeriesInstanceUID, "done")
    assert exactly_once(orthanc, slices)


@pytest.mark.parametrize("option", ["-xe", "-xi", "-xb"])
def test_storescu_in_every_plain_syntax_gives_the_same_results(place, scan, option, tmp_path):
    orthanc, listener = place
    folder, slices = scan
    listener.start("--allow", "CT1")
    storescu(listener.port, folder, option, called="SPREAD")
    listener.wait_state(slices[0].SeriesInstanceUID, "done")
    storescu(orthanc.dicom, folder)
    check_results(*fetch_results(orthanc, slices, tmp_path / "back"), slices)


def test_orthanc_is_told_that_its_slices_are_kept(place, scan, net):
    orthanc, listener = place
    folder, slices = scan
    listener.start()
    storescu(orthanc.dicom, folder)
    listener.wait_state(slices[0].SeriesInstanceUID, "done")
    names = [[one.SOPClassUID, one.SOPInstanceUID] for one in slices]
    for wanted, status in ((names, "Success"), ([*names, [net.CT, "1.2.3.4"]], "Failure")):
        asked = orthanc.post("/modalities/spread/storage-commitment", {"DicomInstances": wanted}).json()
        path = f"/storage-commitment/{asked['ID']}"
        net.wait_for(lambda path=path: orthanc.get(path)["Status"] != "Pending", seconds=60)
        answer = orthanc.get(path)
        assert answer["Status"] == status
        assert len(answer["Success"]) == COUNT


def test_a_study_goes_to_orthanc_and_back_by_dicomweb_unchanged(place, scan, tmp_path):
    orthanc, _ = place
    folder, slices = scan
    assert "stored 30 files" in command("store", orthanc.web, *sorted(folder.iterdir()))
    command("store", orthanc.web, *sorted(folder.iterdir()))
    command("fetch", orthanc.web, "--study", slices[0].StudyInstanceUID, "-o", tmp_path / "back")
    back = {str(one.SOPInstanceUID): one for one in map(dcmread, (tmp_path / "back").rglob("*.dcm"))}
    assert len(back) == COUNT
    assert all(back[one.SOPInstanceUID] == one for one in slices)


@pytest.mark.real
def test_the_command_as_it_ships_answers_for_a_real_chest(place, shared_data, tmp_path):
    """Nothing is replaced: shipped weights, a patient's CT."""
    orthanc, listener = place
    folder = tmp_path / "ct"
    shutil.copytree(shared_data / "dicom" / "RadPhantom-pat4", folder, ignore=shutil.ignore_patterns("*RTSTRUCT*"))
    slices = _slices_only(folder)
    listener.start(program=["-m", "tumorspread"])
    storescu(orthanc.dicom, folder)
    listener.wait_state(slices[0].SeriesInstanceUID, "done", seconds=280)
    (report,) = orthanc.instances(slices[0].StudyInstanceUID, "SR")
    command("fetch", orthanc.web, "--study", slices[0].StudyInstanceUID, "-o", tmp_path / "back")
    found = [one for one in map(dcmread, (tmp_path / "back").rglob("*.dcm")) if one.SOPInstanceUID == report]
    assert "research use only" in str(found[0]).lower()


def _slices_only(folder: Path):
    slices = []
    for path in sorted(folder.iterdir()):
        one = dcmread(path, stop_before_pixels=True, force=True)
        if one.get("Modality") == "CT":
            slices.append(one)
        else:
            path.unlink()
    return slices
