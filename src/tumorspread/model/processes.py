"""What makes the processes of a training one: sums over the patches of all of them, which gradients pass through.

`DistributedDataParallel` averages the gradients of its processes. That is all a mean over patches needs; but a Dice
over the batch, a price a lesion and the statistics of a BatchNorm are no such means. With them from here, W processes
of B patches take the step that one process of W B patches takes. torch's own SyncBatchNorm runs on GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


def is_first_process() -> bool:
    """Whether this process writes the files: the only one, or the first of all machines'."""
    return int(rank_zero_only.rank or 0) == 0


def count_processes() -> int:
    """Processes that train together; 1 before they have met."""
    return distributed.get_world_size() if _have_met() else 1


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of `values` over all processes, the same in each; all must call it, in the same order.

    Its gradient is the sum of what the processes' losses ask for, which their mean makes the gradient of the mean loss.
    """
    return values if count_processes() == 1 else _Sum.apply(values)  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


class SharedBatchNorm(_BatchNorm):
    """BatchNorm over the patches of all processes; alone, torch's."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` (n, channels, *space), normalised."""
        if not self.training or count_processes() == 1:
            return super().forward(input)
        values, axes = input.float(), (0, *range(2, input.ndim))
        count = count_processes() * values.numel() / self.num_features
        broadcast = (1, -1, *[1] * (input.ndim - 2))
        mean = sum_over_processes(values.sum(axes)) / count
        # From the squares of what is already centred: E[x^2] - E[x]^2 loses the digits of a narrow distribution.
        centred = values - mean.view(broadcast)
        variance = sum_over_processes((centred * centred).sum(axes)) / count
        self._follow(mean.detach(), variance.detach() * count / max(1, count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(broadcast) + self.bias.view(broadcast)).to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as torch's BatchNorm does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, float(self.momentum or 0))
        self.running_var.lerp_(variance, float(self.momentum or 0))

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes will do."""


class SharedDropout(nn.Module):
    """Dropout of channels, drawn for the patches of all processes, of which each takes its own rows.

    Args:
        share: of channels dropped, 0 to 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, input: Tensor) -> Tensor:
        """`input` (n, channels, *space) with channels at 0 and the others raised, while training."""
        if not self.training or not self.share:
            return input
        world = count_processes()
        rows, channels, *space = input.shape
        noise = input.new_empty((world * rows, channels, *[1] * len(space)))
        noise = noise.bernoulli_(1 - self.share).div_(1 - self.share)
        # The patches of a step are dealt to the processes one by one; see `EpochSampler`.
        return input * (noise[distributed.get_rank() :: world] if world > 1 else noise)


def share_layers(network: nn.Module) -> None:
    """Put the shared kinds in place of the network's BatchNorm and dropout, with the same parameters."""
    for name, layer in network.named_children():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            shared = SharedBatchNorm(layer.num_features, layer.eps, layer.momentum)
            shared.load_state_dict(layer.state_dict(keep_vars=True), assign=True)
            setattr(network, name, shared)
        elif isinstance(layer, nn.Dropout2d | nn.Dropout3d):
            setattr(network, name, SharedDropout(layer.p))
        else:
            share_layers(layer)


def _have_met() -> bool:
    return distributed.is_available() and distributed.is_initialized()
