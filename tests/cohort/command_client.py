"""The real command with the fake analysis, for a test to interrupt: SLEEP_S, then the command's arguments."""

from __future__ import annotations

import sys

from fake_work import FakeWork

from tumorspread.cli import main
from tumorspread.cohort import analysis

if __name__ == "__main__":
    sleep_s, log = float(sys.argv[1]), sys.argv[2]
    analysis.CaseAnalysis = lambda settings, machine, credentials: FakeWork(settings.digest, sleep_s, log)
    sys.argv[:3] = ["tumorspread"]
    main()
