"""A quick analysis whose answer is a formula of the case, and which can end in every way that a real one can.

A module of its own, since workers import it by its name.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tumorspread.cohort.cases import Case
from tumorspread.cohort.plan import make_plan
from tumorspread.cohort.rows import Measures
from tumorspread.errors import NetworkError, ReadError, WeightsError


def volume_of(case: str) -> float:
    """The true answer."""
    return sum(case.encode()) / 7


@dataclass(frozen=True)
class FakeWork:
    """Does what the file of a case says.

    `done`, `refuse`, `weights`, `fault`, `die` (with its process), `hang`, `network N` (fails N times first).
    """

    name: str = "fake"
    sleep_s: float = 0.0
    log: str = ""

    @property
    def digest(self) -> str:
        return self.name

    @property
    def weights_sha256(self) -> str:
        return "0" * 64

    def __call__(self, case: Case, folder: Path) -> Measures:
        if self.log:
            with open(self.log, "a") as log:
                log.write(f"{case.id} {os.getpid()}\n")
        time.sleep(self.sleep_s)
        self._end(case)
        volume = volume_of(case.id)
        (folder / "findings.json").write_text(json.dumps({"volume_ml": volume}))
        return Measures(lesion_count=1, volume_ml=volume, lesions=({"lesion": 1, "volume_ml": volume},))

    def _end(self, case: Case) -> None:
        words = Path(case.scan).read_text().split()
        if words[0] == "refuse":
            raise ReadError(f"{case.id}: missing slices")
        if words[0] == "weights":
            raise WeightsError("lung: not those that the run began with")
        if words[0] == "fault":
            raise KeyError("the patient's name")
        if words[0] == "die":
            os.kill(os.getpid(), 9)
        if words[0] == "hang":
            time.sleep(600)
        if words[0] == "network":
            tries = Path(f"{case.scan}.tries")
            tries.touch()
            tries.write_text(tries.read_text() + "x")
            if len(tries.read_text()) <= int(words[1]):
                raise NetworkError("no answer")


def make_cases(folder: Path, ways: dict[str, str]) -> list[Case]:
    """A case for each name, whose file says in which way it ends."""
    folder.mkdir(exist_ok=True)
    for name, way in ways.items():
        (folder / name).write_text(way)
    return [Case(name, str(folder / name)) for name in ways]


def planned(cases, place, work):
    """A plan of these cases."""
    place.prepare()
    return make_plan(cases, place, work.digest)
