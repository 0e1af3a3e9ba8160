from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNet

from tumorspread.errors import RecipeError
from tumorspread.model.unet import UNet, UNetConfig, check_edges, count_parameters, fold_norms


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("widths", [(4, 8), (4, 8, 16), (4, 8, 16, 16)])
def test_logits_have_the_shape_of_the_image(dims, norm, widths):
    network = UNet(UNetConfig(dims=dims, widths=widths, norm=norm)).eval()
    image = torch.randn(2, 1, *(16, 24, 32)[:dims])
    assert network(image).shape == image.shape


@pytest.mark.parametrize("dims", [2, 3])
def test_deep_supervision_gives_a_level_a_decoder_while_training_and_one_image_after(dims):
    network = UNet(UNetConfig(dims=dims, widths=(4, 8, 16, 16), deep_supervision=True))
    image = torch.randn(2, 1, *(16, 24, 32)[:dims])
    levels = network.train()(image)
    assert [tuple(level.shape[2:]) for level in levels] == [
        tuple(edge // 2**i for edge in image.shape[2:]) for i in range(3)
    ]
    assert network.eval()(image).shape == image.shape


def test_parameters_are_those_of_the_layers_by_formula():
    network = UNet(UNetConfig(dims=2, widths=(4, 8), norm="batch"))
    encoder = (1 * 4 + 4 * 4) * 9 + 2 * 2 * 4 + (4 * 8 + 8 * 8) * 9 + 2 * 2 * 8
    decoder = (8 * 4 * 4 + 4) + (8 * 4 + 4 * 4) * 9 + 2 * 2 * 4
    assert count_parameters(network) == encoder + decoder + (4 + 1)


def test_a_voxel_sees_as_far_as_the_deepest_level_and_no_further():
    network = UNet(UNetConfig(dims=2, widths=(2, 2, 2), norm="instance")).eval()
    network.apply(lambda m: setattr(m, "track_running_stats", False))
    for module in network.modules():
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = lambda x: x
    image = torch.zeros(1, 1, 128, 128, requires_grad=True)
    network(image)[0, 0, 64, 64].backward()
    reached = torch.nonzero(image.grad[0, 0]).abs()
    reach = (reached - 64).abs().max().item()
    # Two 3x3 convolutions at each level: 2 voxels at 1x (twice), 4 at 2x (twice), 8 at 4x, and the pooling cells.
    assert 16 < reach <= 2 * 2 + 2 * 4 + 8 + 4 + 2


def test_it_learns_a_blob_that_a_net_of_the_same_kind_learns_too():
    torch.manual_seed(0)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:20, 10:24] = 1
    image = mask + 0.3 * torch.randn_like(mask)
    losses = []
    for network in (UNet(UNetConfig(dims=2, widths=(8, 16))), BasicUNet(2, 1, 1, features=(8, 8, 8, 8, 8, 8))):
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        for _ in range(60):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(network(image), mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 0.05
    assert losses[0] < 2 * losses[1] + 0.02


@pytest.mark.parametrize(
    "settings", [{"widths": (8,)}, {"widths": (0, 8)}, {"norm": "group", "widths": (6, 8)}, {"dropout": 1.0}]
)
def test_an_impossible_network_is_refused(settings):
    with pytest.raises(RecipeError, match="unet"):
        UNetConfig(**settings)


@pytest.mark.parametrize("size", [(48, 48), (48, 48, 50), (0, 48, 48)])
def test_a_patch_that_cannot_be_halved_is_refused(size):
    with pytest.raises(RecipeError, match="multiple of 8"):
        check_edges(UNetConfig(dims=3, widths=(8, 8, 8, 8)), size)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_network_with_folded_norms_answers_the_same(dims, norm):
    torch.manual_seed(0)
    network = UNet(UNetConfig(dims=dims, widths=(4, 8, 8), norm=norm))
    image = torch.randn(2, 1, *(16,) * dims)
    for _ in range(3):
        network(image)  # running means and variances that are not 0 and 1
    network.eval()
    with torch.no_grad():
        wanted = network(image)
        folded = fold_norms(network)(image)
    assert torch.allclose(folded, wanted, atol=1e-4)
    kinds = [type(module).__name__.rstrip("23d") for module in fold_norms(network).modules()]
    assert kinds.count("BatchNorm") == 0
    assert kinds.count("InstanceNorm") == (10 if norm == "instance" else 0)
