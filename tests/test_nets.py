from __future__ import annotations

import pytest
import torch
from torch import nn

from rawdenoise.inference.tiling import Tiles, denoise_tiled
from rawdenoise.nets import NETS, StabilizedDenoiser, build_net
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize

WHITE = torch.full((1, 4), 120.0)


def awake(name: str, seed: int = 0, exit_scale: float = 0.05) -> StabilizedDenoiser:
    """A network whose last layer is no longer zero."""
    torch.manual_seed(seed)
    net = build_net(name).eval()
    nn.init.normal_(net.backbone.exit.weight, std=exit_scale)
    for convolution in net.modules():  # as zero as the last layer: the ends of residual blocks
        if isinstance(convolution, nn.Conv2d) and not convolution.weight.any():
            nn.init.kaiming_normal_(convolution.weight)
    return net


@pytest.mark.parametrize("name", NETS)
def test_an_untrained_network_is_a_mild_blur(name: str) -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    slope = (20 + 0.2 * rows + 0.1 * columns).expand(1, 4, -1, -1)
    noise = torch.randn(slope.shape)
    with torch.inference_mode():
        clean = build_net(name)(slope + noise, WHITE) - slope
    assert 0.02 < float(clean[..., 8:-8, 8:-8].square().mean()) < 0.5
    assert abs(float(clean.mean()) - float(noise.mean())) < 0.01


@pytest.mark.parametrize("name", NETS)
def test_it_answers_at_every_multiple_of_its_multiple(name: str) -> None:
    net = awake(name)
    size = 3 * net.multiple
    with torch.inference_mode():
        z = torch.randn(1, 4, size, net.multiple)
        assert net(z, WHITE).shape == z.shape


def test_the_paper_network_has_the_papers_size() -> None:
    parameters = sum(p.numel() for p in build_net("paper").parameters())
    assert parameters == pytest.approx(1.10e6, rel=0.02)


@pytest.mark.parametrize(
    ("name", "offsets"), [("fast", range(8)), ("best", range(8)), ("paper", (0, 1, 15, 31))]
)
def test_nothing_farther_than_the_radius_matters(name: str, offsets: range | tuple[int, ...]) -> None:
    """Shake one column; what changes lies within the radius."""
    net = awake(name)
    radius = net.radius
    assert net.halo >= radius
    assert net.halo % net.multiple == 0
    middle = net.halo + net.multiple
    width = 2 * middle + net.multiple
    z = 50 + 3 * torch.randn(1, 4, 2 * net.multiple, width)
    farthest = 0
    with torch.inference_mode():
        before = net(z, WHITE)
        for offset in offsets:
            shaken = z.clone()
            shaken[..., middle + offset] += 40
            columns = (net(shaken, WHITE) != before).any(2).any(1)[0].nonzero().flatten() - (middle + offset)
            farthest = max(farthest, -int(columns.min()), int(columns.max()))
    assert farthest <= radius
    if name != "paper":  # no pooling that hides influence: the radius is reached
        assert farthest == radius


@pytest.mark.parametrize("name", ["fast", "best"])
def test_tiles_change_nothing(name: str) -> None:
    net = awake(name, exit_scale=0.02)
    noise = NoiseModel((1e-3,) * 4, (1e-5,) * 4)
    white = stabilized_white(noise)[None]

    def denoise(tile: torch.Tensor) -> torch.Tensor:
        return unstabilize(net(stabilize(tile, noise), white), noise)

    planes = torch.rand(4, 168, 200).numpy()
    whole, tiled = (
        denoise_tiled(
            planes, denoise, halo=net.halo, multiple=net.multiple, tiles=Tiles(size, blend=4), device=None
        )
        for size in (512, 64)
    )
    assert abs(whole - planes).max() > 1e-3
    assert abs(whole - tiled).max() < 1e-5


@pytest.mark.parametrize("name", NETS)
def test_the_noise_level_is_part_of_the_input(name: str) -> None:
    net = awake(name)
    z = 20 + torch.randn(1, 4, net.multiple, net.multiple)
    with torch.inference_mode():
        assert not torch.equal(net(z, WHITE), net(z, 2 * WHITE))
        both = net(z.expand(2, -1, -1, -1), torch.cat([WHITE, 2 * WHITE]))
        torch.testing.assert_close(both[1:], net(z, 2 * WHITE), rtol=1e-5, atol=1e-4)


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(KeyError):
        build_net("nonsense")
