"""What all DICOM results share: the analysis, its source, the codes of what was found, and who says so.

Codes: SNOMED CT as PS3.16 lists it (CID 7150, 7159, 4, 244), algorithm family by CID 7162.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from tumorspread._version import __version__
from tumorspread.measurement.lesions import is_in_lungs
from tumorspread.measurement.parts import Lesion, Origin
from tumorspread.pipeline import Analysis
from tumorspread.scan.dicom_source import Source

MAKER = "tumorspread"
NEOPLASM = Code("108369006", "SCT", "Neoplasm")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LUNG = Code("39607008", "SCT", "Lung")
CHEST = Code("816094009", "SCT", "Chest")
SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
FAMILY = Code("123110", "DCM", "Artificial Intelligence")
BY_HAND = Code("123108", "DCM", "Manual Processing")

# Numbers of the series, by kind: above those that scanners give.
SERIES_NUMBERS = {"lesions": 9001, "measurements": 9002, "contours": 9003}
# In a field of 16 characters (SH) no whole hash has room; 12 digits tell any two weights apart.
SHORT_HASH = 12


@dataclass(frozen=True, eq=False)
class Draft:
    """What is to be written.

    Attributes:
        analysis: the measured scan.
        source: the series that it was read from.
        tracking_uids: one for each lesion of the findings, the same in every object.
        date, time: when the results were made, as DICOM writes it.
        is_on_slices: whether the label map has the pixels of the series; resampled for a tilted gantry, it has its
            slices alone.
    """

    analysis: Analysis
    source: Source
    tracking_uids: tuple[str, ...]
    date: str
    time: str
    is_on_slices: bool

    @property
    def labels(self) -> NDArray[Any]:
        """The label map in the smallest type that holds it: 0 outside, n in lesion n."""
        count = len(self.analysis.findings.lesions)
        return self.analysis.lesions.voxels.astype(np.min_scalar_type(count), copy=False)

    def instance(self, kind: str) -> dict[str, Any]:
        """The fields of a new instance in a series of its own, as highdicom's classes take them."""
        origin = self.analysis.findings.origin
        return {
            "series_instance_uid": generate_uid(prefix=None),
            "series_number": SERIES_NUMBERS[kind],
            "sop_instance_uid": generate_uid(prefix=None),
            "instance_number": 1,
            "manufacturer": MAKER,
            "manufacturer_model_name": MAKER if origin.weights is None else f"{MAKER} {origin.weights}"[:64],
            "software_versions": version(origin),
            "device_serial_number": (origin.weights_sha256 or __version__)[:64],
            "series_description": f"{MAKER} {kind}, for research use only",
            "series_date": self.date,
            "series_time": self.time,
        }


def tracking_id(lesion: Lesion) -> str:
    """What a lesion is called in every object."""
    return f"Lesion {lesion.id}"


def place(lesion: Lesion) -> tuple[Code, Code | None]:
    """The anatomic region of a lesion, and its side where one is known."""
    return LUNG if is_in_lungs(lesion) else CHEST, None if lesion.side is None else SIDES[lesion.side]


def version(origin: Origin) -> str:
    """The version of software and weights in one text."""
    return __version__ if origin.weights_sha256 is None else f"{__version__}+{origin.weights_sha256[:SHORT_HASH]}"


def algorithm_name(origin: Origin) -> str:
    """What drew the outlines; not by the name of a mask's file, which may be a patient's."""
    return f"{MAKER} {origin.weights}"[:64] if origin.weights else "mask brought along"


def parameters(origin: Origin) -> dict[str, str]:
    """How it drew them: all that tells one run from another."""
    told = {
        "weights_sha256": origin.weights_sha256,
        "threshold": origin.threshold,
        "operating_point": origin.operating_point,
        "engine": origin.engine,
    }
    return {name: str(value) for name, value in told.items() if value is not None}
