"""How cases are analysed. A hash of all that can change a number stands in every row."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from tumorspread._version import __version__
from tumorspread.cohort.cases import digest_of
from tumorspread.errors import WeightsError
from tumorspread.model.zoo import find_weights


@dataclass(frozen=True)
class Settings:
    """What the numbers depend on.

    Attributes:
        weights: a weights file, or the name of weights that come with the package; each worker opens it.
        weights_sha256: of that file.
        threshold: probabilities above it are tumour; None takes that of the weights.
        point: operating point, see `tumorspread.analyse`.
        dust_mm3: smaller pieces of the mask are left out, mm3.
        split: divide touching lesions at their necks.
        tilt: of a tilted gantry: `resample` or `refuse`.
        engine, precision: see `Predictor`.
        software: version of tumorspread.
    """

    weights: str = "lung"
    weights_sha256: str = ""
    threshold: float | None = None
    point: Literal["sensitive", "balanced", "specific"] = "balanced"
    dust_mm3: float = 14.1
    split: bool = False
    tilt: Literal["resample", "refuse"] = "resample"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    software: str = f"tumorspread {__version__}"

    @property
    def digest(self) -> str:
        """16 hex digits; the weights count by their content, wherever they lie."""
        counted = {name: value for name, value in asdict(self).items() if name != "weights"}
        return digest_of(json.dumps(counted, sort_keys=True))[:16]


@dataclass(frozen=True)
class Machine:
    """What changes the time that a case takes, and not its numbers.

    Attributes:
        threads: CPU threads of the network in each worker; None takes all cores.
        device: `cpu`, `cuda`, ...; None takes CUDA where there is one.
        max_ram_gib: the most memory that a worker may hold, GiB; None sets no limit.
        report: write `report.html` into each result folder.
    """

    threads: int | None = None
    device: str | None = None
    max_ram_gib: float | None = None
    report: bool = True


def weights_digest(weights: str) -> str:
    """SHA-256 of a weights file, as `Predictor` gives it.

    Raises:
        WeightsError: there is no such file, or it cannot be read.
    """
    path = find_weights(weights)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); name a weights file") from error
