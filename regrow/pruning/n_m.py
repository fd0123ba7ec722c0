"""N:M pruning through tfmot's ``sparsity_m_by_n``: N of each M consecutive weights are kept."""

from collections.abc import Mapping
from typing import Any

from regrow.errors import RegrowError
from regrow.graph.kernels import layers
from regrow.pruning.pruning import Pruning
from regrow.pruning.selection import layer_of
from regrow.pruning.wrapping import Wrapped


def n_of_m(model: Any, kernels: Mapping[str, Any], *, n: int, m: int) -> tuple[Pruning, dict[str, str]]:
    """Keep the ``n`` largest of each ``m`` consecutive weights along the input-channel axis, in place.

    Returns:
        the masks, and the reason for each of ``kernels`` that was left dense because it has no such blocks.

    Raises:
        RegrowError: no kernel fits.
    """
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity

    kinds = {path: type(layer).__name__ for path, layer in layers(model)}
    reasons = {
        name: _misfit(kinds[layer_of(name)], name, tuple(kernel.shape), m) for name, kernel in kernels.items()
    }
    fitting = [name for name, reason in reasons.items() if reason is None]
    if not fitting:
        raise RegrowError(
            f"prune.m: no kernel can be pruned in blocks of {m}; "
            + "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:3])
        )
    # tfmot ignores this schedule's sparsity for N:M, but wants one.
    schedule = ConstantSparsity(1 - n / m, begin_step=0, frequency=1)
    schedules = dict.fromkeys(map(layer_of, fitting), schedule)
    wrapped = Wrapped(model, fitting, schedules, m_by_n=(m - n, m))
    wrapped.prune_now()
    pruning = wrapped.pruning()
    pruning.apply(model)
    return pruning, {name: reason for name, reason in reasons.items() if reason is not None}


def _misfit(kind: str, name: str, shape: tuple[int, ...], m: int) -> str | None:
    """Why tfmot has no N:M pattern for a kernel; None if it has. Its input channels are the last but one axis."""
    if name.endswith("/depthwise_kernel"):
        return "a depthwise kernel does not sum over input channels"
    if kind.endswith("Transpose"):
        return "input channels of a transposed convolution are not where tfmot looks for them"
    if len(shape) not in (2, 4):
        return f"tfmot prunes N:M kernels of rank 2 and 4, not {len(shape)}"
    if shape[-2] % m:
        return f"its {shape[-2]} input channels are no multiple of {m}"
    return None
