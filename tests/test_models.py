from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from rawdenoise.app.stores import user_stores
from rawdenoise.capture.raw import Camera
from rawdenoise.errors import ModelFileError, ModelMissingError
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.card import ModelCard
from rawdenoise.models.choice import choose_model
from rawdenoise.models.model import Model, new_model
from rawdenoise.models.store import ModelStore
from rawdenoise.nets import build_net
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel

CAMERA = Camera("Nikon", "NIKON D1", "", "2000x1312 12-bit")
NOISE = NoiseModel((1e-3, 1.1e-3, 1.1e-3, 1e-3), (1e-6,) * 4)


def trained(camera: Camera = CAMERA, seed: int = 0, created: str | None = None) -> Model:
    torch.manual_seed(seed)
    net = build_net("fast")
    nn.init.normal_(net.backbone.exit.weight, std=0.05)
    card = ModelCard(
        id="",
        camera=camera,
        net="fast",
        iso_range=(100, 1600),
        noise=(IsoNoise(100, NOISE, 2), IsoNoise(None, NOISE, 1)),
        captures=("ab" * 32, "cd" * 32),
        objective="gr2r",
        options={"gamma": 1.0, "net": "fast"},
        seed=seed,
        versions={"torch": "2"},
        created="",
        figures={"chi2": 0.8},
        weights_sha256="",
    )
    model = new_model(net, card)
    return model if created is None else Model(replace(model.card, created=created), model.net)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_a_model_survives_the_store(store: ModelStore) -> None:
    model = trained()
    folder = store.save(model)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]
    loaded = store.load(model.card.id[:12])
    assert loaded.card == model.card
    assert not loaded.net.training
    z, white = 30 + torch.randn(1, 4, 16, 16), torch.full((1, 4), 60.0)
    with torch.inference_mode():
        assert torch.equal(loaded.net(z, white), model.net(z, white))


def test_ids_tell_camera_date_and_weights() -> None:
    card = trained().card
    assert card.id.startswith("nikon-d1-20")
    assert card.id.endswith(card.weights_sha256[:8])
    assert trained(Camera("", "../../Ω /etc")).card.id.startswith("etc-")
    assert trained(Camera("", "Ω")).card.id.startswith("camera-")


def test_the_folder_comes_from_the_environment(own_store: Path) -> None:
    assert user_stores().models.folder == own_store
    assert user_stores().models.cards() == []


def test_find_takes_the_newest_of_exactly_this_camera(store: ModelStore) -> None:
    old, new = trained(seed=1, created="2024-01-01T00:00:00+00:00"), trained(seed=2)
    for model in (new, old, trained(replace(CAMERA, mode="other"), seed=3)):
        store.save(model)
    assert store.find(replace(CAMERA, serial="123", make="nikon ")).card.id == new.card.id
    assert [card.id for card in store.cards()][-1] == old.card.id


def test_a_missing_model_says_how_to_train_one(store: ModelStore) -> None:
    with pytest.raises(ModelMissingError, match=r"NIKON D1.*rawdenoise train"):
        store.find(CAMERA)
    store.save(trained(replace(CAMERA, mode="1000x656 12-bit")))
    with pytest.raises(ModelMissingError, match="1000x656 12-bit"):
        store.find(CAMERA)
    with pytest.raises(ModelMissingError, match="models list"):
        store.load("nonsense")


def test_a_file_that_names_no_camera_has_its_model_chosen_by_hand(store: ModelStore) -> None:
    nameless = Camera(mode=CAMERA.mode)
    with pytest.raises(ModelMissingError, match=r"give --model ID$"):
        store.find(nameless)
    store.save(trained(replace(CAMERA, mode="1000x656 12-bit"), seed=1))
    fitting = trained(seed=2)
    store.save(fitting)
    with pytest.raises(ModelMissingError, match=rf"--model ID; .*there is {fitting.card.id}$"):
        store.find(nameless)


def test_a_missing_model_may_be_a_broken_one(store: ModelStore) -> None:
    card_is_no_json(store.save(trained(OTHER)))
    with pytest.raises(ModelMissingError, match=r"rawdenoise train.*\(1 broken: `rawdenoise models verify`"):
        store.find(CAMERA)


OTHER = Camera("Canon", "EOS R5", "", "8192x5464 14-bit")
BREAKS = ["card_is_no_json", "card_is_a_list", "newer_format", "unknown_network", "card_lacks_a_field"]


@pytest.mark.parametrize("spoil", BREAKS)
def test_a_card_that_cannot_be_read_is_never_replaced_by_another_model(store: ModelStore, spoil: str) -> None:
    globals()[spoil](store.save(trained()))
    (folder,) = store.folder.iterdir()
    for _ in range(2):
        with pytest.raises(
            ModelFileError, match=rf"may be the model of NIKON D1.*models remove {folder.name}"
        ):
            choose_model(CAMERA, store)
        store.save(trained(seed=1, created="2024-01-01T00:00:00+00:00"))  # an older one that can be read
    assert choose_model(OTHER, store).card.id == load_bundled("fast").card.id


