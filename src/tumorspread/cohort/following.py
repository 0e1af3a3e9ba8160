"""What is done with a patient: `tumorspread follow` on the result folders of his scans, each with its scan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tumorspread._version import __version__
from tumorspread.cohort.analysis import fetched
from tumorspread.cohort.apart import run_apart
from tumorspread.cohort.cases import Case, digest_of
from tumorspread.cohort.courses import plan_follow_up
from tumorspread.cohort.place import Place, at_hand
from tumorspread.cohort.progress import Progress
from tumorspread.cohort.rows import Cell, Measures
from tumorspread.cohort.run import Ended, Options, run_cases
from tumorspread.dicomweb.server import Credentials

if TYPE_CHECKING:
    from tumorspread.followup.follow import Visit
    from tumorspread.followup.record import FollowUp

# Of each scan that was followed; those of `TimePoint` mean what they mean there.
VISIT_COLUMNS = (
    "matched_count", "new_count", "gone_count", "not_covered_count", "volume_ml_error", "volume_change_percent",
    "volume_change_percent_error", "is_change_beyond_error", "sum_of_target_axes_mm", "target_response",
    "other_response", "overall_response", "volume_response", "lung_dice_after", "missing",
)  # fmt: skip


@dataclass(frozen=True)
class PatientFollowUp:
    """A callable that goes to the workers, as `CaseAnalysis` does.

    Attributes:
        place: of the cases.
        tilt: as the scans were read, see `Settings`.
        threads: CPU threads of the registration; None takes all cores.
        credentials: as for `CaseAnalysis`.
        software: version of tumorspread.
    """

    place: Place
    tilt: Literal["resample", "refuse"] = "resample"
    threads: int | None = None
    credentials: Credentials = field(default_factory=Credentials)
    software: str = f"tumorspread {__version__}"

    @property
    def digest(self) -> str:
        """Of the settings; those of the cases stand in the patient's stamp."""
        return digest_of(json.dumps([self.tilt, self.software]))[:16]

    @property
    def weights_sha256(self) -> str:
        """None are used."""
        return ""

    def __call__(self, case: Case, folder: Path) -> Measures:
        """Follow a patient and write `followup.json`, `tracks.csv` and `report.html`.

        Raises:
            ReadError, GeometryError, MaskError: a scan or its results cannot be read, or do not belong together.
            DownloadError, NetworkError: they cannot be fetched.
        """
        import SimpleITK as sitk

        from tumorspread.followup.follow import follow
        from tumorspread.report.folder import write_course

        if self.threads is not None:
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(self.threads)
        with ExitStack() as held:
            visits = [self._open(visit, folder, held) for visit in case.visits]
            course = follow(visits, days=days_of([visit.date for visit in case.visits]))
            write_course(course, folder)
        found = course.followup
        last = found.time_points[-1]
        return Measures(
            last.count,
            last.volume_ml,
            sum_of_target_axes_mm=last.sum_of_target_axes_mm,
            warnings=tuple(remark.code for remark in found.warnings),
            warning_texts=tuple(remark.text for remark in found.warnings),
            visits=tuple(visit_cells(visit.id, found, number) for number, visit in enumerate(case.visits)),
        )

    def _open(self, visit: Case, folder: Path, held: ExitStack) -> Visit:
        from tumorspread.followup.follow import open_result

        result = held.enter_context(at_hand(self.place.address(visit.id)))
        scan = held.enter_context(fetched(visit, self.credentials, folder))
        return open_result(result, scan, series=visit.series, tilt=self.tilt)


def follow_patients(
    client: Any, work: PatientFollowUp, options: Options = Options(), tell: Callable[[Progress], None] = lambda p: None
) -> Ended | None:
    """Follow the patients with several dates, as `run_cases` does cases: each one folder and one row.

    Args:
        client: `distributed.Client`.
        work: with the place of the cases.
        options: of the run; registration needs no resources.
        tell: called about once a second.

    Returns:
        None where there is nothing to do.

    Raises:
        NetworkError, OutputError: as `run_cases`.
    """
    plan = run_apart(plan_follow_up, "sorts the patients", work.place, work.digest, options.redo)
    if not plan.to_do:
        return None
    return run_cases(client, work, work.place.patients, plan.to_do, options=replace(options, resources={}), tell=tell)


def days_of(dates: list[str | None]) -> list[float]:
    """Days since the first of some dates, ascending."""
    days = [date.fromisoformat(day) for day in dates if day is not None]
    return [float((day - days[0]).days) for day in days]


def visit_cells(case: str, followup: FollowUp, number: int) -> dict[str, Cell]:
    """The values of one scan of a follow-up by column.

    Args:
        case: id of the scan.
        followup: of the patient.
        number: of the scan, from 0.

    Returns:
        `case` and `VISIT_COLUMNS`. Of lesions: those that an earlier scan has too, new ones, tracks that are gone since
        the scan before, tracks whose place this scan does not show; None at the baseline. The change is that of the
        whole volume since the baseline; `missing` says why a value is none.
    """
    point = followup.time_points[number]
    cells: dict[str, Cell] = {"case": case, **{name: getattr(point, name, None) for name in VISIT_COLUMNS}}
    if number == 0:
        return cells
    states = Counter(track.points[number].state for track in followup.tracks)
    new = len(point.new_lesion_ids)
    cells |= {"matched_count": point.count - new, "new_count": new, "gone_count": states["gone"]}
    change, reason = _volume_change(followup, number)
    reasons = point.reasons | ({"volume_change_percent": reason} if reason else {})
    missing = "; ".join(f"{name}: {why}" for name, why in reasons.items() if cells.get(name) is None)
    return cells | change | {"not_covered_count": states["not_covered"], "missing": missing or None}


def _volume_change(followup: FollowUp, number: int) -> tuple[dict[str, Cell], str]:
    """Change of the whole volume since the baseline with its error bar, as of a track; or why there is none."""
    from tumorspread.followup.tracks import exceeds, log_error

    first, point = followup.time_points[0], followup.time_points[number]
    if not first.volume_ml:
        return {}, "there was no tumour at baseline"
    if any(track.points[n].state == "not_covered" for track in followup.tracks for n in (0, number)):
        return {}, "this scan or the baseline does not show the place of a lesion"
    ratio, spread = point.volume_ml / first.volume_ml, log_error(first, point)
    cells: dict[str, Cell] = {"volume_change_percent": 100 * (ratio - 1)}
    if spread is not None:
        cells["volume_change_percent_error"] = 100 * ratio * spread
        cells["is_change_beyond_error"] = exceeds(ratio, spread)
    return cells, ""
