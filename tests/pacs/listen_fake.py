"""`tumorspread` as a program of its own, all of it but the network that finds the tumours."""

from __future__ import annotations

import fake_analysis

from tumorspread.cli import main
from tumorspread.pacs import analysis

if __name__ == "__main__":
    analysis.SeriesAnalysis = lambda *_, **__: fake_analysis.analyse
    main()
