"""How a live model of Keras 3 was compiled, for the model that takes its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regrow.progress import emit

BY_OUTPUT = ("loss", "loss_weights", "metrics", "weighted_metrics")


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """The arguments of ``compile``, and the names of the outputs that some of them go by."""

    arguments: Mapping[str, Any]
    output_names: tuple[str, ...]

    def apply(self, model: Any) -> None:
        """Compile ``model`` with a new optimizer, at step 0, and new metrics."""
        # A Sequential model has no names of outputs.
        names = dict(zip(self.output_names, getattr(model, "output_names", ()), strict=False))
        arguments = {key: _anew(value) for key, value in self.arguments.items()}
        for key in BY_OUTPUT:
            if isinstance(arguments.get(key), dict):
                arguments[key] = {names.get(name, name): value for name, value in arguments[key].items()}
        model.compile(**arguments)


def compile_state(model: Any) -> Compiled | None:
    """How the live ``model`` was compiled; None where it was not.

    A notice tells where its optimizer or a metric cannot be made anew, and what takes its place is not compiled then.
    """
    found = getattr(model, "_compile_config", None)
    if not model.compiled or found is None:
        return None
    # As it is now: a schedule or a callback may have changed the learning rate since.
    arguments = {**found.config, "optimizer": model.optimizer}
    if type(model.optimizer).__name__ != "LossScaleOptimizer":
        arguments["auto_scale_loss"] = False
    try:
        for value in arguments.values():
            _anew(value)
    except Exception as error:  # of the user's own class, or of a function that Keras cannot find by its name
        reason = " ".join(str(error).split())[:200]
        emit("notice", message=f"model '{model.name}': what is made of it is not compiled ({reason})")
        return None
    return Compiled(arguments=arguments, output_names=tuple(getattr(model, "output_names", ())))


def _anew(value: Any) -> Any:
    """``value`` with metrics and optimizers of their own: these hold states. Losses and functions hold none."""
    import keras

    if isinstance(value, Mapping):
        return {name: _anew(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_anew(item) for item in value]
    if isinstance(value, keras.metrics.Metric | keras.optimizers.Optimizer):
        return type(value).from_config(value.get_config())
    return value
