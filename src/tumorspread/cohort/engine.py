"""The workers: on this machine, on a running Dask cluster, or made by SLURM or Kubernetes.

Which of them it is, the cases do not know. Dask is imported inside, since it is an extra.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tumorspread.errors import NetworkError, RecipeError, TumorspreadError

# A chest takes 1.2 GiB in a process of its own, weights and libraries included (docs/benchmarks.md).
WORKER_GIB = 2.0
# Of the machine's memory; the rest is the system's, the client's and the files' that are being read.
SHARE_OF_RAM = 0.8
# How long a scheduler may take to answer, and workers to close.
SCHEDULER_S = 10.0
CLOSE_S = 15.0
# Of the workers' own words only what is wrong; each says a page as it starts.
LOUD = [
    f"distributed.{name}" for name in ("client", "core", "nanny", "scheduler", "utils", "worker", "comm", "batched")
]
QUIET = {"distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical"}
_INSTALL = "pip install 'tumorspread[cluster]'"


@dataclass(frozen=True)
class Engine:
    """Where the cases run; at most one of the last three.

    Attributes:
        workers: processes on this machine; None sizes them to cores and memory. With SLURM or Kubernetes: jobs or pods,
            where the file does not say it.
        max_ram_gib: for all processes on this machine together, GiB; None takes most of its memory.
        gpus: GPUs on this machine to use, a process each; None takes all that there are.
        scheduler: address of a running Dask scheduler.
        slurm: settings of `dask_jobqueue.SLURMCluster`, TOML or YAML.
        kubernetes: settings of `dask_kubernetes.operator.KubeCluster`, likewise.
    """

    workers: int | None = None
    max_ram_gib: float | None = None
    gpus: int | None = None
    scheduler: str | None = None
    slurm: Path | None = None
    kubernetes: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether the cases run on this machine."""
        return self.scheduler is None and self.slurm is None and self.kubernetes is None


@dataclass(frozen=True)
class LocalSize:
    """Processes on this machine.

    Attributes:
        workers: how many.
        threads: CPU threads of the network in each.
        ram_gib: the most that each may hold, GiB, before it is ended.
        gpus: GPUs, one for each of the first workers.
    """

    workers: int
    threads: int
    ram_gib: float
    gpus: int = 0


