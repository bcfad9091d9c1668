"""The dock of the plug-in: a capture among the layers is chosen, denoised in a thread, and added denoised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FloatSlider,
    FloatSpinBox,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
    SpinBox,
)
from napari.layers import Image
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QTimer

from rawdenoise.app.stores import user_stores
from rawdenoise.capture.raw import Cfa
from rawdenoise.errors import RawDenoiseError
from rawdenoise.napari.denoising import (
    Job,
    NoiseSource,
    Outcome,
    Run,
    find_captures,
    list_denoisers,
    run_job,
    sum_up,
)
from rawdenoise.napari.layers import (
    KEY,
    LayerSource,
    MosaicFacts,
    captures_of,
    describe_capture,
    show_planes,
    show_results,
)

REFRESH_MS = 100  # how often the bar is moved
STEPS = 1000  # of the bar
LOOK = ("colormap", "gamma", "scale", "translate")


class ArrayFacts(Container):  # type: ignore[misc] # napari and what it brings are not there to be checked
    """Asks what a plain array does not say of itself."""

    def __init__(self) -> None:
        self.cfa = ComboBox(label="CFA", choices=[str(cfa) for cfa in Cfa], tooltip="from the top-left")
        self.black = FloatSpinBox(label="black", value=0, max=65534, tooltip="in DN")
        self.white = FloatSpinBox(label="white", value=65535, max=65535, tooltip="in DN")
        self.camera = LineEdit(label="camera", tooltip="whose noise profile or model is to be found")
        self.iso = SpinBox(label="ISO", value=0, max=10_000_000, tooltip="0: not known")
        super().__init__(widgets=[self.cfa, self.black, self.white, self.camera, self.iso], label="array")
        self.margins = (0, 0, 0, 0)

    def read(self) -> MosaicFacts:
        """Give what was said."""
        camera = self.camera.value.strip()
        return MosaicFacts(self.cfa.value, self.black.value, self.white.value, camera, self.iso.value or None)


class DenoisePanel(Container):  # type: ignore[misc]
    """The dock: which layer, by what, how strongly; a button that starts and cancels; what was gained."""

    def __init__(self, napari_viewer: Any) -> None:
        self._viewer = napari_viewer
        self._stores = user_stores()
        self._run: Run | None = None
        self._docked = False
        self.layer = ComboBox(label="capture", choices=self._list_layers, nullable=True)
        self.about = Label(value="")
        self.array = ArrayFacts()
        self.model = ComboBox(label="model", choices=lambda _: list_denoisers(self._stores.models))
        self.strength = FloatSlider(label="strength", value=1.0, min=0.0, max=1.0, step=0.01)
        self.noise = ComboBox(
            label="noise", choices=[(str(source), source) for source in NoiseSource],
            tooltip="from where it is known: the first of these that is there and fits",
        )  # fmt: skip
        self.estimate = CheckBox(
            text="estimate the gain", value=True, tooltip="a picture that would lose is left as it was"
        )
        self.button = PushButton(text="Denoise")
        self.planes = PushButton(text="Show colours", tooltip="R, G1, G2 and B as layers that add up")
        self.bar = ProgressBar(value=0, min=0, max=STEPS)
        self.summary = Label(value="")
        settings = [self.model, self.strength, self.noise, self.estimate]
        super().__init__(
            widgets=[
                self.layer,
                self.about,
                self.array,
                *settings,
                self.button,
                self.bar,
                self.planes,
                self.summary,
            ]
        )
        for label in (self.about, self.summary):
            label.native.setWordWrap(True)
        self._connect()
        self._follow()
        self._describe()

    def _connect(self) -> None:
        self.layer.changed.connect(self._describe)
        self.button.changed.connect(self._start_or_cancel)
        self.planes.changed.connect(self._add_planes)
        self._viewer.layers.selection.events.active.connect(self._follow)
        self._timer = QTimer(self.native)
        self._timer.timeout.connect(self._move_bar)
        self.native.destroyed.connect(self._abandon)
        self.bar.visible = False

    @property
    def running(self) -> bool:
        """Whether something is being denoised."""
        return self._run is not None

    def _list_layers(self, _: object = None) -> list[Image]:
        return [layer for layer in self._viewer.layers if _may_be_mosaic(layer)]

    def _follow(self, _: object = None) -> None:
        """Take the layer that is chosen in napari's own list."""
        active = self._viewer.layers.selection.active
        if active is not None and _may_be_mosaic(active):
            self.layer.reset_choices()
            self.layer.value = active

    def _describe(self, _: object = None) -> None:
        """Say whose capture the layer is, and ask of an array what it does not say."""
        layer = self.layer.value
        source = layer.metadata.get(KEY) if layer is not None else None
        is_result = isinstance(source, LayerSource) and bool(source.results)
        captures = (
            captures_of(np.asarray(layer.data), layer.metadata) if isinstance(source, LayerSource) else None
        )
        self.array.visible = layer is not None and captures is None and not is_result
        if layer is None:
            self.about.value = "Open a raw file."
        elif is_result:
            self.about.value = "It is denoised already."
        else:
            self.about.value = describe_capture(captures[0]) if captures else "A plain array: what is it?"
        self.planes.enabled = layer is not None
        self.button.enabled = self.running or (layer is not None and not is_result)

    def _start_or_cancel(self, _: object = None) -> None:
        if self._run is not None:
            self._run.cancel()
            self.button.enabled = False
            return
        layer, recipe = self.layer.value, self.model.value
        if layer is None:
            return
        recipe = replace(recipe, strength=round(self.strength.value, 4), estimate=self.estimate.value)
        facts, noise = self.array.read(), self.noise.value
        self._begin(layer, Job(layer.name, layer.data, layer.metadata, facts, recipe, noise, self._stores))

    def _begin(self, layer: Image, job: Job) -> None:
        run = Run()
        worker = create_worker(run_job, job, run, _start_thread=False)
        run.abandoned = lambda: bool(worker.abort_requested)
        worker.returned.connect(lambda outcome: self._show(layer, outcome))
        worker.finished.connect(self._end)
        self._run, self._docked = run, self.native.parent() is not None
        self.button.text, self.summary.value = "Cancel", ""
        self.bar.visible = True
        self._move_bar()
        self._timer.start(REFRESH_MS)
        worker.start()

    def _move_bar(self) -> None:
        if self._docked and self.native.parent() is None:  # napari has closed the dock, and keeps it
            self._timer.stop()
            self._abandon()
        elif self._run is not None:
            self.bar.value = round(STEPS * self._run.fraction)

    def _end(self) -> None:
        """Be ready for the next one, however this one ended."""
        if self._run is None:  # the dock is no more
            return
        self._run = None
        self._timer.stop()
        self.bar.visible = False
        self.button.text = "Denoise"
        self._describe()

    def _abandon(self, _: object = None) -> None:
        """Give up what runs when the dock is closed."""
        run, self._run = self._run, None
        if run is not None:
            run.cancel()

    def _show(self, layer: Image, outcome: Outcome) -> None:
        if self._run is None:
            return
        if outcome.failure:
            self.summary.value = outcome.failure
            show_error(outcome.failure)
        elif not outcome.results:
            self.summary.value = "cancelled: nothing was added"
        else:
            self._add_results(layer, outcome)

    def _add_results(self, layer: Image, outcome: Outcome) -> None:
        self.summary.value = sum_up(outcome.results)
        if all(result.left for result in outcome.results):
            show_warning(f"{layer.name}: {'; '.join(self.summary.value.splitlines())}")
            return
        layers = show_results(layer.name, outcome.captures, outcome.results, _look_of(layer))
        for pixels, attributes, _ in layers:
            self._viewer.add_image(pixels, **attributes)
        if layer in self._viewer.layers:  # to be tried with other settings
            self.layer.value = layer
        for note in dict.fromkeys(note for result in outcome.results for note in result.notes):
            show_info(f"{layer.name}: {note}")

    def _add_planes(self, _: object = None) -> None:
        layer = self.layer.value
        if layer is None:
            return
        source = layer.metadata.get(KEY)
        try:
            captures = (
                source.captures
                if isinstance(source, LayerSource)
                else find_captures(layer.data, layer.metadata, self.array.read(), layer.name)
            )
        except RawDenoiseError as error:
            show_error(str(error))
            return
        for pixels, attributes, _ in show_planes(layer.name, layer.data, captures[0], _look_of(layer)):
            self._viewer.add_image(pixels, **attributes)


def _may_be_mosaic(layer: Any) -> bool:
    """Whether a layer may show a capture or a result; residuals and planes say that they show none."""
    if not isinstance(layer, Image) or layer.rgb or layer.multiscale:
        return False
    source = layer.metadata.get(KEY)
    return not isinstance(source, LayerSource) or bool(source.captures)


def _look_of(layer: Image) -> dict[str, Any]:
    """How a layer is shown, and where, so that what is made of it can be compared by eye."""
    look = {name: getattr(layer, name) for name in LOOK}
    return {**look, "contrast_limits": tuple(layer.contrast_limits)}
