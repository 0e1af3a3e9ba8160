"""An analysis without a network: the outlines that a case brings are measured, and the result folder is a real one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tumorspread.cohort.cases import Case
from tumorspread.cohort.following import PatientFollowUp
from tumorspread.cohort.rows import Measures
from tumorspread.followup import alignment
from tumorspread.pipeline import measure
from tumorspread.scan.nifti import write_nifti

# Demons of few rounds: these chests lie where they lay.
QUICK_LEVELS = ((4, 8),)


@dataclass(frozen=True)
class OutlinedWork:
    """Leaves behind what a follow-up needs, without reports, which take longest."""

    digest: str = "outlined"
    weights_sha256: str = ""

    def __call__(self, case: Case, folder: Path) -> Measures:
        analysis = measure(case.scan, case.mask)
        (folder / "findings.json").write_text(analysis.findings.to_json())
        write_nifti(analysis.lesions, folder / "lesions.nii.gz")
        write_nifti(analysis.lungs, folder / "lungs.nii.gz")
        return Measures(analysis.findings.burden.count, analysis.findings.burden.volume_ml)


@dataclass(frozen=True)
class LoggedFollowUp(PatientFollowUp):
    """Notes whom it follows; at `ended` it dies with its process."""

    log: str = ""
    ended: str = ""

    def __call__(self, case: Case, folder: Path) -> Measures:
        with open(self.log, "a") as log:
            log.write(f"{case.id}\n")
        if case.id == self.ended:
            os.kill(os.getpid(), 9)
        alignment.LEVELS = QUICK_LEVELS
        return super().__call__(case, folder)
