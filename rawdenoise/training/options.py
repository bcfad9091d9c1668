"""How a training is to be: its options, and which of them make it another training."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rawdenoise.errors import TrainingError
from rawdenoise.nets import BLIND_SPOTS, NETS, Network
from rawdenoise.training.objectives import NEED_BLIND_SPOTS, OBJECTIVES

SMALLEST_CROP = 16  # packed pixels a side
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How to train. The budget is a number of `crops` (repeatable) if given, else `minutes`.

    `crop_size` is in packed pixels, cut down to what there is room for. `gamma` weighs the pseudo-supervised
    term. Without a `learning_rate` it is 1e-3 from nothing and 3e-4 from a trained network. `precision` is
    float32, bfloat16 (weights and losses stay float32), or auto: bfloat16 where the device is faster at it.
    With `guard` the training ends where nothing more is gained, and where the estimated risk rises for good.
    """

    net: str = "fast"
    objective: str = "gr2r"
    gamma: float = 1.0
    minutes: float | None = 10.0
    crops: int | None = None
    batch: int = 16
    crop_size: int = 64
    learning_rate: float | None = None
    ema_decay: float = 0.998
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    guard: bool = True
    min_captures: int = 3
    checkpoint_s: float = 30.0


def check_options(options: TrainingOptions) -> None:
    """Refuse options that no training can have.

    Raises:
        TrainingError: an unknown network, objective or precision, or no budget.
    """
    known = (
        ("network", options.net, (*NETS, *BLIND_SPOTS)),
        ("objective", options.objective, OBJECTIVES),
        ("precision", options.precision, PRECISIONS),
    )
    for kind, chosen, names in known:
        if chosen not in names:
            raise TrainingError(f"no {kind} called {chosen!r}; there are {', '.join(names)}")
    if options.objective in NEED_BLIND_SPOTS and options.net not in BLIND_SPOTS:
        one_of = ", ".join(BLIND_SPOTS)
        raise TrainingError(f"the objective {options.objective!r} needs a blind-spot network ({one_of})")
    if options.crops is None and options.minutes is None:
        raise TrainingError("training needs a budget, in minutes or in crops")


def record_options(options: TrainingOptions) -> dict[str, object]:
    """The options by the names that cards have for them, from the first."""
    names = {"crops": "images", "crop_size": "crop"}
    return {names.get(name, name): value for name, value in asdict(options).items()}


def select_identifying_options(options: TrainingOptions) -> dict[str, object]:
    """What of the options makes it another training; the rest says how long, and where it runs."""
    aside = {"minutes", "images", "device", "precision", "min_captures", "checkpoint_s"}
    return {name: value for name, value in record_options(options).items() if name not in aside}


def limit_crop_size(options: TrainingOptions, net: Network, largest_crop: int) -> int:
    """The size of the crops of a training, in packed pixels: no more than there is room for.

    Raises:
        TrainingError: the captures are too small for this network.
    """
    multiple = net.multiple * (2 if options.objective == "neighbor2neighbor" else 1)  # it halves the crops
    size = min(options.crop_size, largest_crop) // multiple * multiple
    if size < max(SMALLEST_CROP, multiple):
        raise TrainingError(f"the captures are too small to train on ({2 * largest_crop} pixels)")
    return size
