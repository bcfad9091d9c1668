"""Training as a use case: records in, events and records out, without a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_cli_denoise import CAMERA, a_capture

from rawdenoise.app.stores import Stores
from rawdenoise.app.train import TrainRequest, find_cameras, train_cameras
from rawdenoise.app.training_events import (
    CameraBegun,
    CameraFound,
    CameraTrained,
    Event,
    FileRefused,
    FilesRead,
    TrainingOutcome,
    TrainingResumed,
)
from rawdenoise.errors import NothingMatchedError, TooFewCapturesError
from rawdenoise.models.store import ModelStore
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import Progress, TrainingStopped

pytestmark = pytest.mark.usefixtures("few_crops")

QUICK = TrainingOptions(minutes=None, crops=16, batch=4, crop_size=24, device="cpu")


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    models, profiles = ModelStore(tmp_path / "models"), ProfileStore(tmp_path / "cameras")
    return Stores(models, profiles, digests=tmp_path / "cache", scratch=tmp_path / "cache")


@pytest.fixture
def request_of_three(tmp_path: Path) -> TrainRequest:
    for number in range(3):
        a_capture(tmp_path / "captures" / f"{number}.dng", 192, 256, seed=number)
    (tmp_path / "captures" / "broken.dng").write_bytes(b"no raw file")
    return TrainRequest((tmp_path / "captures",), QUICK, from_bundled=False)


def trained(request: TrainRequest, stores: Stores, events: list[Event]) -> list[CameraTrained]:
    found = find_cameras(request, on_event=events.append)
    return list(train_cameras(request, found, stores, on_event=events.append))


def test_a_request_gives_events_and_a_result_for_each_camera(
    request_of_three: TrainRequest, stores: Stores
) -> None:
    events: list[Event] = []
    (result,) = trained(request_of_three, stores, events)
    assert [event.count for event in events if isinstance(event, FilesRead)] == [1, 2, 3, 4]
    assert [type(event) for event in events if not isinstance(event, FilesRead | Progress)] == [
        FileRefused,
        CameraFound,
        CameraBegun,
    ]
    assert CameraFound(replace(CAMERA, mode="256x192 14-bit"), 3, (800,), 3) in events
    assert isinstance(events[-1], Progress)
    assert (result.outcome, result.error) == (TrainingOutcome.NOT_BETTER, None)
    assert not stores.models.cards()
    assert list((stores.scratch / "training").rglob("checkpoint*"))  # what it has learned stays


def test_what_was_left_is_kept_by_the_same_request_that_asks_for_it(
    request_of_three: TrainRequest, stores: Stores
) -> None:
    trained(request_of_three, stores, [])
    events: list[Event] = []
    more = replace(request_of_three, keep_if_worse=True, options=replace(QUICK, crops=24))
    (result,) = trained(more, stores, events)
    assert TrainingResumed(16) in events
    assert result.outcome is TrainingOutcome.KEPT
    assert result.card is not None
    assert [card.id for card in stores.models.cards()] == [result.card.id]
    assert not list((stores.scratch / "training").rglob("checkpoint*"))


def test_a_stop_ends_all_and_leaves_a_checkpoint(request_of_three: TrainRequest, stores: Stores) -> None:
    found, begun = find_cameras(request_of_three), list[Event]()

    def note(event: Event) -> None:
        if isinstance(event, Progress) and event.crops:
            begun.append(event)

    with pytest.raises(TrainingStopped):
        list(train_cameras(request_of_three, found, stores, on_event=note, stop=lambda: bool(begun)))
    assert list((stores.scratch / "training").rglob("checkpoint*"))


def test_nothing_to_train_on_is_an_error_of_its_kind(request_of_three: TrainRequest, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingMatchedError):
        find_cameras(replace(request_of_three, inputs=(tmp_path / "empty",)))
    with pytest.raises(TooFewCapturesError) as few:
        find_cameras(replace(request_of_three, options=replace(QUICK, min_captures=4)))
    assert "--" not in str(few.value)
