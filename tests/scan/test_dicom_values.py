"""What of a header may stand in a message."""

from __future__ import annotations

import warnings

import pydicom
import pytest

from tumorspread.errors import ReadError
from tumorspread.scan.dicom import read_dicom
from tumorspread.scan.dicom_values import fault, shown


@pytest.mark.parametrize("value", ["1.2.840.10008.1", "B30f", "Br40d\\3", "LUNG+", "FC03", "CT", "", "2"])
def test_uids_codes_and_numbers_are_shown(value):
    assert shown(value) == value


@pytest.mark.parametrize("value", ["1.2\x10\0\x10\0PN\x08\0Doe", "Doe^Jane", "1" * 65, "a\nb", "Łódź"])
def test_what_damage_may_have_moved_there_is_not(value):
    assert shown(value) == "(unreadable)"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            ValueError("could not convert string to float: 'Doe^Jane'"),
            "ValueError: could not convert string to float: ...",
        ),
        (ValueError("received b'Doe\\'s\nmore"), "ValueError: received b..."),
        (KeyError("Doe"), "KeyError: ..."),
        (EOFError(), "EOFError"),
        (OSError("no space"), "OSError: no space"),
    ],
)
def test_the_values_that_an_error_quotes_are_left_out(error, text):
    assert fault(error).startswith(text)
    assert "Doe" not in fault(error)


def test_a_length_that_takes_in_the_patients_name_does_not_bring_it_into_a_message(series, caplog):
    """The SeriesInstanceUID's length is raised to reach over the name behind it, which pydicom warns of and logs."""

    def change(slices):
        slices[2].add_new(0x0020000F, "LO", "Doe^Jane")

    folder = series(change)
    content = bytearray((folder / "slice_02.dcm").read_bytes())
    uid = pydicom.dcmread(folder / "slice_02.dcm").SeriesInstanceUID
    start = content.index(b"\x20\0\x0e\0UI")
    content[start + 6] = len(uid) + len(uid) % 2 + 16
    (folder / "slice_02.dcm").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ReadError, match=r"0 CT series.*\(unreadable\)") as refusal:
            read_dicom(folder, series="9.9")
    assert "Doe" not in str(refusal.value)
    assert caplog.records == []
    with pytest.warns(UserWarning, match="Doe"):
        assert "Doe" in pydicom.dcmread(folder / "slice_02.dcm", force=True).SeriesInstanceUID
    assert "Doe" in caplog.text
