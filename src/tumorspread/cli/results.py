"""What the verbs on one scan do with their answer: compare it, write it, print it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tumorspread.cli.terminal import print_table, tell

if TYPE_CHECKING:
    from tumorspread.measurement.findings import Findings
    from tumorspread.pipeline import Analysis
    from tumorspread.scan.volume import Volume


def check_pdf(wanted: bool) -> None:
    """Refuse `--pdf` before the work where no PDF can be written."""
    if wanted:
        from tumorspread.report import pdf

        pdf.check_pdf()


def read_reference(reference: Path | None, scan: Volume) -> Volume | None:
    """The mask to compare with, read before the work since it may not fit the scan."""
    from tumorspread.scan.read import read_mask

    return None if reference is None else read_mask(reference, scan)


def finish(analysis: Analysis, folder: Path, out: Path, as_json: bool, *, reference: Volume | None, pdf: bool) -> None:
    """Write the result folder and print the findings."""
    from tumorspread.report.folder import write_analysis

    write_analysis(analysis, folder, reference=reference, pdf=pdf)
    findings = analysis.findings
    tell(findings, lambda: _print_findings(findings), out / "report.html", as_json=as_json)


def _print_findings(findings: Findings) -> None:
    from tumorspread.report.tables import rounded
    from tumorspread.report.wording import pieces, share_of_lungs

    rows = [
        (str(n.id), n.side or "-", rounded(n.volume_ml), rounded(n.long_axis_mm), rounded(n.short_axis_mm))
        for n in findings.lesions
    ]
    if rows:
        print_table(("lesion", "side", "volume mL", "long axis mm", "short axis mm"), rows)
    share = share_of_lungs(findings, "lungs")
    print(f"{pieces(findings.burden.count)}, {rounded(findings.burden.volume_ml)} mL{share}")
