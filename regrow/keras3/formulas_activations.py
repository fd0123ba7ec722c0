"""Formulas of Keras 3's activations that are operations, with settings other than a layer's."""

from typing import Any

from regrow.keras3.activations import FORMULAS as PLAIN
from regrow.keras3.formulas import Formula, Operate, formula


def _plain(kind: str) -> Formula:
    def compute(op: Operate, x: Any) -> Any:
        return PLAIN[kind](op, x)

    return compute


for _kind, _name in {
    "HardTanh": "hard_tanh",
    "SparsePlus": "sparse_plus",
    "SparseSigmoid": "sparse_sigmoid",
    "TanhShrink": "tanh_shrink",
}.items():
    formula(f"nn.{_kind}")(_plain(_name))


@formula("nn.Elu")
def elu(op: Operate, x: Any, *, alpha: float = 1.0) -> Any:
    """TensorFlow's has alpha 1."""
    if alpha == 1.0:
        return op("nn.elu", x)
    below = op("math.multiply", op("math.expm1", op("math.minimum", x, 0.0)), float(alpha))
    return op("math.add", op("nn.relu", x), below)


@formula("nn.Celu")
def celu(op: Operate, x: Any, *, alpha: float = 1.0) -> Any:
    """α elu(x ÷ α)."""
    if alpha == 1.0:
        return op("nn.elu", x)
    return op("math.multiply", op("nn.elu", op("math.truediv", x, float(alpha))), float(alpha))


@formula("nn.HardShrink")
def hard_shrink(op: Operate, x: Any, *, threshold: float = 0.5) -> Any:
    """Zero near zero."""
    return op("where", op("math.greater", op("math.abs", x), float(threshold)), x, 0.0)


@formula("nn.SoftShrink")
def soft_shrink(op: Operate, x: Any, *, threshold: float = 0.5) -> Any:
    """Nearer to zero, no further than it."""
    near = op("clip_by_value", x, clip_value_min=-float(threshold), clip_value_max=float(threshold))
    return op("math.subtract", x, near)


@formula("nn.Squareplus")
def squareplus(op: Operate, x: Any, *, b: float = 4) -> Any:
    """(x + √(x² + b)) ÷ 2."""
    root = op("math.sqrt", op("math.add", op("math.square", x), float(b)))
    return op("math.multiply", op("math.add", x, root), 0.5)


@formula("nn.Threshold")
def threshold(op: Operate, x: Any, *, threshold: float, default_value: float) -> Any:
    """Another value for what is not above."""
    return op("where", op("math.greater", x, float(threshold)), x, float(default_value))


@formula("nn.Glu")
def glu(op: Operate, x: Any, *, axis: int = -1) -> Any:
    """One half, gated by the other."""
    value, gate = op("split", x, num_or_size_splits=2, axis=axis)
    return op("math.multiply", value, op("math.sigmoid", gate))