def local_size(engine: Engine, *, cores: int, ram_gib: float, gpus: int = 0) -> LocalSize:
    """As many processes as there are cores, or as fit into memory; one a GPU where there are GPUs.

    Args:
        engine: what was asked for.
        cores: of this machine.
        ram_gib: of this machine, GiB.
        gpus: of this machine.

    Raises:
        RecipeError: the memory is too little for one worker, or for as many as were asked for.
    """
    total = engine.max_ram_gib if engine.max_ram_gib is not None else SHARE_OF_RAM * ram_gib
    used = min(gpus, engine.gpus) if engine.gpus is not None else gpus
    fit = int(total / WORKER_GIB)
    workers = engine.workers or used or min(cores, max(1, fit))
    if fit < 1 or (engine.workers is not None and total / workers < WORKER_GIB / 2):
        raise RecipeError(
            f"{total:.3g} GiB of memory for {workers} workers; each takes {WORKER_GIB:g} GiB: give more with "
            "--max-ram, or ask for fewer --workers"
        )
    return LocalSize(workers, max(1, cores // workers), total / workers, min(used, workers))


def this_machine(engine: Engine) -> LocalSize:
    """`local_size` of the machine that this runs on."""
    return local_size(engine, cores=count_cores(), ram_gib=psutil.virtual_memory().total / 2**30, gpus=count_gpus())


def count_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_gpus() -> int:
    """NVIDIA GPUs that this process may use; asked without torch, which takes 300 MiB to import."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


@contextmanager
def open_client(engine: Engine) -> Iterator[Any]:
    """A `distributed.Client` of the workers; what was started for it ends with the block.

    Raises:
        RecipeError: Dask is not installed, or settings that cannot be used.
        NetworkError: there is no scheduler at the address.
    """
    distributed = _import("distributed")
    # Without a log of its own, every lost worker would be a page on the user's terminal.
    for name in ("distributed", *LOUD):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if engine.scheduler is not None:
        try:
            client = distributed.Client(engine.scheduler, timeout=SCHEDULER_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise NetworkError(f"{engine.scheduler}: no Dask scheduler answers there; is it running?") from error
        with client:
            yield client
        return
    with _open_cluster(engine, distributed) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def _open_cluster(engine: Engine, distributed: Any) -> Iterator[Any]:
    if engine.slurm is not None:
        jobs, settings = _jobs(engine.slurm, engine.workers)
        with _made(engine.slurm, lambda: _import("dask_jobqueue").SLURMCluster(**settings)) as cluster:
            cluster.scale(jobs=jobs)
            yield cluster
    elif engine.kubernetes is not None:
        pods, settings = _jobs(engine.kubernetes, engine.workers)
        with _made(engine.kubernetes, lambda: _import("dask_kubernetes.operator").KubeCluster(**settings)) as cluster:
            cluster.scale(pods)
            yield cluster
    else:
        import dask

        # Dask would pause or move aside at 60 to 80 %: a pause never ends where the memory is the network's own.
        memory = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")}
        spec = _local_spec(this_machine(engine), distributed)
        with dask.config.set({**memory, **QUIET}):
            cluster = distributed.SpecCluster(**spec)
            try:
                yield cluster
            finally:
                # A worker that is just being started anew may never hear that it should close; it ends with us.
                with suppress(TimeoutError):
                    cluster.close(timeout=CLOSE_S)


def _local_spec(size: LocalSize, distributed: Any) -> dict[str, Any]:
    workers = {}
    for number in range(size.workers):
        env = {name: str(size.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        resources = {}
        if number < size.gpus:
            env["CUDA_VISIBLE_DEVICES"] = _visible_gpus()[number]
            resources = {"GPU": 1}
        options = {
            "nthreads": 1,
            "memory_limit": int(size.ram_gib * 2**30),
            "env": env,
            "resources": resources,
            "preload": ["tumorspread.cohort.preload"],
        }
        workers[number] = {"cls": distributed.Nanny, "options": options}
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}}
    return {"workers": workers, "scheduler": scheduler, "silence_logs": logging.CRITICAL}


def _visible_gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(number) for number in range(count_gpus())]


@contextmanager
def _made(file: Path, make: Any) -> Iterator[Any]:
    try:
        cluster = make()
    except TumorspreadError:
        raise
    except (TypeError, ValueError, RuntimeError, OSError, AssertionError) as error:
        text = " ".join(str(error).split())[:300]
        raise RecipeError(f"{file}: no cluster can be made of these settings ({text})") from error
    with cluster:
        yield cluster


def _jobs(file: Path, workers: int | None) -> tuple[int, dict[str, Any]]:
    """How many jobs, and the settings for the cluster's class."""
    settings = read_settings(file)
    jobs = settings.pop("jobs", workers or 1)
    if not isinstance(jobs, int) or jobs < 1:
        raise RecipeError(f"{file}: jobs = {jobs!r}; expected a number of at least 1")
    return workers or jobs, settings


def read_settings(file: Path) -> dict[str, Any]:
    """The settings of a cluster, from TOML or YAML.

    Raises:
        RecipeError: no such file, or not a table of settings.
    """
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".toml":
            settings = tomllib.loads(text)
        else:
            settings = _parse_yaml(text)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read ({error}); name a file of settings") from error
    except ValueError as error:
        raise RecipeError(f"{file}: {' '.join(str(error).split())[:200]}; expected TOML or YAML") from error
    if not isinstance(settings, dict):
        raise RecipeError(f"{file}: expected settings such as `queue: gpu`, one a line")
    return settings


def _parse_yaml(text: str) -> Any:
    yaml = _import("yaml")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _import(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        package = {"dask_kubernetes.operator": "pip install dask-kubernetes"}.get(name, _INSTALL)
        raise RecipeError(f"this needs {name.partition('.')[0]}, which is not installed: {package}") from error
