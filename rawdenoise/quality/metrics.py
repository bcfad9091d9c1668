"""How close two pictures are: PSNR and SSIM on packed planes, 0 black to 1 white."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

Pixels = Float[np.ndarray, "*shape"]
Planes = Float[np.ndarray, "c h w"]

WINDOW_RADIUS = 5
WINDOW_SIGMA = 1.5


def psnr(first: Pixels, second: Pixels, *, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    difference = np.subtract(first, second, dtype=np.float64)
    error = float(np.mean(np.square(difference, out=difference)))
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(first: Planes, second: Planes, *, peak: float = 1.0) -> float:
    """Structural similarity, the mean over all planes; 1 for equal pictures.

    Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 2004, eq. 13: 11x11 Gaussian window of sigma 1.5, K1 0.01,
    K2 0.03, only where the window lies wholly inside (planes of at least 11x11), population moments.
    """
    planes = [_plane_ssim(a, b, peak) for a, b in zip(first, second, strict=True)]
    return float(np.mean(planes))


def _plane_ssim(first: Float[np.ndarray, "h w"], second: Float[np.ndarray, "h w"], peak: float) -> float:
    a, b = first.astype(np.float64), second.astype(np.float64)
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    variance_a = _window_mean(a * a) - mean_a**2
    variance_b = _window_mean(b * b) - mean_b**2
    covariance = _window_mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    likeness /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return float(likeness.mean())


def _window_mean(plane: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h-10 w-10"]:
    """Average under the Gaussian window, columns then rows."""
    offsets = np.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    weights /= weights.sum()
    height, width = plane.shape
    size = len(weights)
    down = sum(weight * plane[k : height - size + 1 + k] for k, weight in enumerate(weights))
    return np.asarray(sum(weight * down[:, k : width - size + 1 + k] for k, weight in enumerate(weights)))
