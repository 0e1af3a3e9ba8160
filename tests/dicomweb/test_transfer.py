"""A study fetched, results stored: against a small server that follows PS3.18, and against one that does not."""

from __future__ import annotations

import io

import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

from tumorspread.dicomweb.server import Server, parse_header
from tumorspread.dicomweb.transfer import fetch, store
from tumorspread.errors import NetworkError, OutputError, ReadError

SECRET = "Bearer 4711"


@pytest.fixture
def slices(net, web):
    slices = net.make_series(6)
    web.add(slices)
    return slices


def files_of(datasets, folder):
    paths = []
    for number, one in enumerate(datasets):
        one.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        paths.append(folder / f"{number}.dcm")
    return paths


def test_a_study_comes_whole_and_unchanged_in_a_folder_for_each_series(net, web, slices, tmp_path):
    other = net.make_series(3, study=slices[0].StudyInstanceUID)
    stranger = net.make_series(2)
    web.add([*other, *stranger])
    files = fetch(Server(web.url), slices[0].StudyInstanceUID, tmp_path / "ct")
    assert sorted(path.parent.name for path in files) == sorted(
        [slices[0].SeriesInstanceUID] * 6 + [other[0].SeriesInstanceUID] * 3
    )
    back = {str(one.SOPInstanceUID): one for one in map(dcmread, files)}
    assert all(back[one.SOPInstanceUID] == one for one in [*slices, *other])


def test_one_series_of_a_study(net, web, slices, tmp_path):
    web.add(net.make_series(3, study=slices[0].StudyInstanceUID))
    uid = slices[0].SeriesInstanceUID
    files = fetch(Server(web.url), slices[0].StudyInstanceUID, tmp_path / "ct", series=uid)
    assert [path.parent for path in files] == [tmp_path / "ct" / uid] * 6


def test_compressed_slices_stay_so(net, web, tmp_path):
    slices = net.make_series(2)
    for one in slices:
        one.compress(JPEG2000Lossless, generate_instance_uid=False)
    web.add(slices)
    files = fetch(Server(web.url), slices[0].StudyInstanceUID, tmp_path / "ct")
    assert {dcmread(path).file_meta.TransferSyntaxUID for path in files} == {JPEG2000Lossless}
    assert "transfer-syntax=*" in web.seen[-1]["Accept"].replace(" ", "")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"left_out": 2}, "4 of 6 files of a series came"),
        ({"cut": 700}, "broke off|damaged|of 6 files"),
        ({"junk": True}, "not an answer of DICOMweb"),
        ({"status": 401}, "status 401.*--header-file"),
        ({"status": 500}, "status 500"),
    ],
)
def test_what_comes_by_half_is_refused_in_one_line_and_leaves_nothing(web, slices, tmp_path, fault, said):
    for name, value in fault.items():
        setattr(web, name, value)
    with pytest.raises(NetworkError, match=said) as caught:
        fetch(Server(web.url), slices[0].StudyInstanceUID, tmp_path / "ct")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("status", "said"), [(200, "no such study"), (404, "status 404; no such"), (410, "no more")])
def test_a_study_that_is_not_there_is_no_fault_of_the_network(web, tmp_path, status, said):
    web.status = status
    with pytest.raises(ReadError, match=said):
        fetch(Server(web.url), "1.2.3", tmp_path / "ct")
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_there(net, tmp_path):
    with pytest.raises(NetworkError, match="cannot be reached"):
        fetch(Server(f"http://127.0.0.1:{net.free_port()}"), "1.2.3", tmp_path / "ct")


@pytest.mark.parametrize("uid", ["", "../../etc", "1.2.3/../4", "1" * 65, "abc"])
def test_what_is_no_uid_is_not_asked_for(web, tmp_path, uid):
    with pytest.raises(ReadError, match="no DICOM UID"):
        fetch(Server(web.url), uid, tmp_path / "ct")
    assert web.seen == []


def test_a_folder_that_is_there_stays_as_it_is(web, slices, tmp_path):
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "mine").write_text("keep")
    with pytest.raises(OutputError):
        fetch(Server(web.url), slices[0].StudyInstanceUID, tmp_path / "ct")
    assert (tmp_path / "ct" / "mine").read_text() == "keep"


@pytest.mark.parametrize("url", ["pacs", "ftp://pacs/x", "http://", "file:///etc/passwd"])
def test_another_kind_of_address_is_refused(tmp_path, url):
    with pytest.raises(NetworkError, match="expected an address"):
        fetch(Server(url), "1.2.3", tmp_path / "ct")


def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path):
    with pytest.raises(NetworkError, match="--header-file") as caught:
        fetch(Server("http://me:hush@pacs/x"), "1.2.3", tmp_path / "ct")
    assert "hush" not in str(caught.value)


def test_the_header_goes_with_every_request(web, slices, tmp_path):
    server = Server(web.url, parse_header(f"Authorization: {SECRET}\n"))
    fetch(server, slices[0].StudyInstanceUID, tmp_path / "ct")
    store(server, files_of(slices[:1], tmp_path))
    assert len(web.seen) >= 3
    assert {one["Authorization"] for one in web.seen} == {SECRET}


@pytest.mark.parametrize("text", ["", "hush", "A b: hush", ": hush", "X:", "X: hush\nY: hush", "X: hüsh"])
def test_a_header_of_another_form_is_refused_and_not_repeated(text):
    with pytest.raises(NetworkError, match="expected one line") as caught:
        parse_header(text)
    assert "hush" not in str(caught.value)


def test_files_are_stored_as_they_are(net, web, tmp_path):
    slices = net.make_series(3)
    assert store(Server(web.url), files_of(slices, tmp_path)) == 3
    for one in slices:
        assert dcmread(io.BytesIO(web.files[one.SOPInstanceUID])) == one


def test_a_refusal_inside_an_answer_of_success_is_one(net, web, tmp_path):
    web.refuses = 0xA900
    with pytest.raises(NetworkError, match=r"refused 0\.dcm \(reason 0xA900\) \(0 of 2 files are stored\)"):
        store(Server(web.url), files_of(net.make_series(2), tmp_path))


def test_nothing_is_stored_when_one_file_is_not_dicom(net, web, tmp_path):
    paths = files_of(net.make_series(2), tmp_path)
    (tmp_path / "note.txt").write_text("no DICOM")
    with pytest.raises(ReadError, match=r"note\.txt: not a DICOM file"):
        store(Server(web.url), [*paths, tmp_path / "note.txt"])
    assert web.files == {}
