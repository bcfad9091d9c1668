"""How much better one picture became, and what may be wrong with it: the record that is kept of a result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Flag(StrEnum):
    """What may be wrong with a result; `words` says it to a person."""

    NOISE = "noise-model"
    STRUCTURE = "structure"
    COLLAPSED = "collapsed"
    OVERSMOOTHED = "over-smoothed"

    @property
    def words(self) -> str:
        """The flag in words."""
        return {
            "noise-model": "the noise model does not fit",
            "structure": "what was taken away holds structure",
            "collapsed": "hardly anything was taken away",
            "over-smoothed": "no better than the capture",
        }[self.value]


@dataclass(frozen=True, slots=True)
class PictureQuality:
    """How much better a picture became: PSNR in dB (peak: white above black), estimated, never measured.

    `interval` holds the gain with 95 %: by chance, and by what the noise model may be wrong. The rest is of
    the network's full answer, in units of the noise's variance: `chi2` is the mean squared residual and
    `divergence` the share of the noise that is left, by Stein's lemma. Their sum is 1 where noise model and
    network are right: `fit` is that of flat parts, `level_fit` of the level where it is farthest from 1, and
    `structure` is how much more it is in structured parts. `correlation` is that of neighbouring residuals.
    Where the noise is not known, `told` is false: what is in dB then means nothing, and is for nobody.
    `share` is how much of what was to be taken away it is of: less than 1 where all of it might be a loss.
    """

    psnr_before: float
    psnr_after: float
    interval: tuple[float, float]
    flags: tuple[Flag, ...]
    chi2: float
    divergence: float
    fit: float
    level_fit: float
    structure: float
    correlation: float
    told: bool = True
    share: float = 1.0

    @property
    def loses(self) -> bool:
        """Whether the picture is likelier to have become worse than better."""
        return self.told and self.gain_db < 0

    @property
    def safe_strength(self) -> float:
        """The strength at which the worst of the interval is best; 1 where even that is a gain.

        Of a picture that was judged at full strength. With a divergence of d, a strength s leaves an error of
        (1 - s)^2 V + 2 s (1 - s) d V + s^2 E, V being the noise's variance and E the error at full strength.
        """
        if not self.told or self.interval[0] >= 0:
            return 1.0
        common = min(max(self.divergence, 0.0), 1.0)
        worst = 10 ** (-self.interval[0] / 10)
        return min((1 - common) / (1 - 2 * common + worst), 1.0)

    @property
    def gain_db(self) -> float:
        """PSNR won."""
        return self.psnr_after - self.psnr_before
