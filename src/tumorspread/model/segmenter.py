"""One training step, one validation of a whole scan: what Lightning calls."""

from __future__ import annotations

from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from tumorspread.data.prepared import IGNORED, TUMOUR
from tumorspread.model.engine import TorchEngine, has_bf16
from tumorspread.model.loss import SegmentationLoss
from tumorspread.model.predict import place_network
from tumorspread.model.processes import share_layers
from tumorspread.model.recipe import Recipe
from tumorspread.model.tiles import slide
from tumorspread.model.unet import UNet

VAL_METRICS = ("val_dice", "val_accuracy", "val_precision", "val_recall")


class Segmenter(pl.LightningModule):  # type: ignore[misc]
    """The U-Net under training.

    Logs `train_loss` and `lr` an epoch and, from whole validation scans through the sliding window, the means over
    scans of `val_dice`, `val_accuracy`, `val_precision` and `val_recall`. A scan where a metric is 0/0 (a precision
    without a predicted voxel, say) does not count in that metric's mean; a false alarm on a scan without tumour
    is a Dice of 0.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        torch.manual_seed(recipe.seed)
        self.network = place_network(UNet(recipe.unet), torch.device("cpu"))
        self.averaged = AveragedModel(self.network, avg_fn=self._average, use_buffers=True).requires_grad_(False)
        share_layers(self.network)
        self.loss = SegmentationLoss(recipe.loss)
        self._sums = np.zeros((len(VAL_METRICS), 2))

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        """The loss of one batch (image, mask).

        Random layers draw from (seed, step), so a resumed training draws what it would have drawn, and all processes
        the same; the 0 keeps the draws that made the weights that come with the package.
        """
        torch.manual_seed(hash((self.recipe.seed, self.global_step, 0)) % 2**63)
        image, mask = batch
        layout = torch.channels_last if image.ndim == 4 else torch.channels_last_3d
        logits = self.network(image.contiguous(memory_format=layout))
        loss: Tensor = self.loss(logits, mask == TUMOUR, mask == IGNORED)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(image), sync_dist=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        """The averaged network follows a step."""
        self.averaged.update_parameters(self.network)

    @property
    def kept(self) -> UNet:
        """The network that is validated and kept: the moving average of the one under training."""
        return cast(UNet, self.averaged.module)

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self._sums[:] = 0

    def validation_step(self, case: tuple[Any, Any] | None, number: int) -> None:
        """Segment one prepared scan (image, mask) and add its metrics; None stands for no scan."""
        if case is None:
            return
        image, mask = case
        probability = slide(
            TorchEngine(self.kept, self.device, is_half=has_bf16()),
            np.asarray(image, np.float32),
            self.recipe.patch.size,
            overlap=self.recipe.run.val_overlap,
            grow=self.recipe.unet.stride,
            mirror=self.recipe.run.mirror,
        )
        marked = (probability > self.recipe.run.threshold) & (mask != IGNORED)
        values = compare_counts(marked, np.asarray(mask) == TUMOUR)
        for row, value in zip(self._sums, values, strict=True):
            if value is not None:
                row += (value, 1)

    def on_validation_epoch_end(self) -> None:
        """The means over the scans of all processes."""
        sums = torch.as_tensor(self._sums, device=self.device, dtype=torch.float32)
        gathered = self.all_gather(sums)
        total = gathered.sum(dim=0) if gathered.ndim == 3 else gathered
        for name, (value, count) in zip(VAL_METRICS, total.tolist(), strict=True):
            mean = value / count if count else 0.0
            self.log(name, torch.tensor(mean, dtype=torch.float32), prog_bar=name == "val_dice")

    def configure_optimizers(self) -> Any:
        """The optimizer, and a learning rate that warms up and decays by the step."""
        optim, run = self.recipe.optim, self.recipe.run
        kind = torch.optim.AdamW if optim.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(self.network.parameters(), lr=optim.learning_rate, weight_decay=optim.weight_decay)
        steps = run.epochs * self.recipe.patch.steps_per_epoch
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: optim.rate_at(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _average(self, kept: Tensor, new: Tensor, steps: Tensor | int) -> Tensor:
        """Over few steps a plain mean, so that the start is soon forgotten."""
        decay = min(self.recipe.optim.average, (1 + int(steps)) / (10 + int(steps)))
        return decay * kept + (1 - decay) * new if self.recipe.optim.average else new


def compare_counts(predicted: Any, reference: Any) -> tuple[float | None, ...]:
    """Dice, accuracy, precision and recall of two bool arrays of one shape; None where it is 0/0."""
    true_positive = int(np.count_nonzero(predicted & reference))
    marked, tumour = int(np.count_nonzero(predicted)), int(np.count_nonzero(reference))
    wrong = marked + tumour - 2 * true_positive
    return (
        2 * true_positive / (marked + tumour) if marked + tumour else None,
        1 - wrong / predicted.size,
        true_positive / marked if marked else None,
        true_positive / tumour if tumour else None,
    )
