"""The U-Net, in 2-D and 3-D from one module.

Ronneberger et al. 2015 (doi:10.1007/978-3-319-24574-4_28) and, in 3-D, Çiçek et al. 2016
(doi:10.1007/978-3-319-46723-8_49): an encoder of convolution blocks and max-pooling, a decoder of upsampling and
convolution blocks, and skip connections between them. The network gives logits; the sigmoid stands in the loss
and in `predict`, where it is numerically safe.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tumorspread.errors import RecipeError

# Tumour is rare, so the network starts by saying so (Lin et al. 2017, doi:10.1109/ICCV.2017.324, section 4.1). From
# an even start it spent its first hundreds of steps learning that most voxels are not tumour.
PRIOR_LOGIT = -4.0

Norm = Literal["batch", "instance", "group"]


@dataclass(frozen=True)
class UNetConfig:
    """Shape of the network.

    Attributes:
        dims: 2 or 3 spatial dimensions.
        widths: feature channels a level, from full resolution down; their number is the depth.
        norm: normalisation after each convolution; batch folds into the convolutions at inference.
        convolutions: convolutions a block.
        dropout: share of channels dropped in the deepest block, 0 to 1.
        deep_supervision: also give logits at the coarser decoder levels while training.
    """

    dims: Literal[2, 3] = 3
    widths: tuple[int, ...] = (16, 32, 64, 128)
    norm: Norm = "batch"
    convolutions: int = 2
    dropout: float = 0.0
    deep_supervision: bool = False

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise RecipeError(f"unet.widths {self.widths}: expected two or more positive channel counts")
        if self.norm == "group" and any(w % 4 for w in self.widths):
            raise RecipeError(f"unet.widths {self.widths}: with norm 'group' each must be a multiple of 4")
        if self.convolutions < 1 or not 0 <= self.dropout < 1:
            raise RecipeError("unet: expected one convolution or more a block and 0 <= dropout < 1")

    @property
    def stride(self) -> int:
        """Every edge of an input must be a multiple of this many voxels."""
        return int(2 ** (len(self.widths) - 1))


class UNet(nn.Module):
    """Image (n, 1, *space) in, logits (n, 1, *space) out, each edge a multiple of `config.stride`.

    While training with deep supervision the output is a list: full resolution first, then each coarser level.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        inputs = (1, *config.widths[:-1])
        self.encoders = nn.ModuleList(_block(config, i, o) for i, o in zip(inputs, config.widths, strict=True))
        self.pool = (nn.MaxPool2d if config.dims == 2 else nn.MaxPool3d)(2)
        self.dropout = (nn.Dropout2d if config.dims == 2 else nn.Dropout3d)(config.dropout)
        up = nn.ConvTranspose2d if config.dims == 2 else nn.ConvTranspose3d
        coarse_to_fine = list(zip(config.widths[:0:-1], config.widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(up(deep, fine, kernel_size=2, stride=2) for deep, fine in coarse_to_fine)
        self.decoders = nn.ModuleList(_block(config, 2 * fine, fine) for _, fine in coarse_to_fine)
        heads = config.widths[-2::-1] if config.deep_supervision else config.widths[:1]
        self.heads = nn.ModuleList(_head(config, width) for width in heads)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits for `image`; see the class."""
        skips = []
        x = image
        for encoder in self.encoders[:-1]:
            x = encoder(x)
            skips.append(x)
            x = self.pool(x)
        x = self.dropout(self.encoders[-1](x))
        levels = []
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(torch.cat([skips.pop(), up(x)], dim=1))
            levels.append(x)
        if self.config.deep_supervision and self.training:
            return [head(level) for head, level in zip(self.heads, levels, strict=True)][::-1]
        return self._logits(x)

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.heads[-1](x)
        return logits


def _block(config: UNetConfig, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(config.convolutions):
        source = inputs if i == 0 else outputs
        layers += [
            _convolution(config)(source, outputs, kernel_size=3, padding=1, bias=False),
            _norm(config, outputs),
            nn.LeakyReLU(0.01, inplace=True),
        ]
    return nn.Sequential(*layers)


def _head(config: UNetConfig, width: int) -> nn.Module:
    head = _convolution(config)(width, 1, kernel_size=1)
    nn.init.constant_(cast(Tensor, head.bias), PRIOR_LOGIT)
    return head


def _convolution(config: UNetConfig) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return nn.Conv2d if config.dims == 2 else nn.Conv3d


def _norm(config: UNetConfig, channels: int) -> nn.Module:
    if config.norm == "group":
        return nn.GroupNorm(channels // 4, channels)
    if config.norm == "instance":
        instance = nn.InstanceNorm2d if config.dims == 2 else nn.InstanceNorm3d
        return instance(channels, affine=True)
    batch = nn.BatchNorm2d if config.dims == 2 else nn.BatchNorm3d
    return batch(channels)


def fold_norms(network: UNet) -> UNet:
    """A copy for prediction alone, with each batch normalisation folded into its convolution: the same answers, sooner.

    Args:
        network: in evaluation mode; other norms stay as they are.
    """
    folded = copy.deepcopy(network)
    for block in (*folded.encoders, *folded.decoders):
        layers = cast(nn.Sequential, block)
        for at in range(0, len(layers), 3):
            convolution, norm = layers[at], layers[at + 1]
            if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
                layers[at], layers[at + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()  # type: ignore[type-var]
    return folded


def count_parameters(network: nn.Module) -> int:
    """Number of trained numbers in the network."""
    return sum(p.numel() for p in network.parameters())


def check_edges(config: UNetConfig, size: Sequence[int]) -> None:
    """Refuse a patch that the network cannot halve as often as it must.

    Raises:
        RecipeError: a wrong number of edges, or an edge that is no multiple of `config.stride`.
    """
    if len(size) != config.dims or any(edge < 1 or edge % config.stride for edge in size):
        raise RecipeError(
            f"patch.size {tuple(size)}: a {config.dims}-D U-Net of {len(config.widths)} levels needs "
            f"{config.dims} edges, each a multiple of {config.stride}"
        )
