"""How fast engines run exported models, and how far their answers lie from torch's."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lab.report import Page, markdown
from lab.stage import processor
from lab.store import Lab
from lab.table import COUNT, Words, option, table

from rawdenoise.models.bundled import BUNDLED, load_bundled
from rawdenoise.noise.model import NoiseModel

NOISE = NoiseModel((4e-4, 3e-4, 3e-4, 5e-4), (3e-6, 2e-6, 2e-6, 4e-6))  # of a camera at a middling ISO


@table("onnx", {"docs/onnx.md: engines": "--threads 2 --rounds 2"})
@option("--nets", type=Words(BUNDLED), default=BUNDLED)
@option("--side", type=COUNT, default=1024, help="of the tile, in packed pixels")
@option("--rounds", type=COUNT, default=5)
def onnx(lab: Lab, nets: Sequence[str], side: int, rounds: int) -> Page:
    """How fast engines run exported models, and how far their answers lie from torch's.

    One tile of packed planes, float32, stabilisation and inverse included. The engines take turns, so that a
    machine that is busy with other work is so for all; the fastest of the rounds counts, after one that does
    not. OpenVINO is asked where its package is there, as it is and with bfloat16.
    """
    threads, rows = torch.get_num_threads(), []
    for net in nets:
        settings = {"kind": "onnx", "net": net, "side": side, "rounds": rounds, "threads": threads}
        rows += lab.result(settings, partial(_measure, net, side, rounds, threads)) or []
    title = f"{processor()}, {threads} threads; one tile of 4 x {side} x {side}, float32"
    return Page(markdown(["net", "engine", "s", "of torch's time", "greatest difference"], rows, title))


def _measure(net: str, side: int, rounds: int, threads: int) -> list[list[str]]:
    """Run one tile by every engine, in turn."""
    from rawdenoise.models.onnx_export import open_onnx, run_onnx, run_torch, write_onnx

    model = load_bundled(net)
    rng = np.random.default_rng(0)
    signal = np.linspace(0, 1, side, dtype=np.float32) ** 2 * np.ones((4, side, 1), np.float32)
    noisy = signal + rng.standard_normal(signal.shape, np.float32) * np.sqrt(NOISE.variance(signal))
    planes = noisy.astype(np.float32)[None]
    with tempfile.TemporaryDirectory(prefix="onnx-") as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(model, path)
        engines = {
            "torch": lambda: run_torch(model, planes, NOISE),
            "ONNX Runtime": partial(run_onnx, open_onnx(path, threads), planes, NOISE),
            **_open_openvino(path, planes, threads),
        }
    truth = engines["torch"]()
    differences = {name: float(np.abs(run() - truth).max()) for name, run in engines.items()}
    seconds = {name: [] for name in engines}
    for _ in range(rounds):
        for name, run in engines.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    best = {name: min(taken) for name, taken in seconds.items()}
    return [
        [net, name, f"{best[name]:.2f}", f"{best[name] / best['torch']:.2f}", f"{differences[name]:.1g}"]
        for name in engines
    ]


def _open_openvino(path: Path, planes: np.ndarray, threads: int) -> dict[str, Callable[[], np.ndarray]]:
    """The same file in OpenVINO, if that is there: as it is, and with bfloat16."""
    try:
        import openvino
    except ImportError:
        return {}
    core = openvino.Core()
    inputs = {
        "planes": planes,
        "shot": np.array(NOISE.shot, np.float32),
        "read_variance": np.array(NOISE.read_variance, np.float32),
    }

    def open_with(kind: str) -> Callable[[], np.ndarray]:
        how = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": kind}
        request = core.compile_model(str(path), "CPU", how).create_infer_request()
        return lambda: np.array(request.infer(inputs)["denoised"])

    return {"OpenVINO": open_with("f32"), "OpenVINO, bfloat16": open_with("bf16")}
