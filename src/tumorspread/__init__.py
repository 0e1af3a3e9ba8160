"""From a chest CT to how much lung tumour there is, where it is, and how far it has spread. Research use only.

The public names are loaded when they are first used: importing the package imports neither torch nor SciPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tumorspread._version import __version__

if TYPE_CHECKING:
    from tumorspread.errors import TumorspreadError
    from tumorspread.followup.follow import Course, Visit, follow, open_visit
    from tumorspread.followup.record import FollowUp
    from tumorspread.measurement.findings import Findings
    from tumorspread.measurement.measured import MeasureOptions
    from tumorspread.pipeline import Analysis, analyse, measure
    from tumorspread.scan.dicom import list_series
    from tumorspread.scan.nifti import write_nifti
    from tumorspread.scan.read import read, read_labels, read_mask
    from tumorspread.scan.volume import Volume

_HOMES = {
    "Analysis": "pipeline",
    "Course": "followup.follow",
    "Findings": "measurement.findings",
    "FollowUp": "followup.record",
    "MeasureOptions": "measurement.measured",
    "TumorspreadError": "errors",
    "Visit": "followup.follow",
    "Volume": "scan.volume",
    "analyse": "pipeline",
    "follow": "followup.follow",
    "list_series": "scan.dicom",
    "measure": "pipeline",
    "open_visit": "followup.follow",
    "read": "scan.read",
    "read_labels": "scan.read",
    "read_mask": "scan.read",
    "write_nifti": "scan.nifti",
}

__all__ = [
    "Analysis",
    "Course",
    "Findings",
    "FollowUp",
    "MeasureOptions",
    "TumorspreadError",
    "Visit",
    "Volume",
    "__version__",
    "analyse",
    "follow",
    "list_series",
    "measure",
    "open_visit",
    "read",
    "read_labels",
    "read_mask",
    "write_nifti",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
