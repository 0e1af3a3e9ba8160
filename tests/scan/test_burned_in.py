"""Which files need a person's eye."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from tumorspread.scan.burned_in import find_pixel_risks

CLASS = "1.2.840.10008.5.1.4.1.1."


def risks(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return [remark.code for remark in find_pixel_risks(dataset)]


def test_an_ordinary_slice_shows_nobody(make_slices):
    (dataset,) = make_slices(count=1)
    assert find_pixel_risks(dataset) == ()
    assert risks() == risks(BurnedInAnnotation="NO", RecognizableVisualFeatures="NO", ImageType=None) == []


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned_in"),
        ({"BurnedInAnnotation": "YES "}, "burned_in"),
        ({"RecognizableVisualFeatures": "YES"}, "recognizable_features"),
        ({"SOPClassUID": f"{CLASS}7"}, "screen_capture"),
        ({"SOPClassUID": f"{CLASS}7.2"}, "screen_capture"),
        ({"SOPClassUID": f"{CLASS}6.1"}, "screen_capture"),
        ({"SOPClassUID": f"{CLASS}77.1.4"}, "screen_capture"),
        ({"Modality": "US"}, "screen_capture"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen_capture"),
        ({"ImageType": "ORIGINAL\\SECONDARY"}, "screen_capture"),
        ({"SOPClassUID": f"{CLASS}104.1"}, "document"),
    ],
)
def test_what_may_show_a_name_is_told(values, code):
    assert risks(**values) == [code]


@pytest.mark.parametrize("sop_class", ["2", "2.1", "66.4", "88.33", "481.3", "70", "771"])
def test_neighbours_of_those_classes_are_not_suspected(sop_class):
    assert risks(SOPClassUID=f"{CLASS}{sop_class}") == []


def test_an_overlay_in_the_pixels_is_told_and_one_beside_them_is_not():
    dataset = Dataset()
    dataset.add_new(0x60000102, "US", 12)
    assert [remark.code for remark in find_pixel_risks(dataset)] == ["pixel_overlay"]
    dataset.add_new(0x60003000, "OW", b"\0\0")
    assert find_pixel_risks(dataset) == ()
    dataset.add_new(0x60020102, "US", 0)
    assert find_pixel_risks(dataset) == ()
