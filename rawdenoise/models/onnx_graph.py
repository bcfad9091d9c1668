"""ONNX graphs that are written as formulas are: values that can be added, multiplied and divided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from rawdenoise import __version__

OPSET, IR_VERSION = 13, 7  # of ONNX 1.8 (2020): what has been made since reads it

Shape = Sequence[int | str]  # a side that is called by a name may have any length


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """What a node of a graph gives, by its name there; arithmetic on it adds nodes."""

    graph: Graph
    name: str

    def __add__(self, other: Operand) -> Value:
        return self.graph.add("Add", self, other)

    def __sub__(self, other: Operand) -> Value:
        return self.graph.add("Sub", self, other)

    def __mul__(self, other: Operand) -> Value:
        return self.graph.add("Mul", self, other)

    def __rmul__(self, other: float) -> Value:
        return self.graph.add("Mul", self, other)

    def __truediv__(self, other: Operand) -> Value:
        return self.graph.add("Div", self, other)

    def __rtruediv__(self, other: float) -> Value:
        return self.graph.add("Div", other, self)


Operand = Value | np.ndarray | np.integer | Tensor | float


class Graph:
    """Nodes in the order in which they are added, and the constants that they use."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Shape, meaning: str) -> Value:
        """Declare an input of float32."""
        self._inputs.append(_describe_value(name, shape, meaning))
        return Value(self, name)

    def add(self, kind: str, *inputs: Operand, **attributes: object) -> Value:
        """Add a node with one output."""
        return self._add_node(kind, inputs, 1, attributes)[0]

    def split(self, value: Value, count: int, *, axis: int) -> list[Value]:
        """Cut a value into equal parts."""
        return self._add_node("Split", [value], count, {"axis": axis})

    def clip(self, value: Value, low: float | np.integer, high: float | np.integer | None = None) -> Value:
        """Limit a value from below, and from above if there is a `high`."""
        return self.add("Clip", value, low, *([] if high is None else [high]))

    def cast(self, value: Value, kind: type[np.generic]) -> Value:
        """Turn the numbers of a value into those of another kind, cutting off what is behind the point."""
        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))

    def finish(
        self, output: Value, name: str, shape: Shape, meaning: str, metadata: Mapping[str, str]
    ) -> bytes:
        """Give the file of the model whose only output is this value, under this name, checked for form."""
        self._nodes.append(helper.make_node("Identity", [output.name], [name], name=name))
        described = _describe_value(name, shape, meaning)
        graph = helper.make_graph(
            self._nodes, "rawdenoise", self._inputs, [described], list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="rawdenoise",
            producer_version=__version__,
            doc_string=metadata["description"],
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)

    def _add_node(
        self, kind: str, inputs: Sequence[Operand], outputs: int, attributes: Mapping[str, Any]
    ) -> list[Value]:
        name = f"{kind.lower()}_{len(self._nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(kind, [*map(self._name, inputs)], names, name=name, **attributes))
        return [Value(self, given) for given in names]

    def _name(self, operand: Operand) -> str:
        """The name of a value, or of the constant that is made of a number or an array."""
        if isinstance(operand, Value):
            return operand.name
        if isinstance(operand, Tensor):
            operand = operand.detach().cpu().numpy()
        array = np.asarray(operand, np.float32 if isinstance(operand, float | int) else None)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name


def _describe_value(name: str, shape: Shape, meaning: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape, meaning)
