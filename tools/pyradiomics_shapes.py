"""What pyradiomics says of the shapes of real tumours: the oracle of tests/measurement/test_shape.py.

pyradiomics does not build beside current numpy, so it runs in an environment of its own:

    python3 -m venv oracle
    oracle/bin/pip install "numpy<2" setuptools wheel versioneer cython pywavelets pykwalify six SimpleITK
    oracle/bin/pip install --no-build-isolation --no-deps pyradiomics==3.0.1
    oracle/bin/python tools/pyradiomics_shapes.py DATA/lesion_masks/msd_task06 > shapes.csv
"""

from __future__ import annotations

import csv
import sys

import numpy as np
import SimpleITK
from radiomics.shape import RadiomicsShape

FEATURES = (
    *("MeshVolume", "SurfaceArea", "Sphericity", "Maximum3DDiameter"),
    *("Maximum2DDiameterSlice", "Elongation", "Flatness"),
)


def main(stem: str) -> None:
    """Print a row for each mask of STEM.npz."""
    packed = np.load(f"{stem}.npz")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["name", *(f"{what}_{a}" for what in ("shape", "spacing") for a in "zyx"), *FEATURES])
    with open(f"{stem}.csv") as file:
        for row in csv.DictReader(file):
            size = [int(row[axis]) for axis in "zyx"]
            spacing = [float(row[f"spacing_{axis}_mm"]) for axis in "zyx"]
            mask = np.unpackbits(packed[row["name"]], count=int(np.prod(size))).reshape(size)
            image = SimpleITK.GetImageFromArray(np.pad(mask, 1))
            image.SetSpacing(spacing[::-1])
            shape = RadiomicsShape(SimpleITK.Cast(image, SimpleITK.sitkFloat32), image, label=1)
            shape.enableAllFeatures()
            values = shape.execute()
            writer.writerow([row["name"], *size, *spacing, *(f"{float(values[name]):.7g}" for name in FEATURES)])


if __name__ == "__main__":
    main(sys.argv[1])
