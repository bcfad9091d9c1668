from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rawdenoise.inference.tiling import Tiles, denoise_tiled


@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(8, 40), st.integers(0, 4), st.sampled_from([1, 2, 8]),
    st.integers(0, 9),
)  # fmt: skip
def test_the_identity_comes_back_whole(
    height: int, width: int, size: int, blend: int, multiple: int, halo: int
) -> None:
    planes = np.random.default_rng(0).standard_normal((4, height, width)).astype(np.float32)
    seen = []

    def identity(tile: Tensor) -> Tensor:
        seen.append(tile.shape)
        return tile

    out = denoise_tiled(planes, identity, halo=halo, multiple=multiple, tiles=Tiles(size, blend))
    np.testing.assert_allclose(out, planes, atol=1e-6)
    assert all(side % multiple == 0 for shape in seen for side in shape[2:])


def test_tiles_give_what_the_whole_gives() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(4, 8, 5, padding=2), nn.ReLU(), nn.AvgPool2d(4), nn.Conv2d(8, 8, 3, padding=1),
        nn.Upsample(scale_factor=4), nn.Conv2d(8, 4, 3, padding=1),
    )  # fmt: skip
    planes = np.random.default_rng(0).random((4, 133, 210), np.float32)
    whole = denoise_tiled(planes, net, halo=16, multiple=4, tiles=Tiles(4096))
    tiled = denoise_tiled(planes, net, halo=16, multiple=4, tiles=Tiles(40, 5))
    assert np.abs(whole - tiled).max() < 1e-5
    starved = denoise_tiled(planes, net, halo=0, multiple=4, tiles=Tiles(40, 0))
    assert np.abs(whole - starved).max() > 1e-3  # the halo is what does it


@pytest.mark.parametrize("size", [64, 512])
def test_a_tile_is_never_larger_than_asked(size: int) -> None:
    largest = 0

    def measure(tile: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, *tile.shape[2:])
        return tile

    denoise_tiled(np.zeros((4, 700, 300), np.float32), measure, halo=32, multiple=16, tiles=Tiles(size, 8))
    assert largest <= size + 2 * (32 + 8) + 2 * 15
