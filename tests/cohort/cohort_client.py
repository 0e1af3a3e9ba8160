"""A client that a test can kill: runs the plan in a folder with the fake analysis."""

from __future__ import annotations

import sys
from pathlib import Path

from fake_work import FakeWork

from tumorspread.cohort.engine import Engine, open_client
from tumorspread.cohort.outcome import write_outcome
from tumorspread.cohort.place import Place
from tumorspread.cohort.run import Options, run_cases
from tumorspread.errors import TumorspreadError


def main() -> None:
    folder, workers, scheduler, sleep_s = sys.argv[1:5]
    place = Place(Path(folder))
    engine = Engine(workers=int(workers), scheduler=scheduler or None)
    work = FakeWork(sleep_s=float(sleep_s), log=f"{folder}.log")
    try:
        with open_client(engine) as client:
            ended = run_cases(client, work, place, 0, options=Options())
    except TumorspreadError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    write_outcome(place)
    print(ended.rows, ended.failed, flush=True)


if __name__ == "__main__":
    main()
