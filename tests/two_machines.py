"""Two machines for a test: network namespaces with an address each and a virtual cable between them. Root alone may."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Machine:
    """A namespace: its name, address and interface."""

    name: str
    address: str
    interface: str

    @property
    def enter(self) -> tuple[str, ...]:
        """The words before a command that run it there."""
        return ("ip", "netns", "exec", self.name)


def _namespaces_work() -> bool:
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"tsprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made


needs_namespaces = pytest.mark.skipif(not _namespaces_work(), reason="network namespaces need root and iproute2")


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Machines 10.213.0.1 and 10.213.0.2, gone at the end; their processes must be ended before."""
    number = os.getpid()
    machines = tuple(Machine(f"ts{number}n{i}", f"10.213.0.{i + 1}", f"v{number % 10**7}n{i}") for i in range(2))
    first, second = machines
    try:
        for machine in machines:
            _ip("netns", "add", machine.name)
        _ip("link", "add", first.interface, "type", "veth", "peer", "name", second.interface)
        for machine in machines:
            _ip("link", "set", machine.interface, "netns", machine.name)
            _ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", machine.interface)
            _ip("-n", machine.name, "link", "set", machine.interface, "up")
            _ip("-n", machine.name, "link", "set", "lo", "up")
        yield first, second
    finally:
        for machine in machines:
            subprocess.run(["ip", "netns", "del", machine.name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", first.interface], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
