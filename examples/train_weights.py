"""Train the weights that come with the package, from the folder of real data to the file: hours on two CPU cores.

Started again, it goes on where it stopped. The trunk is trained without the patients that weights are judged on. Fold A
takes the negative patient back, trains on with many small tumours, then with raised diaphragms as well, and is each
time the mean of before and after; fold B takes the others back. From fold A and fold B three rounds make one for each
patient that is judged, which leave that patient alone out: chests stretched and bent, nothing learned from airless and
hazy lung that was put in, and each time the mean of before and after; the last is on other tumours and counts a third.
Fold B, of fewer steps, goes on for longer, without that last one and without a mean. What ships is fold A trained on
with every patient, then with parts of chests, then in four such rounds: no patient is left to calibrate it, so that it
borrows the points of the folds of fold A.
WORK_FOLDER/folds gets them by patient: what `make model-report WEIGHTS=...` takes. Each is calibrated by the three
others, which are judged on synthetic tumours in the patient that they have not seen.
Usage: python examples/train_weights.py DATA WORK_FOLDER [--workers N]
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import run_command

# Patients that weights are judged on, and the one that fold A takes back: hardly a tumour in it.
JUDGED = ("LIDC-IDRI-0314", "Lung_Dx-A0001", "Lung_Dx-A0002")
NEGATIVE = "CPTAC-C3N-00247"
OTHERS = ("LungFCP-01-0001", "ACRIN-FLT-001", "ACRIN-FLT-013", "elastix")
COUNT_A, COUNT_SMALL, COUNT_RAISED, COUNT_ALL, COUNT_PARTS, COUNT_B = 180, 270, 240, 270, 200, 130
COUNT_DEFORMED, HELD_OUT_COUNT = 150, 40
# Split n of a set of all patients leaves out the n-th of them.
FOLDS = {"LIDC-IDRI-0314": 1, NEGATIVE: 2, "Lung_Dx-A0001": 3, "Lung_Dx-A0002": 4}
SHIPPED = Path(__file__).resolve().parents[1] / "src" / "tumorspread" / "model" / "shipped"
TRUNK = "--set run.epochs=22 --set run.val_every=11 --set optim.final_share=0.25"
FOLD_A = "--set run.epochs=60 --set run.val_every=10"
SMALL = "--set run.epochs=30 --set run.val_every=10 --set optim.learning_rate=1e-3"
ON_RAISED = "--set run.epochs=45 --set run.val_every=15 --set optim.learning_rate=1e-3"
# Its validation scans are of patients that it trains on: the last epoch counts.
ON_ALL = "--set run.epochs=45 --set run.val_every=45 --set optim.learning_rate=1e-3"
ON_PARTS = "--set run.epochs=18 --set run.val_every=18 --set optim.learning_rate=1e-3"
ON_DEFORMED = "--set run.epochs=6 --set run.val_every=6 --set optim.learning_rate=1e-3"
LONGER = "--set run.epochs=8 --set run.val_every=8 --set optim.learning_rate=1e-3"
# On other tumours.
ON_LAST = "--set run.epochs=5 --set run.val_every=5 --set optim.learning_rate=1e-3"
FOLD_B = "--set run.epochs=53 --set run.val_every=10"
# Shares of the scans with many small tumours, with half of the diaphragm raised, and of those that show a part alone.
MANY, MORE_MANY, RAISED, CROPPED, FEWER_CROPPED, DEFORMED = 0.34, 0.42, 0.35, 0.45, 0.2, 0.8


def main(data: Path, work: Path, workers: int) -> None:
    """All steps, in order; sets and trainings that are done are passed over."""
    work.mkdir(parents=True, exist_ok=True)
    make_set(data, work / "set_a", JUDGED, COUNT_A, seed=11, workers=workers)
    make_set(data, work / "set_small", JUDGED, COUNT_SMALL, seed=12, workers=workers, many=MANY)
    make_set(data, work / "set_raised", JUDGED, COUNT_RAISED, seed=14, workers=workers, many=MANY, raised=RAISED)
    make_set(data, work / "set_all", (), COUNT_ALL, seed=15, workers=workers, many=MANY, raised=RAISED)
    often: dict[str, Any] = {"many": MANY, "raised": RAISED}
    make_set(data, work / "set_parts", (), COUNT_PARTS, seed=16, workers=workers, cropped=CROPPED, **often)
    often |= {"many": MORE_MANY, "cropped": FEWER_CROPPED, "deformed": DEFORMED}
    make_set(data, work / "set_deformed", (), COUNT_DEFORMED, seed=19, workers=workers, ignore_airless=True, **often)
    make_set(data, work / "set_last", (), COUNT_DEFORMED, seed=20, workers=workers, ignore_airless=True, **often)
    make_set(data, work / "set_b", (NEGATIVE,), COUNT_B, seed=13, workers=workers, many=MANY)
    make_set(data, work / "held_out", OTHERS, HELD_OUT_COUNT, seed=4, workers=workers)
    # NEGATIVE is the first patient of set_a.
    trunk = train(work / "set_a", work / "trunk", TRUNK, fold=1)
    before = train(work / "set_a", work / "masses", f"--start {trunk} {FOLD_A}")
    after = train(work / "set_small", work / "small", f"--start {before} {SMALL}")
    midway = average(before, after, out=work / "midway.safetensors")
    raised = train(work / "set_raised", work / "raised", f"--start {midway} {ON_RAISED}")
    fold_a = average(midway, raised, out=work / "fold_a.safetensors")
    fold_b = train(work / "set_b", work / "fold_b", f"--start {trunk} {FOLD_B}")
    everyone = train(work / "set_all", work / "everyone", f"--start {fold_a} {ON_ALL}")
    whole = average(fold_a, everyone, out=work / "whole.safetensors")
    parts = train(work / "set_parts", work / "parts", f"--start {whole} {ON_PARTS}")
    shipped = go_on_as_shipped(work, average(whole, parts, out=work / "narrow.safetensors"))
    judged = fold_by_patient(work, fold_a, fold_b)
    (work / "folds").mkdir(exist_ok=True)
    for patient, weights in judged.items():
        others = {name: by for name, by in judged.items() if name != patient}
        calibrate(work, others, weights, work / "folds" / f"{patient}.safetensors")
    calibrate(work, {name: judged[name] for name in JUDGED}, shipped, SHIPPED / "lung.safetensors")
    if not (work / "patches").exists():
        run_command(f"data convert {data / 'msd_patches'} -o {work / 'patches'} --seed 6")
    flat = train(work / "patches", work / "flat", "--recipe msd-patches")
    shutil.copy(flat, SHIPPED / "msd-patches.safetensors")


def make_set(
    data: Path,
    out: Path,
    leave_out: tuple[str, ...],
    count: int,
    *,
    seed: int,
    workers: int,
    many: float = 0.0,
    raised: float = 0.0,
    cropped: float = 0.0,
    deformed: float = 0.0,
    ignore_airless: bool = False,
) -> None:
    """Synthetic tumours in the chests of all patients but some."""
    without = " ".join(f"--leave-out {patient}" for patient in leave_out)
    what = f"--shapes {data / 'lesion_masks'} --many {many} --raised {raised} --cropped {cropped} --deformed {deformed}"
    what += " --ignore-airless" if ignore_airless else ""
    run_command(f"data implant {data} -o {out} {what} --count {count} --seed {seed} --workers {workers} {without}")


@dataclass(frozen=True)
class Trained:
    """Weights as a training left them, and the mean that is kept of it."""

    after: Path
    mean: Path

    @classmethod
    def both(cls, weights: Path) -> Trained:
        """Weights that are both."""
        return cls(weights, weights)


def go_on(work: Path, name: str, before: Trained, *, fold: int = 0, seed: int, how: str = ON_DEFORMED) -> Trained:
    """Another round, and the mean with the mean before."""
    after = train(work / "set_deformed", work / f"deformed_{name}", begin(before, how, seed), fold=fold)
    return Trained(after, average(before.mean, after, out=work / f"deformed_{name}.safetensors"))


def go_on_at_last(work: Path, name: str, before: Trained, *, fold: int = 0) -> Path:
    """A round on other tumours, of which the mean before keeps two thirds."""
    after = train(work / "set_last", work / f"last_{name}", begin(before, ON_LAST, 4), fold=fold)
    return average(before.mean, before.mean, after, out=work / f"last_{name}.safetensors")


def begin(before: Trained, how: str, seed: int) -> str:
    """The settings of a round that begins with weights as the last one left them."""
    return f"--start {before.after} {how} --set seed={seed}"


def go_on_as_shipped(work: Path, before: Path) -> Path:
    """What ships of weights that have seen every patient."""
    once = go_on(work, "once", Trained.both(before), seed=0)
    twice = go_on(work, "twice", Trained.both(once.mean), seed=1)
    thrice = go_on(work, "thrice", twice, seed=2)
    return go_on_at_last(work, "lung", Trained.both(thrice.mean))


def fold_by_patient(work: Path, fold_a: Path, fold_b: Path) -> dict[str, Path]:
    """The last stages for each patient that is judged, who is left out of them."""
    judged = {}
    for patient in JUDGED:
        fold = FOLDS[patient]
        once = go_on(work, patient, Trained.both(fold_a), fold=fold, seed=0)
        twice = go_on(work, f"{patient}_twice", once, fold=fold, seed=1)
        judged[patient] = go_on_at_last(work, patient, twice, fold=fold)
    last = Trained.both(fold_b)
    for seed, how in enumerate((ON_DEFORMED, LONGER, ON_DEFORMED)):
        last = go_on(work, f"{NEGATIVE}_{seed}", last, how=how, fold=FOLDS[NEGATIVE], seed=seed)
    return judged | {NEGATIVE: last.after}


def calibrate(work: Path, judged: dict[str, Path], onto: Path, out: Path) -> None:
    """Judge weights by patient, each on the patient that it has not seen, and write what comes of it onto others."""
    weights = " ".join(map(str, judged.values()))
    folds = " ".join(f"--fold {FOLDS[patient]}" for patient in judged)
    run_command(f"calibrate {weights} {work / 'held_out'} --split test {folds} --onto {onto} -o {out} --half --force")


def average(*weights: Path, out: Path) -> Path:
    """The mean of weights."""
    run_command(f"average {' '.join(map(str, weights))} -o {out} --force")
    return out


def train(data: Path, out: Path, settings: str, *, fold: int = 0) -> Path:
    """The weights of one training; goes on where it was cut off."""
    where = f"train {data} -o {out} --fold {fold}"
    if (out / "curves.png").exists():
        return out / "weights.safetensors"
    if (out / "last.ckpt").exists():
        run_command(f"{where} --resume")
    else:
        if out.exists():
            shutil.rmtree(out)
        recipe = "" if "--recipe" in settings else "--recipe lung "
        run_command(f"{where} {recipe}{settings}")
    return out / "weights.safetensors"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    main(asked.data, asked.work, asked.workers)
