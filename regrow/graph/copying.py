"""A live model made anew, so that what works on a model leaves the one that it was given as it is."""

from collections.abc import Sequence
from typing import Any

from regrow.graph.graph import Graph
from regrow.progress import emit


def copy_of(model: Any) -> Any:
    """A model of the same layers, names and weights that shares nothing with ``model``; it is not compiled.

    Args:
        model: a Functional or Sequential `tf_keras` model.

    Raises:
        RegrowError: it cannot be made anew, as `regrow.graph.graph.Graph`.
    """
    return Graph.of(model).to_model()


def compile_alike(made: Any, model: Any) -> None:
    """Compile ``made`` as ``model`` is compiled, if it is: its losses, new metrics of its kinds, and a fresh optimizer.

    A notice tells where something of the user's own cannot be made anew; ``made`` is not compiled then.
    """
    config = getattr(getattr(model, "_compile_config", None), "config", None)
    if getattr(model, "optimizer", None) is None or config is None:
        return
    try:
        made.compile(**{**config, "optimizer": _fresh(model.optimizer), **_metrics(config)})
    except (TypeError, ValueError, NotImplementedError) as error:
        emit(
            "notice",
            message=(
                f"model '{model.name}': the new model is not compiled ({' '.join(str(error).split())[:200]})"
            ),
        )


def _metrics(config: dict[str, Any]) -> dict[str, Any]:
    return {name: _each(config[name]) for name in ("metrics", "weighted_metrics") if config.get(name)}


def _each(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _each(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_each(item) for item in value]
    return _fresh(value) if hasattr(value, "update_state") else value


def _fresh(thing: Any) -> Any:
    return type(thing).from_config(thing.get_config())


def give_back(model: Any, arrays: Sequence[Any]) -> bool:
    """Give ``model`` back the weights that it had, as `get_weights` gave them; whether any of them was another."""
    found = model.get_weights()
    if all(one.tobytes() == other.tobytes() for one, other in zip(arrays, found, strict=True)):
        return False
    model.set_weights(arrays)
    return True
