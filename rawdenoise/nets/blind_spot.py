"""Networks that tell a pixel from its surroundings alone: the dilated blind-spot network, D-BSN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from rawdenoise.nets.gaussians import DIAGONAL, FACTOR, PLANES, Prediction, posterior_mean
from rawdenoise.nets.noise_level import NoiseLevel
from rawdenoise.nets.stabilized import Network

REACH = 2  # of the kernel that the mean is made with, in packed pixels
NEIGHBORS = (2 * REACH + 1) ** 2 - 1
OUTPUTS = PLANES + FACTOR + NEIGHBORS
MINIMUM_SIGNAL_DEVIATION = 1e-2  # standard deviation of the signal, in units of the contrast around

Planes = Float32[Tensor, "b 4 h w"]


class BlindSpotDenoiser(Network):
    """A blind-spot mean with its covariance, a noise estimator, and Bayes' rule to put them together.

    `trunk` tells, from stabilised planes, what is needed for the first two; no answer of it may depend on the
    pixel it is about, in any of the four planes. The mean is made of the pixels around, with weights that the
    trunk chooses, and of what it adds, in units of the contrast around: so it need not learn scales.
    """

    multiple = 1

    def __init__(self, trunk: DilatedTrunk, noise: NoiseLevel) -> None:
        super().__init__()
        self.trunk = trunk
        self.noise = noise

    @property
    def radius(self) -> int:
        """An output pixel depends on no input farther away, in packed pixels, along either axis."""
        return self.trunk.radius

    def predict(self, stabilized: Planes, white: Float32[Tensor, "#b 4"]) -> Prediction:
        """Tell what is to be expected at each pixel without looking at it."""
        white = white.to(stabilized).reshape(-1, PLANES, 1, 1)
        level, contrast = _measure_surroundings(stabilized)
        answer = self.trunk(stabilized, white, level, contrast).float()
        added, factor, weights = answer.split([PLANES, FACTOR, NEIGHBORS], dim=1)
        mean = _weigh_neighbors(stabilized, weights) + contrast * added
        entries = [
            F.softplus(entry) + MINIMUM_SIGNAL_DEVIATION if at in DIAGONAL else entry
            for at, entry in enumerate(factor.unbind(dim=1))
        ]
        return Prediction(mean, contrast * torch.stack(entries, dim=1), self.noise(mean, white))

    def forward(self, stabilized: Planes, white: Float32[Tensor, "#b 4"]) -> Planes:
        """Denoise: the signal that is expected when its pixel, too, is seen."""
        return posterior_mean(self.predict(stabilized, white), stabilized)


class DilatedTrunk(nn.Module):
    """Two branches: a 3x3 convolution without its centre, then dilation 2; a 5x5 one, then dilation 3.

    Dilated steps lead from a pixel only to others whose distance is a multiple of the dilation, along both
    axes, and none of the first convolution's pixels lies so: the pixel itself is never met (Wu et al. 2020,
    section 3.2). 1x1 convolutions elsewhere. `depths` are the numbers of dilated convolutions in each path of
    a block.
    """

    def __init__(self, features: int, blocks: int, depths: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_Branch(features, dilation, blocks, depths) for dilation in (2, 3)])
        self.radius = 2 + 3 * max(depths) * blocks
        exit = nn.Conv2d(features, OUTPUTS, 1)
        nn.init.zeros_(exit.weight)
        nn.init.zeros_(exit.bias)  # type: ignore[arg-type]
        self.exit = nn.Sequential(
            nn.Conv2d(2 * features, features, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(features, features, 1),
            nn.LeakyReLU(0.1),
            exit,
        )

    def forward(
        self,
        stabilized: Planes,
        white: Float32[Tensor, "#b 4 1 1"],
        level: Planes,
        contrast: Float32[Tensor, "b 1 h w"],
    ) -> Float[Tensor, "b 38 h w"]:
        """Tell mean, factor and weights; `level` and `contrast` are those of the pixels around."""
        noise = (10 / white.mean(dim=1, keepdim=True)).expand_as(contrast)
        around = torch.cat([level / white, contrast.log() / 3, noise], dim=1)
        views = [branch(stabilized, level, contrast, around) for branch in self.branches]
        answer: Tensor = self.exit(torch.cat(views, dim=1))
        return answer


class _Branch(nn.Module):
    """A convolution that is blind to its centre, then blocks of dilated ones.

    The first convolution sees differences to the level around, in units of the contrast around.
    """

    def __init__(self, features: int, dilation: int, blocks: int, depths: tuple[int, ...]) -> None:
        super().__init__()
        self.dilation = dilation
        size = 2 * dilation - 1
        self.entry = nn.Conv2d(PLANES, features, size, bias=False)
        self.around = nn.Conv2d(PLANES + 2, features, 1)
        self.blocks = nn.Sequential(*(_Block(features, dilation, depths) for _ in range(blocks)))
        self.mask: Tensor
        self.register_buffer("mask", torch.ones(size, size), persistent=False)
        self.mask[dilation - 1, dilation - 1] = 0

    def forward(self, stabilized: Tensor, level: Tensor, contrast: Tensor, around: Tensor) -> Tensor:
        """Look at what is around each pixel."""
        weights = self.entry.weight * self.mask
        # Differences of large numbers: never with the ten bits of half precision, or of TF32.
        full = torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False)
        with torch.autocast(stabilized.device.type, enabled=False), full:
            seen = F.conv2d(_extend(stabilized, self.dilation), weights)
            x = (seen - F.conv2d(level, weights.sum(dim=(2, 3), keepdim=True))) / contrast
        out: Tensor = self.blocks(x + self.around(around))
        return out


class _Block(nn.Module):
    """Paths of dilated convolutions of several depths, side by side, and a way around them."""

    def __init__(self, features: int, dilation: int, depths: tuple[int, ...]) -> None:
        super().__init__()

        def path(depth: int) -> nn.Sequential:
            steps: list[nn.Module] = [nn.Conv2d(features, features, 1), nn.LeakyReLU(0.1)]
            for _ in range(depth):
                dilated = nn.Conv2d(features, features, 3, padding=dilation, dilation=dilation)
                steps += [dilated, nn.LeakyReLU(0.1)]
            return nn.Sequential(*steps)

        self.paths = nn.ModuleList([path(depth) for depth in depths])
        self.exit = nn.Conv2d(len(depths) * features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the paths find."""
        out: Tensor = x + self.exit(torch.cat([path(x) for path in self.paths], dim=1))
        return out


