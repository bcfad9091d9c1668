"""Where networks run."""

from __future__ import annotations

import torch

from rawdenoise.errors import SetupError


def pick_device(name: str = "auto") -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:1` or `mps` into a device that is really there.

    Raises:
        SetupError: the device is unknown or absent.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SetupError(f"device {name!r} is unknown; use auto, cpu, cuda, cuda:N or mps") from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= count.get(device.type, 0):
        raise SetupError(f"device {name!r} is not available to torch {torch.__version__} on this machine")
    return device


def prefers_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 matrices faster than float32: CUDA since Ampere, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)  # not public yet
    return device.type == "cpu" and tiles is not None and bool(tiles())
