"""A camera's training as it is asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from rawdenoise.models.model import Model
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.training.captures import CaptureSet
from rawdenoise.training.options import TrainingOptions, select_identifying_options
from rawdenoise.training.tile_building import digest_tiles
from rawdenoise.training.unpaired import Unpaired


@dataclass(frozen=True, slots=True, eq=False)
class CameraTraining:
    """What a camera's model learns from, and how.

    It begins with the weights of `start`, or with none. With `unpaired` it learns from clean ones among the
    captures as well, whatever the objective. The noise of captures is that of `profiles`, where they know it.
    """

    captures: CaptureSet
    options: TrainingOptions = TrainingOptions()  # noqa: RUF009 - frozen
    start: Model | None = None
    unpaired: Unpaired | None = None
    profiles: ProfileStore | None = None

    @property
    def method(self) -> str:
        """What a card says it was trained by."""
        return "unpaired" if self.unpaired else self.options.objective

    def run_id(self) -> str:
        """Name the folder of its tiles and checkpoint: the same for the same tiles and kind of model.

        Raises:
            ProfileError: the noise profile of this camera cannot be understood.
        """
        start = self.start.card.weights_sha256 if self.start else ""
        whole = [digest_tiles(self.captures, self.profiles), select_identifying_options(self.options), start]
        whole += [asdict(self.unpaired)] if self.unpaired else []
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:16]