def test_a_card_that_can_be_excluded_stops_nobody(store: ModelStore) -> None:
    newer_format(store.save(trained(replace(CAMERA, mode="1000x656 12-bit"), seed=1)))
    assert choose_model(CAMERA, store).card.id == load_bundled("fast").card.id
    older = trained(seed=2, created="2024-01-01T00:00:00+00:00")
    older = Model(replace(older.card, id=older.card.id.replace(older.card.id[-17:-9], "20240101")), older.net)
    card_is_no_json(store.save(older))
    newest = trained(seed=3)
    store.save(newest)
    assert choose_model(CAMERA, store).card.id == newest.card.id
    assert store.load(newest.card.id[:-4]).card.id == newest.card.id


def test_a_card_whose_folder_tells_nothing_might_be_anybodys(store: ModelStore) -> None:
    folder = store.save(trained())
    card_is_no_json(folder)
    folder.rename(folder.with_name("backup"))
    for camera in (CAMERA, OTHER):
        with pytest.raises(ModelFileError, match="models remove backup"):
            choose_model(camera, store)


def test_an_ambiguous_beginning_is_refused(store: ModelStore) -> None:
    for seed in (1, 2):
        store.save(trained(seed=seed))
    with pytest.raises(ModelMissingError, match="fits 2 models"):
        store.load("nikon")


def test_weights_and_card_must_belong_together(store: ModelStore) -> None:
    model = trained()
    with torch.no_grad():
        model.net.backbone.exit.weight += 1
    with pytest.raises(ModelFileError, match="not those of its card"):
        store.save(model)
    assert store.cards() == []


