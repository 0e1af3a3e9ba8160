"""Verbs of the hospital's network: listen, fetch, store.

Everything heavy is imported inside the verbs, so that `--help` answers at once.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorspread.cli.options import (
    Authority,
    Device,
    Engine,
    HeaderEnv,
    HeaderFile,
    MaxRam,
    OperatingPoint,
    Precision,
    Rtstruct,
    Threads,
)
from tumorspread.cli.terminal import say
from tumorspread.errors import NetworkError

if TYPE_CHECKING:
    from tumorspread.pacs.tls import TlsFiles

Url = Annotated[str, typer.Argument(help="Base address of the DICOMweb service, such as https://pacs/dicom-web.")]


def listen(
    aet: Annotated[str, typer.Option(help="Our AE title.")],
    port: Annotated[int, typer.Option(help="Port to listen at.", min=1, max=65535)],
    to: Annotated[str, typer.Option(help="Where the results go.", metavar="AET@HOST:PORT")],
    bind: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    allow: Annotated[
        list[str] | None, typer.Option(help="AE title that may call; by default that of --to. May be repeated.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="The queue: scans, results, audit.jsonl.")] = Path("queue"),
    quiet_seconds: Annotated[
        float, typer.Option(help="A series is complete so long after its last slice.", min=0)
    ] = 10.0,
    cut_off_seconds: Annotated[
        float, typer.Option(help="The same after an association that broke: time to send again.", min=0)
    ] = 300.0,
    max_images: Annotated[int, typer.Option(help="Most images of a series.", min=1)] = 10_000,
    max_gib: Annotated[float, typer.Option(help="Most GiB of images in the queue.", min=0)] = 100.0,
    keep_days: Annotated[float, typer.Option(help="How long the images of a finished series stay.", min=0)] = 7.0,
    retry_seconds: Annotated[float, typer.Option(help="First wait after a failure; doubled each time.", min=0)] = 5.0,
    retry_max_seconds: Annotated[float, typer.Option(help="Longest wait.", min=0)] = 600.0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed series once more.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM: our certificate; TLS both ways.", metavar="FILE")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM: its key.", metavar="FILE")] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(help="PEM: authority of the others; callers must have a certificate then.")
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", "-w", help="Weights file, or `lung`: those that come with the package.")
    ] = "lung",
    point: OperatingPoint = "balanced",
    rtstruct: Rtstruct = False,
    device: Device = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    max_ram: MaxRam = None,
) -> None:
    """Receive CT series from a PACS, analyse them, and send SEG and SR back.

    Answers C-ECHO, C-STORE and storage commitment until Ctrl-C or SIGTERM. Whatever was received is analysed and sent
    once, also after a crash: started again with the same folder, it goes on where it stopped.

    \b
    Examples:
      tumorspread listen --aet TUMORSPREAD --port 11112 --to PACS@127.0.0.1:4242
      tumorspread listen --aet TUMORSPREAD --port 11112 --bind 0.0.0.0 --to PACS@10.0.0.7:104 --allow PACS --allow CT1
    """
    from tumorspread.model.weights import load_weights
    from tumorspread.model.zoo import find_weights
    from tumorspread.pacs.analysis import SeriesAnalysis
    from tumorspread.pacs.child import ChildAnalysis
    from tumorspread.pacs.listener import Seat
    from tumorspread.pacs.listener import listen as run
    from tumorspread.pacs.peer import check_aet, parse_peer
    from tumorspread.pacs.queue import Rules
    from tumorspread.pacs.receiver import Access
    from tumorspread.pacs.worker import Waits

    # Loaded where series are analysed, too; here so that a wrong file is not found out with the first patient.
    load_weights(find_weights(weights))
    peer = parse_peer(to)
    seat = Seat(
        access=Access(check_aet(aet), bind, port, tuple(check_aet(one) for one in allow or [peer.aet])),
        peer=peer,
        folder=folder,
        rules=Rules(quiet_seconds, cut_off_seconds, max_images, int(max_gib * 2**30)),
        waits=Waits(retry_seconds, retry_max_seconds),
        tls=_tls(tls_cert, tls_key, tls_ca),
        keep_s=keep_days * 86400,
        retry_failed=retry_failed,
    )
    analysis = ChildAnalysis(SeriesAnalysis(weights, point, engine, precision, threads, device, max_ram, rtstruct))
    stop = _stop_by_signal()
    try:
        run(seat, analysis, stop, started=lambda: say(f"listening as {aet} at {bind}:{port}; Ctrl-C stops"))
    finally:
        analysis.stop()
    say("stopped")


def fetch(
    url: Url,
    study: Annotated[str, typer.Option(help="StudyInstanceUID.", metavar="UID")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")],
    series: Annotated[str | None, typer.Option(help="SeriesInstanceUID; by default all.", metavar="UID")] = None,
    header_file: HeaderFile = None,
    header_env: HeaderEnv = None,
    ca: Authority = None,
) -> None:
    """Fetch a study from a DICOMweb server (QIDO-RS, WADO-RS).

    The folder appears when all files have come, in a folder for each series.

    \b
    Examples:
      tumorspread fetch https://pacs.example/dicom-web --study 1.2.3 -o ct --header-env PACS_HEADER
      tumorspread fetch http://127.0.0.1:8042/dicom-web --study 1.2.3 --series 1.2.3.4 -o ct
    """
    from tumorspread.dicomweb.server import Credentials
    from tumorspread.dicomweb.transfer import fetch as run

    files = run(Credentials(header_file, header_env, ca).server(url), study, out, series=series)
    say(f"wrote {out}: {len(files)} files")


def store(
    url: Url,
    files: Annotated[list[Path], typer.Argument(help="DICOM files, such as seg.dcm and report-sr.dcm.")],
    header_file: HeaderFile = None,
    header_env: HeaderEnv = None,
    ca: Authority = None,
) -> None:
    """Store DICOM files in a DICOMweb server (STOW-RS).

    \b
    Example:
      tumorspread store https://pacs.example/dicom-web result/seg.dcm result/report-sr.dcm --header-file header.txt
    """
    from tumorspread.dicomweb.server import Credentials
    from tumorspread.dicomweb.transfer import store as run

    count = run(Credentials(header_file, header_env, ca).server(url), files)
    say(f"stored {count} files")


def _tls(certificate: Path | None, key: Path | None, authority: Path | None) -> TlsFiles | None:
    from tumorspread.pacs.tls import TlsFiles

    if certificate is None and key is None and authority is None:
        return None
    if certificate is None or key is None:
        raise NetworkError("TLS needs --tls-cert and --tls-key; give both, or none of the --tls options")
    return TlsFiles(certificate, key, authority)


def _stop_by_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
