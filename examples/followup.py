"""One synthetic patient at three dates: lesions that grow, shrink, vanish and appear, followed, against the truth.

Between the dates the patient lies elsewhere and breathes deeper. Prints true against measured growth and doubling time,
and writes the scans, their masks and the report into a folder. Usage: python examples/followup.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from tumorspread import Visit, Volume, follow, measure, write_nifti
from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.report.folder import open_folder, write_course
from tumorspread.report.timeline import timeline_figure

CHEST = PhantomConfig(spacing_mm=(2.0, 1.5, 1.5), tumours=(0, 0))
DAYS = (0.0, 92.0, 183.0)
# Centre in the first scan, LPS mm, and diameter at each date; 0 is not there.
LESIONS = (
    ((72.0, 20.0, 10.0), (28.0, 25.0, 21.0)),
    ((-70.0, 10.0, 30.0), (14.0, 16.0, 19.0)),
    ((-62.0, -25.0, -20.0), (11.0, 7.0, 0.0)),
    ((65.0, -20.0, 42.0), (0.0, 0.0, 12.0)),
)


def main(out: Path) -> None:
    """Make the dates, follow the lesions, print the table."""
    chest = make_phantom(4, CHEST).scan
    visits = []
    with open_folder(out, force=True) as folder:
        for number in range(len(DAYS)):
            scan, mask = one_date(chest, number)
            write_nifti(scan, folder / f"ct_{number}.nii.gz")
            write_nifti(mask, folder / f"mask_{number}.nii.gz")
            visits.append(Visit.of(measure(scan, mask, source=f"ct_{number}.nii.gz")))
        course = follow(visits, days=list(DAYS))
        write_course(course, folder)
        (folder / "timeline.png").write_bytes(timeline_figure(course.followup))
    print("lesion   volume change %, true > measured   doubling time days, true > measured")
    for (_, diameters), track in zip(LESIONS, course.followup.tracks, strict=True):
        seen = [(day, d) for day, d in zip(DAYS, diameters, strict=True) if d or day == DAYS[-1]]
        (first_day, first), (last_day, last) = seen[0], seen[-1]
        growth = 100 * ((last / first) ** 3 - 1) if last_day > first_day else None
        time = (last_day - first_day) * np.log(2) / (3 * np.log(last / first)) if growth and last else None
        change = track.change
        growths, times = shown(growth, change.volume_percent), shown(time, change.doubling_time_days)
        print(f"{track.id:<9}{growths:<36}{times}   {track.points[-1].state}")
    print(f"response {course.followup.time_points[-1].overall_response}")


def shown(true: float | None, measured: float | None) -> str:
    """Both numbers, or a dash."""
    return " > ".join("-" if value is None else f"{value:.0f}" for value in (true, measured))


def one_date(chest: Volume, number: int) -> tuple[Volume, Volume]:
    """Scan and mask of one date: the chest breathed deeper by 3 % a date, and moved."""
    stretch = np.array([1 + 0.03 * number, 1.0, 1.0])
    index = np.moveaxis(np.indices(chest.shape), 0, -1)
    middle = (np.array(chest.shape) - 1) / 2
    there = (index - middle) / stretch + middle
    warped = ndimage.map_coordinates(
        chest.voxels.astype(np.float32), np.moveaxis(there, -1, 0), order=1, mode="nearest"
    )
    points, hu, mask = chest.to_world(index), warped, np.zeros(chest.shape, np.uint8)
    for centre, diameters in LESIONS:
        moved = np.array(centre) * stretch[::-1]
        depth = diameters[number] / 2 - np.linalg.norm(points - moved, axis=-1)
        share = np.clip(0.5 + depth / 1.7, 0, 1) * (diameters[number] > 0)
        hu = hu * (1 - share) + 40 * share
        mask |= ((depth > 0) & (diameters[number] > 0)).astype(np.uint8)
    noise = np.random.default_rng(number).normal(0, 12, chest.shape)
    affine = chest.affine.copy()
    affine[:3, 3] += (7.0 * number, -5.0 * number, 12.0 * number)
    scan = Volume(np.round(hu + noise).astype(np.int16), affine)
    return scan, scan.with_voxels(mask)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "followup"))