def truncate(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(folder: Path) -> None:
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose_the_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


def card_of_another(folder: Path) -> None:
    change_card(folder, id="another-model")


def card_is_no_json(folder: Path) -> None:
    (folder / "card.json").write_bytes(b"\xff{]")


def card_is_a_list(folder: Path) -> None:
    (folder / "card.json").write_text("[1]")


def card_lacks_a_field(folder: Path) -> None:
    change_card(folder, noise=None)


def unknown_network(folder: Path) -> None:
    change_card(folder, net="transformer")


def newer_format(folder: Path) -> None:
    change_card(folder, format=99)


def nests_without_end(folder: Path) -> None:
    (folder / "card.json").write_text('{"format": 1, "options": ' + "[" * 100_000)


def evil_id(folder: Path) -> None:
    change_card(folder, id="../../evil")


def negative_noise(folder: Path) -> None:
    change_card(
        folder, noise=[{"iso": 1, "noise": {"shot": [0] * 4, "read_variance": [1] * 4}, "captures": 1}]
    )


def other_tensors(folder: Path) -> None:
    forge(folder, lambda state: {**state, "extra": torch.zeros(1)})


def other_shapes(folder: Path) -> None:
    forge(folder, lambda state: {name: tensor.flatten() for name, tensor in state.items()})


def other_types(folder: Path) -> None:
    forge(folder, lambda state: {name: tensor.double() for name, tensor in state.items()})


def not_numbers(folder: Path) -> None:
    forge(folder, lambda state: {name: tensor * float("nan") for name, tensor in state.items()})


def pickled(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "weights.safetensors")
    redo_digest(folder)


def change_card(folder: Path, **changes: object) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def forge(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Other weights under a card that was made to fit them."""
    path = folder / "weights.safetensors"
    path.write_bytes(safetensors.torch.save(change(safetensors.torch.load(path.read_bytes()))))
    redo_digest(folder)


def redo_digest(folder: Path) -> None:
    change_card(
        folder, weights_sha256=hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    )


HARMS = [
    truncate,
    flip_a_bit,
    lose_the_weights,
    card_of_another,
    card_is_no_json,
    card_is_a_list,
    card_lacks_a_field,
    unknown_network,
    newer_format,
    nests_without_end,
    evil_id,
    negative_noise,
    other_tensors,
    other_shapes,
    other_types,
    not_numbers,
    pickled,
]


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_model_is_refused_in_one_line(store: ModelStore, harm: Callable[[Path], None]) -> None:
    model = trained()
    harm(store.save(model))
    with pytest.raises(ModelFileError) as caught:
        store.load(model.card.id)
    assert "\n" not in str(caught.value)
    store.remove(model.card.id)
    assert not list(store.folder.iterdir())


EVIDENCE = {
    "iso": 100, "tiles": 3, "pixels": 300, "gain_db": 4.5, "error_db": 0.1, "mean": 0.0, "chi2": 0.9,
    "divergence": 0.1, "structure": 0.0, "autocorrelation": [0.1, -0.1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"camera": {"make": "", "model": "M", "mode": ""}}, "`serial` - at `$.camera`"),
        ({"camera": {"make": 1, "model": "M", "serial": "", "mode": ""}}, "$.camera.make"),
        ({"seed": "1"}, "$.seed"),
        ({"seed": 1.0}, "$.seed"),
        ({"iso_range": [100]}, "$.iso_range"),
        ({"captures": "ab"}, "$.captures"),
        ({"captures": [1]}, "$.captures[0]"),
        ({"versions": {"torch": 2}}, "$.versions"),
        ({"figures": {"chi2": "0.8"}}, "$.figures"),
        ({"history": [{"loss": None}]}, "$.history[0]"),
        ({"noise": [{"iso": 100, "captures": 1}]}, "`noise` - at `$.noise[0]`"),
        (
            {"noise": [{"iso": 1, "captures": 1, "noise": {"shot": [1] * 3, "read_variance": [1] * 4}}]},
            "shot",
        ),
        ({"evidence": [EVIDENCE, {**EVIDENCE, "iso": "100"}]}, "$.evidence[1].iso"),
        ({"evidence": [{**EVIDENCE, "autocorrelation": [1]}]}, "$.evidence[0].autocorrelation"),
        ({"created": "yesterday"}, "yesterday"),
        ({"format": "1\n2"}, "a card of format '1"),
    ],
)
def test_what_is_wrong_with_a_card_is_named(
    store: ModelStore, changes: dict[str, object], field: str
) -> None:
    change_card(store.save(trained()), **changes)
    (error,) = store.broken()
    assert field in str(error)
    assert "\n" not in str(error)


def test_cards_of_old_and_newer_ones_are_read(store: ModelStore) -> None:
    model = trained()
    folder = store.save(model)
    change_card(folder, newer={"of": 1}, evidence=[{**EVIDENCE, "gain_db": 4, "newer": 1}])
    (card,) = store.cards()
    assert card == replace(model.card, evidence=({**EVIDENCE, "gain_db": 4.0},))
    old = json.loads((folder / "card.json").read_text())
    del old["evidence"], old["history"]
    (folder / "card.json").write_text(json.dumps(old))
    assert store.cards() == [model.card]


def test_broken_cards_are_listed_apart(store: ModelStore) -> None:
    card_is_no_json(store.save(trained(seed=1)))
    good = trained(seed=2)
    store.save(good)
    assert [card.id for card in store.cards()] == [good.card.id]
    assert len(store.broken()) == 1


def test_a_save_without_its_card_is_no_model(store: ModelStore) -> None:
    (store.save(trained()) / "card.json").unlink()
    assert store.cards() == []
    assert store.broken() == []


def test_a_model_travels_as_one_file(store: ModelStore, tmp_path: Path) -> None:
    model = trained()
    store.save(model)
    file = store.export(model.card.id, tmp_path)
    again = store.export(model.card.id, tmp_path / "again.rawdenoise")
    assert file.name == f"{model.card.id}.rawdenoise"
    assert file.read_bytes() == again.read_bytes()
    other = ModelStore(tmp_path / "elsewhere")
    assert other.import_file(file) == model.card
    assert other.import_file(file) == model.card  # twice does no harm
    assert other.verify(model.card.id) == model.card


def archive(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda path, parts: path.write_bytes(b"not a zip"),
        lambda path, parts: path.write_bytes(b""),
        lambda path, parts: archive(path, {"card.json": parts["card.json"]}),
        lambda path, parts: archive(path, {**parts, "../evil": b"x"}),
        lambda path, parts: archive(path, {**parts, "more": b"x"}),
        lambda path, parts: archive(path, parts, zipfile.ZIP_DEFLATED),
        lambda path, parts: archive(path, {**parts, "card.json": b"{}"}),
        lambda path, parts: archive(path, {**parts, "weights.safetensors": b"\x08" + b"\0" * 15}),
        lambda path, parts: path.mkdir(),
        lambda path, parts: None,
    ],
)
def test_a_foreign_file_is_not_imported(
    store: ModelStore, tmp_path: Path, make: Callable[[Path, dict[str, bytes]], object]
) -> None:
    parts = {path.name: path.read_bytes() for path in store.save(trained()).iterdir()}
    make(tmp_path / "file.rawdenoise", parts)
    other = ModelStore(tmp_path / "elsewhere")
    with pytest.raises(ModelFileError):
        other.import_file(tmp_path / "file.rawdenoise")
    assert not other.folder.exists()


def test_an_id_is_not_taken_over(store: ModelStore, tmp_path: Path) -> None:
    model = trained(seed=1)
    store.save(model)
    impostor = trained(seed=2)
    impostor = Model(replace(impostor.card, id=model.card.id), impostor.net)
    other = ModelStore(tmp_path / "elsewhere")
    other.save(impostor)
    with pytest.raises(ModelFileError, match="another model"):
        store.import_file(other.export(model.card.id, tmp_path))


def test_importing_a_model_mends_the_store_s_broken_copy(store: ModelStore, tmp_path: Path) -> None:
    model = trained()
    folder = store.save(model)
    file = store.export(model.card.id, tmp_path)
    truncate(folder)
    with pytest.raises(ModelFileError):
        store.verify(model.card.id)
    assert store.import_file(file) == model.card
    assert store.verify(model.card.id) == model.card
