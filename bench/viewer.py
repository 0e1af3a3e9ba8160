"""How long an edit takes to be measured and kept, and what a page needs until its first slice.

A scan is measured with a mask of balls in its lungs, or taken as a phantom of 512 x 512 x 275 where none is given. The
edits are strokes of 6 mm across a lesion, at the pleura too, over the HTTP API of a viewer in this process.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import psutil

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.pipeline import measure
from tumorspread.report.folder import write_analysis
from tumorspread.report.scan_note import note_scan
from tumorspread.scan.nifti import write_nifti
from tumorspread.scan.read import read
from tumorspread.scan.volume import Volume
from tumorspread.viewer.serve import serve
from tumorspread.viewer.shelf import Shelf

LESIONS, EDITS, STROKE_MM = 20, 12, 6.0


def big_scan() -> Volume:
    """A phantom of 512 x 512 x 275; drawn at half of that, which takes an eighth of the time."""
    phantom = make_phantom(3, PhantomConfig((2.5, 1.4, 1.4), (345.0, 358.4, 358.4), (1, 1), (20, 30), vessels=20))
    fine = phantom.scan.voxels
    for axis in range(3):
        fine = fine.repeat(2, axis)
    noise = np.random.default_rng(0).integers(-20, 20, fine.shape, dtype=np.int16)
    return Volume.upright(fine[:275].astype(np.int16) + noise[:275], (1.25, 0.7, 0.7))


def balls(scan: Volume, inside: np.ndarray, count: int) -> np.ndarray:
    """A mask of balls of 4 to 14 mm radius about places in the lungs."""
    rng = np.random.default_rng(1)
    mask = np.zeros(scan.shape, np.uint8)
    places = np.argwhere(inside)
    while count:
        centre, radius = places[rng.integers(len(places))], rng.uniform(4, 14)
        box, ball = _ball(scan, centre, radius)
        if not mask[box].any():
            mask[box] |= ball
            count -= 1
    return mask


def _ball(scan: Volume, centre: np.ndarray, radius: float) -> tuple[tuple[slice, ...], np.ndarray]:
    reach = [int(radius / mm) + 1 for mm in scan.spacing_mm]
    box = tuple(slice(max(0, c - r), min(n, c + r + 1)) for c, r, n in zip(centre, reach, scan.shape, strict=True))
    steps = np.ogrid[box]
    away = sum(((at - c) * mm) ** 2 for at, c, mm in zip(steps, centre, scan.spacing_mm, strict=True))
    return box, away <= radius**2


def stroke(scan: Volume, centre: np.ndarray) -> list[list[int]]:
    """Runs of a ball about a voxel."""
    box, ball = _ball(scan, centre, STROKE_MM)
    flat = np.ravel_multi_index([at + b.start for at, b in zip(np.nonzero(ball), box, strict=True)], scan.shape)
    starts = np.flatnonzero(np.diff(flat, prepend=-2) != 1)
    return [[int(flat[a]), int(b - a)] for a, b in zip(starts, [*starts[1:], len(flat)], strict=True)]


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = read(sys.argv[1]) if len(sys.argv) > 1 else big_scan()
        write_nifti(scan, folder / "ct.nii.gz")
        first = measure(scan, scan.with_voxels(np.zeros(scan.shape, np.uint8)))
        inside = np.ones(scan.shape, bool) if first.lungs is None else first.lungs.voxels > 0
        analysis = measure(folder / "ct.nii.gz", scan.with_voxels(balls(scan, inside, LESIONS)))
        (folder / "result").mkdir()
        write_analysis(analysis, folder / "result")
        note_scan(folder / "result", folder / "ct.nii.gz")
        print(f"voxels {'x'.join(map(str, scan.shape))}")
        print(f"lesions {len(analysis.findings.lesions)}")
        del first, analysis, inside
        with closing(Shelf()) as shelf:
            shelf.add(folder / "result")
            _serve_and_ask(shelf, folder, scan)


def _serve_and_ask(shelf: Shelf, folder: Path, scan: Volume) -> None:
    told: list[str] = []
    ready = threading.Event()

    def started(address: str) -> None:
        told.append(address)
        ready.set()

    threading.Thread(target=serve, args=(shelf, folder / "uploads", 0, started), daemon=True).start()
    ready.wait()
    found = re.fullmatch(r"(.*/)\?token=(.*)", told[0])
    if found is None:
        raise SystemExit(f"no address in {told[0]!r}")
    with httpx.Client(
        base_url=found[1], headers={"Authorization": f"Bearer {found[2]}"}, timeout=600, trust_env=False
    ) as client:
        _until_started(client)
        _first_slice(client)
        _edit(client, scan)
    print(f"memory_gib {psutil.Process().memory_info().rss / 2**30:.2f}")


def _until_started(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            client.get("/api/cases")
            return
        except httpx.TransportError:
            time.sleep(0.05)


def _first_slice(client: httpx.Client) -> None:
    start = time.perf_counter()
    client.get("/api/cases/result").raise_for_status()
    print(f"open_case_seconds {time.perf_counter() - start:.2f}")
    for name in ("scan", "lesions"):
        start = time.perf_counter()
        size = len(client.get(f"/api/cases/result/{name}.nii.gz").raise_for_status().content)
        print(f"{name}_seconds {time.perf_counter() - start:.2f}")
        print(f"{name}_bytes {size}")
        if name == "scan":
            print(f"first_slice_bytes {size}")


def _edit(client: httpx.Client, scan: Volume) -> None:
    findings = client.get("/api/cases/result/findings").json()
    seconds, cpu = [], []
    for revision in range(EDITS):
        lesion = findings["lesions"][revision % len(findings["lesions"])]
        # From the middle of a lesion to its edge and beyond.
        end = scan.to_index(lesion["long_axis_ends_mm"][0])
        centre = np.clip(np.rint(end), 0, np.array(scan.shape) - 1).astype(int)
        body = {"revision": revision, "author": "bench", "kind": "paint", "lesion": lesion["id"]}
        start, used = time.perf_counter(), time.process_time()
        answer = client.post("/api/cases/result/edits", json={**body, "runs": stroke(scan, centre)})
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
        answer.raise_for_status()
        findings = answer.json()["findings"]
    print(f"edit_seconds {np.median(seconds):.3f}")
    print(f"edit_seconds_first {seconds[0]:.3f}")
    print(f"edit_seconds_worst {max(seconds):.3f}")
    print(f"edit_cpu_seconds {np.median(cpu):.3f}")
    print(f"edit_cpu_seconds_worst {max(cpu):.3f}")
    start = time.perf_counter()
    client.post("/api/cases/result/undo", json={"revision": EDITS, "author": "bench"}).raise_for_status()
    print(f"undo_seconds {time.perf_counter() - start:.3f}")


main()
