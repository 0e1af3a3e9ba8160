"""The weights that come with the package, and how weights are named."""

from __future__ import annotations

from pathlib import Path

from tumorspread.errors import WeightsError

PACKAGED = Path(__file__).parent / "shipped"
# For chest CT; what it finds and misses: docs/model-card.md.
LUNG = "lung"


def find_weights(name: str | Path) -> Path:
    """A weights file by its path, or by the name of weights that come with the package.

    Args:
        name: such as `lung`; a path is given back as it is.

    Raises:
        WeightsError: a bare word that is neither a file nor a name.
    """
    if str(name) in weights_names():
        return PACKAGED / f"{name}.safetensors"
    path = Path(name)
    if path.suffix == "" and not path.exists():
        raise WeightsError(f"{name}: no such weights file; the package has {', '.join(weights_names())}")
    return path


def weights_names() -> tuple[str, ...]:
    """The weights that come with the package."""
    return tuple(sorted(file.stem for file in PACKAGED.glob("*.safetensors")))