def _measure_surroundings(planes: Planes) -> tuple[Planes, Float32[Tensor, "b 1 h w"]]:
    """Mean of the eight neighbours, and their contrast: in sigmas, of all planes together, at least 1."""
    neighbors = _list_neighbors(planes, 2)
    mean = sum(neighbors[1:], start=neighbors[0]) / len(neighbors)
    squares = [(neighbor - mean).square().mean(dim=1, keepdim=True) for neighbor in neighbors]
    contrast = (1 + sum(squares[1:], start=squares[0]) / len(squares)).sqrt()
    return mean, contrast


def _weigh_neighbors(planes: Planes, weights: Float32[Tensor, "b 24 h w"]) -> Planes:
    """Average the pixels around, the same weights for all planes."""
    shares = torch.softmax(weights, dim=1)[:, :, None].unbind(dim=1)
    parts = [
        share * neighbor for share, neighbor in zip(shares, _list_neighbors(planes, REACH + 1), strict=True)
    ]
    return sum(parts[1:], start=parts[0])


def _list_neighbors(planes: Planes, period: int) -> list[Planes]:
    """The planes moved so that each pixel's neighbours, but not itself, come to lie on it."""
    height, width = planes.shape[2:]
    extended = _extend(planes, period)
    places = [(row, column) for row in range(2 * period - 1) for column in range(2 * period - 1)]
    places.remove((period - 1, period - 1))
    return [extended[..., row : row + height, column : column + width] for row, column in places]


def _extend(planes: Planes, period: int) -> Tensor:
    """Add `period` - 1 pixels on each side, each a copy of the one a period further in.

    So no pixel comes to lie at a distance from itself that is a multiple of the period along both axes, as
    it would if the planes were mirrored: what was blind stays blind at the edges.
    """
    for axis in (2, 3):
        length = planes.shape[axis]
        before = planes.narrow(axis, 1, period - 1)
        after = planes.narrow(axis, length - period, period - 1)
        planes = torch.cat([before, planes, after], dim=axis)
    return planes


def d_bsn(**noise: bool) -> BlindSpotDenoiser:
    """The network at about the paper's size: 96 features, eight blocks a branch; 6.3 M weights."""
    return BlindSpotDenoiser(DilatedTrunk(96, 8, (1, 2, 1)), NoiseLevel(**noise))


def d_bsn_light(**noise: bool) -> BlindSpotDenoiser:
    """For two cores: 32 features, four blocks a branch; 0.10 M weights."""
    return BlindSpotDenoiser(DilatedTrunk(32, 4, (1,)), NoiseLevel(**noise))
