"""A model as one ONNX file for other programs: packed planes and their noise in, planes out.

Stabilisation, the network and the unbiased inverse are inside; what comes before (packing, hot pixels, row
noise) and after is the other program's. docs/onnx.md says how to use one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float32

from rawdenoise import __version__
from rawdenoise.atomic import atomic_output
from rawdenoise.errors import VerificationError
from rawdenoise.models.bundled import is_bundled
from rawdenoise.models.model import Model
from rawdenoise.models.onnx_graph import Graph
from rawdenoise.models.onnx_nets import add_network
from rawdenoise.models.onnx_noise import add_stabilization
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize

INPUTS, OUTPUT = ("planes", "shot", "read_variance"), "denoised"
PLANES_SHAPE = ("batch", 4, "height", "width")
TOLERANCE = 1e-4  # of the file's answers to those of torch, where 1 is white
BUNDLED_LICENCE, OWN_LICENCE = "Apache-2.0", "its trainer's to choose"
DESCRIPTION = (
    "rawdenoise: packed raw planes and their noise in, the planes without it out. Heights and widths are "
    "multiples of `multiple`; a pixel of the answer depends on none farther away than `halo`, in packed "
    "pixels. docs/onnx.md of the project has all of it, with an example."
)
MEANINGS = {
    "planes": "packed Bayer planes R, G1, G2, B of a mosaic in RGGB phase; 0 is black, 1 white, unclipped",
    "shot": "per plane: the variance of the noise is shot * signal + read_variance, on the scale of planes",
    "read_variance": "per plane: the variance of the noise at black, on the scale of planes",
    "denoised": "the same planes without their noise",
}
# Noise of many cameras, from base ISO to the highest: shot and read variance, the red plane's to the blue's.
CHECKED_NOISE = (
    NoiseModel((2e-5,) * 4, (1e-8,) * 4),
    NoiseModel((4e-4, 3e-4, 3e-4, 5e-4), (3e-6, 2e-6, 2e-6, 4e-6)),
    NoiseModel((6e-3, 5e-3, 5e-3, 7e-3), (3e-5, 2e-4, 2e-4, 1e-3)),
)


def write_onnx(model: Model, output: Path) -> float:
    """Write a model as an ONNX file that answers as torch does; give the greatest difference found.

    Raises:
        OutputError: it cannot be written. OutputExistsError: `output` is there already.
        VerificationError: ONNX Runtime answers otherwise than torch; nothing is left.
    """
    data = make_onnx(model)
    with atomic_output(output, replace=False) as temporary:
        temporary.write_bytes(data)
        difference = find_difference(model, open_onnx(temporary))
        if not difference <= TOLERANCE:
            reason = f"ONNX Runtime answers otherwise than torch (by {difference:.2g}); nothing was written"
            raise VerificationError(output, reason)
    return difference


def make_onnx(model: Model) -> bytes:
    """Make the ONNX file of a model: the same bytes for the same model and version.

    Raises:
        TypeError: there is no such graph of its network.
    """
    graph = Graph()
    planes = graph.input("planes", PLANES_SHAPE, MEANINGS["planes"])
    shot, read_variance = (graph.input(name, [4], MEANINGS[name]) for name in INPUTS[1:])
    noise = add_stabilization(graph, shot, read_variance)
    white = noise.stabilize(graph.add("Identity", np.ones((1, 4, 1, 1), np.float32)))
    stabilized = add_network(graph, model.net, noise.stabilize(planes), white)
    return graph.finish(
        noise.unstabilize(stabilized), OUTPUT, PLANES_SHAPE, MEANINGS[OUTPUT], describe_model(model)
    )


def describe_model(model: Model) -> dict[str, str]:
    """What the file says of itself, in ONNX's metadata."""
    card, net = model.card, model.net
    return {
        "description": DESCRIPTION,
        "id": card.id,
        "camera": card.camera.name,
        "mode": card.camera.mode,
        "network": card.net,
        "objective": card.objective,
        "created": card.created,
        "version": __version__,
        "weights_sha256": card.weights_sha256,
        "licence": BUNDLED_LICENCE if is_bundled(card.id) else OWN_LICENCE,
        "halo": str(net.halo),
        "multiple": str(net.multiple),
        **{f"input {name}" if name in INPUTS else f"output {name}": said for name, said in MEANINGS.items()},
    }


def open_onnx(path: Path, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3  # errors alone: who exports is told of nothing else
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_onnx(
    session: onnxruntime.InferenceSession, planes: Float32[np.ndarray, "b 4 h w"], noise: NoiseModel
) -> Float32[np.ndarray, "b 4 h w"]:
    """Denoise planes, of sides that are multiples of `multiple`, by an exported file."""
    shot, read_variance = (np.array(of, np.float32) for of in (noise.shot, noise.read_variance))
    inputs = dict(zip(INPUTS, (planes, shot, read_variance), strict=True))
    answer: Float32[np.ndarray, "b 4 h w"] = session.run([OUTPUT], inputs)[0]
    return answer


def run_torch(
    model: Model, planes: Float32[np.ndarray, "b 4 h w"], noise: NoiseModel
) -> Float32[np.ndarray, "b 4 h w"]:
    """Denoise the same planes by torch, on the CPU."""
    with torch.inference_mode():
        stabilized = stabilize(torch.from_numpy(planes), noise)
        answer: Float32[np.ndarray, "b 4 h w"] = unstabilize(
            model.net(stabilized, stabilized_white(noise)[None]), noise
        ).numpy()
    return answer


def find_difference(model: Model, session: onnxruntime.InferenceSession) -> float:
    """The greatest difference of a file's answers to those of torch, over noise, sizes and batches."""
    return max(
        float(np.abs(run_onnx(session, planes, noise) - run_torch(model, planes, noise)).max())
        for planes, noise in _make_trials(model.net.multiple)
    )


def _make_trials(multiple: int) -> Iterator[tuple[Float32[np.ndarray, "b 4 h w"], NoiseModel]]:
    """Noisy ramps from black to beyond white, of several sizes: one per noise of `CHECKED_NOISE`."""
    rng = np.random.default_rng(0)
    for number, noise in enumerate(CHECKED_NOISE, 1):
        height, width = multiple * (1 + number), multiple * (12 - 2 * number)
        ramp = np.linspace(-0.02, 1.2, width, dtype=np.float32) ** 2 * np.ones((4, height, 1), np.float32)
        draws = rng.standard_normal((number, 4, height, width), np.float32)
        yield ramp + draws * np.sqrt(noise.variance(ramp)), noise
