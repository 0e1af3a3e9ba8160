"""A SLURM of Debian's packages for a test: munged, slurmctld and two slurmd on this host, all files in one folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
NODES = ("n1", "n2")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=600
KillWait=5
InactiveLimit=0
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=8000
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=8000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _missing() -> str:
    if os.geteuid() != 0:
        return "slurmd needs root"
    # Debian puts the daemons where not every PATH looks.
    return " ".join(name for name in PROGRAMS if shutil.which(name, path=PATH) is None)


PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
needs_slurm = pytest.mark.skipif(bool(_missing()), reason=f"no SLURM here: {_missing()}")


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """A running SLURM; the environment in which sbatch and srun find it. Its jobs end with it."""
    folder.chmod(0o755)
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(folder=folder, host=socket.gethostname(), nodes=NODES, ports=_free_ports(3))
    )
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    (folder / "state").mkdir()
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = ["munged", "--foreground", "--force", *(f"--{name}={folder}/munge.{end}" for name, end in files.items())]
    with ExitStack() as daemons:
        daemons.enter_context(_daemon(munge, environment, folder / "munged.out"))
        _wait(lambda: (folder / "munge.socket").exists(), "munged", folder)
        daemons.enter_context(_daemon(["slurmctld", "-D"], environment, folder / "slurmctld.out"))
        for node in NODES:
            daemons.enter_context(_daemon(["slurmd", "-D", "-N", node], environment, folder / f"slurmd-{node}.out"))
        _wait(lambda: _ask(["sinfo", "-h", "-o", "%T"], environment) == "idle", "its nodes", folder)
        try:
            yield environment
        finally:
            _ask(["scancel", "-u", "root"], environment)
            _wait(lambda: not _ask(["squeue", "-h"], environment), "the end of its jobs", folder)


@contextmanager
def _daemon(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(is_there, what: str, folder: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > end:
            logs = "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in folder.glob("*.log"))
            raise AssertionError(f"waited in vain for {what}\n{logs}")
        time.sleep(0.2)


def _ask(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
