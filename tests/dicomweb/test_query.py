"""What an archive is asked for, and what of its lists is believed."""

from __future__ import annotations

import pytest
from pydicom.uid import generate_uid

from tumorspread.dicomweb.query import (
    ListedSeries,
    Query,
    find_class,
    find_ct_series,
    find_studies,
    is_query,
    parse_query,
)
from tumorspread.dicomweb.server import Server, open_client
from tumorspread.errors import DatasetError, NetworkError, ReadError


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://host/dicom-web", True),
        ("http://host:8042/dicom-web/", True),
        ("HTTPS://host/x/dicomWeb/studies", True),
        ("https://host/dcm4chee-arc/aets/A/rs/studies?PatientID=a/b.csv", True),
        ("https://host/rs", False),
        ("https://host/study.csv", False),
        ("https://host/dicom-web/ct.nii.gz", False),
        ("https://host/scans/?C=dicom-web", False),
        ("https://dicom-web", False),
        ("s3://bucket/dicom-web", False),
        ("scans/dicom-web", False),
    ],
)
def test_a_query_is_told_from_an_address_by_the_last_part_of_its_path(address, expected):
    assert is_query(address) is expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://host/dicom-web/", Query("http://host/dicom-web", {"ModalitiesInStudy": ["CT"]})),
        ("http://host/dicom-web/studies", Query("http://host/dicom-web")),
        (
            "https://host/rs/studies?StudyDate=20200101-20201231&00100020=a%20b&limit=20&offset=5",
            Query("https://host/rs", {"StudyDate": ["20200101-20201231"], "00100020": ["a b"]}, 20, 5),
        ),
        ("http://host/dicom-web?PatientID=7", Query("http://host/dicom-web", {"PatientID": ["7"]})),
    ],
)
def test_what_an_address_asks_for(address, expected):
    assert parse_query(address) == expected


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("StudyDat=2020", "StudyDat: no attribute"),
        ("token=hush", "token: no attribute"),
        ("99999999=hush", "no attribute"),
        ("limit=ten", "limit=ten: expected one whole number"),
        ("offset=-1", "offset=-1: expected"),
        ("limit=1&limit=2", "expected one whole number"),
    ],
)
def test_what_a_server_would_pass_over_is_refused_and_its_value_not_repeated(query, said):
    with pytest.raises(DatasetError, match=said) as caught:
        parse_query(f"http://host/dicom-web/studies?{query}")
    assert "hush" not in str(caught.value)


@pytest.fixture
def uids(net, web):
    """Eleven studies of two slices: three pages."""
    slices = [net.make_series(2) for _ in range(11)]
    for number, series in enumerate(slices):
        for one in series:
            one.PatientID = f"p{number}"
        web.add(series)
    return [series[0].StudyInstanceUID for series in slices]


def found(web, **query):
    with open_client(Server(web.url)) as client:
        return [one.uid for one in find_studies(client, Query(web.url, **query))]


@pytest.mark.parametrize(("limit", "offset"), [(None, 0), (None, 3), (6, 0), (6, 3), (3, 9), (0, 0), (5, 20)])
def test_all_pages_come_and_of_these_what_was_asked_for(web, uids, limit, offset):
    expected = uids[offset:] if limit is None else uids[offset : offset + limit]
    assert found(web, limit=limit, offset=offset) == expected


def test_a_study_is_listed_with_patient_date_and_modalities(web, uids):
    with open_client(Server(web.url)) as client:
        (one,) = find_studies(client, Query(web.url, {"PatientID": ["p3"]}))
    assert (one.uid, one.modalities, one.patient, one.date) == (uids[3], ("CT",), "p3", "20200102")


def test_a_server_that_gives_the_same_page_for_ever_is_refused(web, uids):
    web.honours_offset = False
    with pytest.raises(NetworkError, match="honours offset"):
        found(web)


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ({"junk": True}, NetworkError, "not an answer of DICOMweb"),
        ({"status": 404}, ReadError, "no DICOMweb under this address"),
        ({"status": 503}, NetworkError, "status 503"),
        ({"hides": ("0020000D",)}, NetworkError, "without a UID"),
        ({"dies_after": -1}, NetworkError, "cannot be reached"),
        ({"secret": "Bearer other"}, NetworkError, "status 401; .*--header-file"),
    ],
)
def test_a_list_that_cannot_be_had_is_one_line(web, uids, fault, kind, said):
    for name, value in fault.items():
        setattr(web, name, value)
    with pytest.raises(kind, match=said) as caught:
        found(web)
    assert "\n" not in str(caught.value)


def test_series_are_those_of_ct_with_their_number_of_images(net, web):
    study = generate_uid()
    ct, report = net.make_series(7, study=study), net.make_report(net.make_series(1, study=study)[0])
    web.add([*ct, report])
    uid = ct[0].SeriesInstanceUID
    with open_client(Server(web.url)) as client:
        assert find_ct_series(client, study) == [ListedSeries(uid, 7)]
        assert find_class(client, study, uid) == net.CT
        assert find_ct_series(client, "1.2.3") == []
        web.hides = ("00201209",)
        assert find_ct_series(client, study) == [ListedSeries(uid, None)]
        web.status = 404
        assert (find_ct_series(client, study), find_class(client, study, uid)) == ([], "")
