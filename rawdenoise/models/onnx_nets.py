"""The networks of `rawdenoise.nets` as nodes of an ONNX graph."""

from __future__ import annotations

import numpy as np
from torch import nn

from rawdenoise.models.onnx_graph import Graph, Value
from rawdenoise.nets import Network, StabilizedDenoiser
from rawdenoise.nets.stabilized import BANDS
from rawdenoise.nets.unet import PaperUNet, Residual, ResidualUNet


def add_network(graph: Graph, net: Network, stabilized: Value, white: Value) -> Value:
    """Denoise stabilised planes, as `StabilizedDenoiser.forward` does; `white` is (1, 4, 1, 1).

    Raises:
        TypeError: there is no such graph of this network.
    """
    if not isinstance(net, StabilizedDenoiser):
        raise TypeError(f"no graph of a {type(net).__name__}")
    bands = _split_bands(graph, stabilized)
    detail = graph.add("Asinh", (bands[0] + bands[1]) * 0.5)
    level = 10.0 / graph.add("ReduceMean", white, axes=[1], keepdims=1)
    one_plane = graph.add("Shape", stabilized) * np.array([1, 0, 1, 1]) + np.array([0, 1, 0, 0])
    levels = graph.add("Expand", level, one_plane)
    features = graph.add("Concat", stabilized / white, detail, levels, axis=1)
    *shares, noise = graph.split(_add_backbone(graph, net.backbone, features), len(BANDS) + 1, axis=1)
    for share, band in zip(shares, bands, strict=True):
        noise = noise + graph.add("Sigmoid", share) * band
    return stabilized - noise


def _split_bands(graph: Graph, planes: Value) -> list[Value]:
    """Split into what each successive, larger box takes away."""
    bands = []
    for radius in BANDS:
        smoother = _average_box(graph, planes, radius)
        bands.append(planes - smoother)
        planes = smoother
    return bands


def _average_box(graph: Graph, planes: Value, radius: int) -> Value:
    """Mean over a square, edges repeated."""
    ends = np.array([0, 0, radius, radius] * 2)
    padded = graph.add("Pad", planes, ends, mode="edge")
    side = 2 * radius + 1
    rows = graph.add("AveragePool", padded, kernel_shape=[side, 1])
    return graph.add("AveragePool", rows, kernel_shape=[1, side])


def _add_backbone(graph: Graph, backbone: nn.Module, features: Value) -> Value:
    if isinstance(backbone, PaperUNet):
        return _add_paper_unet(graph, backbone, features)
    if isinstance(backbone, ResidualUNet) and backbone.group == 1:
        return _add_residual_unet(graph, backbone, features)
    raise TypeError(f"no graph of a {type(backbone).__name__}")


def _add_residual_unet(graph: Graph, net: ResidualUNet, features: Value) -> Value:
    x = _add_module(graph, net.entry, features)
    skips = []
    for encoder, down in zip(net.encoders, net.downs, strict=True):
        skips.append(_add_module(graph, encoder, x))
        x = _add_module(graph, down, skips[-1])
    x = _add_module(graph, net.bottom, x)
    for up, decoder in zip(net.ups, net.decoders, strict=True):
        x = _add_module(graph, decoder, skips.pop() + _upsample(graph, _add_module(graph, up, x)))
    return _add_module(graph, net.exit, x)


def _add_paper_unet(graph: Graph, net: PaperUNet, features: Value) -> Value:
    skips = [features]
    x = _add_module(graph, net.entry, features)
    for encoder in net.encoders:
        x = graph.add("MaxPool", _add_module(graph, encoder, x), kernel_shape=[2, 2], strides=[2, 2])
        skips.append(x)
    x = _add_module(graph, net.bottom, skips.pop())
    for decoder in net.decoders:
        x = _add_module(graph, decoder, graph.add("Concat", _upsample(graph, x), skips.pop(), axis=1))
    return _add_module(graph, net.exit, _add_module(graph, net.tail, x))


def _add_module(graph: Graph, module: nn.Module, x: Value) -> Value:
    """Add what the networks are made of: convolutions, leaky ReLU, and rows and residuals of them."""
    if isinstance(module, Residual):
        return x + _add_module(graph, module.outer, _add_module(graph, module.inner, x))
    if isinstance(module, nn.Sequential):
        for part in module:
            x = _add_module(graph, part, x)
        return x
    if isinstance(module, nn.LeakyReLU):
        return graph.add("LeakyRelu", x, alpha=module.negative_slope)
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        (height, width), ends = module.kernel_size, [*module.padding, *module.padding]
        return graph.add(
            "Conv", x, module.weight, module.bias,
            kernel_shape=[height, width], pads=ends, strides=[*module.stride],
        )  # fmt: skip
    raise TypeError(f"no node of a {type(module).__name__}")


def _upsample(graph: Graph, x: Value) -> Value:
    """Twice the size, each pixel becoming four."""
    scales = np.array([1, 1, 2, 2], np.float32)
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.add("Resize", x, np.array([], np.float32), scales, **how)
