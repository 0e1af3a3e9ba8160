"""One scan through one program, timed, with the same network, weights and spacing: ours, or one of the peers.

Started by `inference.py`, each in a process of its own, so that the peak of memory is that of the program alone. The
peers are used as their documentation says: MONAI's transforms and `sliding_window_inference`, nnU-Net's reader,
preprocessor, predictor and export, in fp32, since neither chooses anything else on a CPU.
MONAI's tiles overlap by a half, as nnU-Net's do; `monai_default` takes MONAI's own default of a quarter.
`ours_in_monai` and `ours_in_nnunet` are the peers' roads and tiles with our engine for the network: what is left of the
difference is the engine's.
Usage: python bench/peers.py PROGRAM SCAN WEIGHTS OUT.nii.gz --spacing own|weights [--precision bf16|int8]
Prints a line of JSON: seconds by stage, peak_gib, tiles.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tumorspread.clock import Clock
from tumorspread.model.engine import Engine, pick_engine
from tumorspread.model.memory import peak_gib
from tumorspread.model.unet import fold_norms
from tumorspread.model.weights import WeightsInfo, load_weights

CPU = torch.device("cpu")
WINDOW_SCALE = 2.0  # -1..1
# Of MONAI's tiles.
OVERLAPS = {"monai": 0.5, "monai_default": 0.25, "ours_in_monai": 0.5}
NNUNET = ("nnunet", "ours_in_nnunet")


class Answered(torch.nn.Module):
    """Our engine in place of the network."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of the engine's probabilities."""
        return torch.from_numpy(self.engine(image.numpy())).logit(eps=1e-6)


