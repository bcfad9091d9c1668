"""A way to denoise that is no model of ours: another package's function of planes and their noise."""

from __future__ import annotations

from dataclasses import dataclass

from rawdenoise.errors import ExtensionError
from rawdenoise.extensions.protocols import Denoiser
from rawdenoise.extensions.registry import extensions, load


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A denoiser under its name and the version of the package it comes from."""

    name: str
    version: str
    denoiser: Denoiser

    @property
    def id(self) -> str:
        """What outputs say they were made by."""
        return f"{self.name}-{self.version}"


def load_method(name: str) -> Method:
    """Make the denoiser that is registered under a name.

    Raises:
        ExtensionError: there is none, or it cannot be made.
    """
    make = load("denoisers", name)
    extension = extensions("denoisers")[name]
    source = f"{extension.package} {extension.version}".rstrip()
    try:
        denoiser = make()  # type: ignore[operator]
    except Exception as error:
        raise ExtensionError(
            f"{name}, of {source}, cannot be made ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(denoiser, Denoiser):
        raise ExtensionError(
            f"{name}, of {source}, is no denoiser: it needs `halo`, `multiple` and to be called"
        )
    return Method(name, extension.version, denoiser)
