"""Real patients to try things on: the CT series of a lung tumour and the oncologist's contours.

Crops of four NSCLC-Radiomics patients (CC BY-NC 3.0) that lie in the wheel of pycerr on PyPI. pip downloads the wheel;
of it only the patient asked for and the note on its licence are unpacked, and nothing is installed or run.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from tumorspread.data.cases import join_names, new_folder
from tumorspread.errors import DatasetError, DownloadError

PACKAGE = "pycerr==2.5.1"
WHEEL_SHA256 = "5c3e82cc387538c5c38143827314fc2aa743ef886e8518f7f52beff6805c635d"
INSIDE = PurePosixPath("cerr/datasets/radiomics_phantom_dicom")
PATIENTS, LICENCE = ("pat_4", "pat_1", "pat_2", "pat_3"), "README_LICENSE.txt"
# The contours lie beside the slices; a reader of the series need not see them.
CONTOURS = "RS"
TIMEOUT_S = 600


def fetch_sample(out: Path, *, patient: str = PATIENTS[0], wheel: Path | None = None) -> Path:
    """Fetch a sample patient.

    Args:
        out: folder to make: `ct/` with the slices, `rtstruct.dcm`, and the note on the licence. It appears whole or not
            at all.
        patient: one of `PATIENTS`.
        wheel: the wheel where it is at hand; None downloads it with pip.

    Returns:
        `out`.

    Raises:
        DownloadError: pip cannot download the wheel, or it is not the one that is expected.
        DatasetError, OutputError: there is no such patient, the folder is not empty or cannot be written.
    """
    if patient not in PATIENTS:
        raise DatasetError(f"{patient}: no sample patient; expected one of {join_names(sorted(PATIENTS))}")
    with tempfile.TemporaryDirectory() as place:
        found = wheel or _download(Path(place))
        with new_folder(out) as folder:
            _unpack(found, patient, folder)
    return out


def _download(place: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadError(f"pip did not download {PACKAGE} ({error}); is there a network?") from error
    wheels = list(place.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no wheel came"]
        raise DownloadError(f"pip did not download {PACKAGE} ({lines[-1]}); is there a network?")
    return wheels[0]


def _unpack(wheel: Path, patient: str, folder: Path) -> None:
    try:
        with wheel.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != WHEEL_SHA256:
            raise DownloadError(f"{wheel.name}: its sha256 is {found[:12]}..., expected {WHEEL_SHA256[:12]}...")
        with zipfile.ZipFile(wheel) as archive:
            (folder / "ct").mkdir()
            for name in archive.namelist():
                path = PurePosixPath(name)
                if path.parent == INSIDE / patient:
                    target = folder / "rtstruct.dcm" if CONTOURS in path.stem.split("_") else folder / "ct" / path.name
                    target.write_bytes(archive.read(name))
            (folder / "LICENCE.txt").write_bytes(archive.read(str(INSIDE / LICENCE)))
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise DownloadError(f"{wheel}: not the wheel of {PACKAGE} ({error})") from error