class Counted(torch.nn.Module):
    """A network that counts the tiles it is given."""

    def __init__(self, network: torch.nn.Module, *, two_classes: bool) -> None:
        super().__init__()
        self.network = network
        self.two_classes = two_classes
        self.tiles = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits: one class, or two."""
        self.tiles += len(image)
        logits = self.network(image)
        # nnU-Net takes the larger of two classes: background at 0 makes that the cut at one half.
        return torch.cat([torch.zeros_like(logits), logits], 1) if self.two_classes else logits


def run_monai(
    scan: Path, network: torch.nn.Module, info: WeightsInfo, spacing, out: Path, clock: Clock, *, overlap: float
) -> int:
    """MONAI: LoadImage, Orientation, Spacing, ScaleIntensityRange, sliding window, Invert, SaveImage."""
    from monai.data import MetaTensor
    from monai.inferers import sliding_window_inference
    from monai.transforms import (
        Compose,
        EnsureChannelFirst,
        LoadImage,
        Orientation,
        SaveImage,
        ScaleIntensityRange,
        Spacing,
    )

    low, high = info.preprocess.window
    with clock.stage("read"):
        image = Compose([LoadImage(image_only=True), EnsureChannelFirst()])(scan)
    with clock.stage("resample"):
        orient = Orientation(axcodes="SPL", labels=(("L", "R"), ("P", "A"), ("I", "S")))
        steps = [orient]
        if spacing is not None:
            steps.append(Spacing(pixdim=spacing, mode="bilinear"))
        way = Compose([*steps, ScaleIntensityRange(low, high, -1, 1, clip=True)])
        prepared = way(image)
    counted = Counted(network, two_classes=False)
    with clock.stage("network"), torch.inference_mode():
        logits = sliding_window_inference(prepared[None], info.tile, 4, counted, overlap=overlap, mode="gaussian")
    with clock.stage("back"):
        probability = MetaTensor(
            logits[0].sigmoid(), meta=prepared.meta, applied_operations=prepared.applied_operations
        )
        mask = Compose(steps).inverse(probability) > 0.5 if spacing is not None else orient.inverse(probability) > 0.5
    with clock.stage("write"):
        saver = SaveImage(out.parent, output_postfix="", output_dtype=np.uint8, separate_folder=False, print_log=False)
        saver(mask)
    return counted.tiles


def run_nnunet(scan: Path, network: torch.nn.Module, info: WeightsInfo, spacing, out: Path, clock: Clock) -> int:
    """nnU-Net v2: SimpleITKIO, DefaultPreprocessor, nnUNetPredictor without mirroring, its export."""
    import os

    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, str(out.parent))
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.export_prediction import export_prediction_from_logits
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    with clock.stage("read"):
        image, properties = SimpleITKIO().read_images([str(scan)])
        wanted = list(spacing or properties["spacing"])
    low, high = info.preprocess.window
    plans = PlansManager(_plans(wanted, info, (low, high)))
    configuration = plans.get_configuration("3d_fullres")
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"}
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    counted = Counted(network, two_classes=True)
    predictor.manual_initialization(
        counted, plans, configuration, [counted.state_dict()], dataset, "nnUNetTrainer", None
    )
    with clock.stage("resample"):
        data, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
            image, None, properties, plans, configuration, dataset
        )
    with clock.stage("network"):
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
    with clock.stage("back and write"):
        target = str(out).removesuffix(".nii.gz")
        export_prediction_from_logits(logits, properties, configuration, plans, dataset, target, False)
    return counted.tiles


def _plans(spacing: list[float], info: WeightsInfo, window: tuple[float, float]) -> dict:
    """A plans file for our network: our spacing, window and tile, nnU-Net's own resampling.

    CTNormalization clips to two percentiles and takes z = (x - mean) / std: with ours it gives -1 to 1.
    """
    low, high = window
    statistics = {
        "mean": (low + high) / 2, "std": (high - low) / WINDOW_SCALE,
        "percentile_00_5": low, "percentile_99_5": high, "min": low, "max": high, "median": 0.0,
    }  # fmt: skip
    order = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    logits = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    network = {"network_class_name": "x", "arch_kwargs": {}, "_kw_requires_import": []}
    configuration = {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": list(info.tile), "spacing": spacing, "median_image_size_in_voxels": list(info.tile),
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": order,
        "resampling_fn_seg": "resample_data_or_seg_to_shape", "resampling_fn_seg_kwargs": order | {"is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape", "resampling_fn_probabilities_kwargs": logits,
        "architecture": network, "batch_dice": False,
    }  # fmt: skip
    return {
        "dataset_name": "x", "plans_name": "x", "original_median_spacing_after_transp": spacing,
        "original_median_shape_after_transp": list(info.tile), "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration}, "experiment_planner_used": "x",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": statistics},
    }  # fmt: skip


def run_ours(scan: Path, weights: Path, spacing, out: Path, clock: Clock, precision: str) -> int:
    """Our own road without judging pieces, measures and report: the peers have none."""
    from tumorspread.measurement.lungs import segment_lungs
    from tumorspread.model.predict import Predictor
    from tumorspread.scan.nifti import write_nifti

    predictor = Predictor(weights, device="cpu", engine="openvino", precision=precision)  # type: ignore[arg-type]
    if spacing is None:
        own = replace(predictor.info.preprocess, spacing_mm=(0.0, 0.0, 0.0))
        predictor.info = replace(predictor.info, preprocess=own)
    predictor.warm_up()
    tiles = []
    with clock.stage("read"):
        volume = predictor.read(scan)
    with ThreadPoolExecutor(1) as pool:
        lungs = pool.submit(segment_lungs, volume)
        prepared = predictor.prepare(volume, clock=clock)
        with clock.stage("lungs"):
            sides = lungs.result().labels
    probability, _ = predictor.look(prepared, sides, clock=clock, progress=lambda done, total: tiles.append(total))
    with clock.stage("back"):
        mask = prepared.way.mask_back(probability, 0.5)
    with clock.stage("write"):
        write_nifti(mask, out)
    return tiles[-1]


def main() -> None:
    """Run one program and print its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=("ours", *OVERLAPS, *NNUNET))
    parser.add_argument("scan", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--spacing", choices=("own", "weights"), default="weights")
    parser.add_argument("--precision", default="bf16")
    asked = parser.parse_args()
    clock = Clock()
    network, info = load_weights(asked.weights)
    spacing = None if asked.spacing == "own" else info.preprocess.spacing_mm
    asked.scan.read_bytes()  # from the disk into the system's cache
    if asked.program == "ours":
        tiles = run_ours(asked.scan, asked.weights, spacing, asked.out, clock, asked.precision)
    else:
        used: torch.nn.Module = network
        if asked.program.startswith("ours_in"):
            used = Answered(pick_engine(fold_norms(network), info, asked.weights, CPU, precision=asked.precision))
        with torch.inference_mode():
            used(torch.zeros(1, 1, *info.tile))
        run = run_nnunet if asked.program in NNUNET else partial(run_monai, overlap=OVERLAPS[asked.program])
        tiles = run(asked.scan, used, info, spacing, asked.out, clock)
    print(json.dumps({"seconds": clock.seconds, "peak_gib": peak_gib(), "tiles": tiles}))


if __name__ == "__main__":
    main()
