"""Weights and examples that are no numbers: a criterion cannot rank them, and what they reach is no answer."""

from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.kernels import layers
from regrow.graph.variables import variables

NAMED = 5


def not_finite(model: Any) -> dict[str, int]:
    """How many values of each array of ``model`` are NaN or infinite, by ``layer/array``; arrays without are left out.

    Arrays of all layers are looked at, normalisation's too.
    """
    found: dict[str, int] = {}
    for path, layer in layers(model):
        for name, variable in variables(layer).items():
            array = variable.numpy()
            # bfloat16 is of no kind that NumPy knows, and as float32 it is the same.
            real = array.astype(np.float32) if array.dtype.kind == "V" else array
            if real.dtype.kind in "fc" and (count := int(np.count_nonzero(~np.isfinite(real)))):
                found[f"{path}/{name}"] = count
    return found


def shown(found: dict[str, int]) -> str:
    """The arrays that `not_finite` found, the first few by name."""
    named = [f"{name} ({count:,})" for name, count in list(found.items())[:NAMED]]
    more = len(found) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def refuse_not_finite(model: Any, *, named: str = "the model") -> None:
    """Refuse ``model``, which is called ``named``, where weights of it are NaN or infinite.

    Raises:
        RegrowError: some are; the sentence names their arrays and how many values of each.
    """
    found = not_finite(model)
    if found:
        raise RegrowError(
            f"{named}: has weights that are NaN or infinite, which cannot be ranked: {shown(found)}; use a "
            "checkpoint from before its training diverged"
        )


def refuse_examples(features: np.ndarray[Any, np.dtype[Any]], name: str) -> None:
    """Refuse examples that are no numbers: a rectifier may turn them into zeros on the way through a model.

    Raises:
        RegrowError: some are NaN or infinite; ``name`` says whose they are.
    """
    if features.dtype.kind == "f" and not np.isfinite(features).all():
        raise RegrowError(f"{name}: its features contain NaN or infinity; accepted: finite numbers")
