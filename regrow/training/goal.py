"""What a model of a user's own is trained for, as its loss tells: class probabilities, or values."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from regrow.dataset.batches import float_batch
from regrow.dataset.own_expected import Expected, Kind
from regrow.errors import RegrowError
from regrow.tasks.objective import Objective

SPARSE, CATEGORICAL, BINARY = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
)
CROSS_ENTROPIES = {
    "SparseCategoricalCrossentropy": SPARSE,
    "CategoricalCrossentropy": CATEGORICAL,
    "BinaryCrossentropy": BINARY,
}
WAYS = (
    "pass loss=, such as 'sparse_categorical_crossentropy', 'mse' or"
    " tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True), or compile the model with its loss"
)
TOLERANCE = 1e-2  # of probabilities, which sum up to 1
LOOKED_AT = 64


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a model is trained for.

    Attributes:
        loss: of Keras, as the user gave it.
        kind: what labels are.
        classes: how many there are, where the loss is plain cross-entropy on one of several.
        from_logits: the model gives logits, not probabilities.
        metric: what besides the loss is measured.
    """

    loss: Any
    kind: Kind
    classes: int | None = None
    from_logits: bool = False
    metric: str | None = None

    @property
    def objective(self) -> Objective:
        """What a `view` of a model is trained for."""
        if self.classes is not None:
            return Objective(loss=SPARSE, probabilities=True)
        return Objective(loss=self.loss, metric=self.metric)

    def expected(self, model: Any) -> Expected:
        """What examples of ``model`` look like."""
        return Expected(
            names=tuple(model.input_names),
            shapes=tuple(tuple(item.shape[1:]) for item in model.inputs),
            dtypes=tuple(
                item.dtype.name if hasattr(item.dtype, "name") else item.dtype for item in model.inputs
            ),
            output=tuple(model.outputs[0].shape[1:]),
            kind=self.kind,
            classes=self.classes,
        )

    def view(self, model: Any) -> Any:
        """``model`` with an end that gives a probability for each class, where labels are classes.

        It shares the layers of ``model``: what trains it trains that. Logits become softmax(z), one logit or one
        probability p of the second class becomes softmax(0, z) or (1 − p, p), whose cross-entropies are the same.
        """
        import tf_keras

        layers = tf_keras.layers
        output = model.outputs[0]
        if self.kind == "binary" and self.from_logits and not _ends_in(model, "sigmoid"):
            none = layers.Rescaling(0.0, dtype="float32", name="regrow_no_logit")(output)
            output = layers.Concatenate(dtype="float32", name="regrow_logits")([none, output])
            output = layers.Softmax(dtype="float32", name="regrow_softmax")(output)
        elif self.kind == "binary":
            other = layers.Rescaling(-1.0, 1.0, dtype="float32", name="regrow_other")(output)
            output = layers.Concatenate(dtype="float32", name="regrow_both")([other, output])
        elif self.kind == "classes" and self.from_logits and not _ends_in(model, "softmax"):
            output = layers.Softmax(dtype="float32", name="regrow_softmax")(output)
        return tf_keras.Model(model.inputs, output, name=model.name)

    def check_probabilities(self, view: Any, features: Any) -> None:
        """Refuse a model whose answers are no probabilities though its loss takes such.

        Raises:
            RegrowError: they do not lie in 0 to 1, or do not sum up to 1.
        """
        import numpy as np

        if self.classes is None:
            return
        answers = np.asarray(view(float_batch(features, 0, LOOKED_AT), training=False), np.float64)
        if not np.isfinite(answers).all():
            raise RegrowError("model: predicts NaN or infinity for training examples")
        off = np.abs(answers.sum(axis=1) - 1).max()
        if answers.min() < -TOLERANCE or off > TOLERANCE:
            raise RegrowError(
                f"loss: {loss_name(self.loss)} takes probabilities, but the model's outputs range from "
                f"{answers.min():.3g} to {answers.max():.3g}; pass a loss with from_logits=True if they are "
                "logits, or give the model a last layer of softmax or sigmoid"
            )


def goal_of(model: Any, *, loss: Any = None, compiled: tuple[Any, ...] = ()) -> Goal:
    """What ``model`` is trained for: as ``loss`` says, else as the first of ``compiled`` is compiled, else by its end.

    Plain cross-entropy is recognised, and the model judged by its accuracy; any other loss is taken as it is, and the
    model judged by it alone. A model that ends in softmax is a classifier where nothing says otherwise.

    Args:
        model: a Functional or Sequential `tf_keras` model.
        loss: a name or a loss of Keras, or any function of labels and answers; None: not said.
        compiled: models that may be compiled.

    Raises:
        RegrowError: the model has several outputs, the loss is unknown or does not fit the model, or there is none.
    """
    if len(model.outputs) != 1:
        raise RegrowError(
            f"model: '{model.name}' has {len(model.outputs)} outputs; accepted: a model with one, such as a part of it"
        )
    found = loss if loss is not None else next((item for item in map(_compiled_loss, compiled) if item), None)
    found = _of_tf_keras(found)
    if found is None and _ends_in(model, "softmax") and len(model.outputs[0].shape) == 2:
        found = SPARSE
    if found is None:
        raise RegrowError(f"loss: model '{model.name}' is not compiled and does not end in softmax; {WAYS}")
    return _goal(found, tuple(model.outputs[0].shape[1:]))


def loss_name(loss: Any) -> str:
    """What a sentence calls ``loss``."""
    if isinstance(loss, str):
        return f"'{loss}'"
    return f"'{getattr(loss, 'name', None) or getattr(loss, '__name__', type(loss).__name__)}'"


def _goal(loss: Any, output: tuple[int | None, ...]) -> Goal:
    name, options, is_plain = _cross_entropy(loss)
    from_logits = bool(options.get("from_logits"))
    width = output[0] if len(output) == 1 else None
    if is_plain and name in (SPARSE, CATEGORICAL) and width is not None and width > 1:
        return Goal(loss=loss, kind="classes", classes=width, from_logits=from_logits, metric="accuracy")
    if is_plain and name == BINARY and width == 1:
        return Goal(loss=loss, kind="binary", classes=2, from_logits=from_logits, metric="accuracy")
    if name in (SPARSE, CATEGORICAL) and width == 1:
        raise RegrowError(
            f"loss: {loss_name(loss)} needs a probability for each of several classes, but the model "
            "outputs one number; accepted: 'binary_crossentropy' for two classes, or 'mse'"
        )
    if name == SPARSE:
        return Goal(loss=loss, kind="free", metric="accuracy")
    if name == CATEGORICAL:
        return Goal(loss=loss, kind="values", metric="accuracy")
    return Goal(loss=loss, kind="values" if _is_of_keras(loss) else "free")


def _cross_entropy(loss: Any) -> tuple[str | None, dict[str, Any], bool]:
    """Which cross-entropy ``loss`` is, if any, its options, and whether it is plain: nothing smoothed or left out.

    Raises:
        RegrowError: no loss of Keras has this name, or it is nothing that can be called.
    """
    import tf_keras

    losses = tf_keras.losses
    if isinstance(loss, str):
        try:
            function: Callable[..., Any] = losses.get(loss)
        except ValueError:
            raise RegrowError(f"loss: Keras has no loss '{loss}'; {WAYS}") from None
        loss = function
    for kind, name in CROSS_ENTROPIES.items():
        if loss is getattr(losses, name):
            return name, {}, True
        if type(loss) is getattr(losses, kind):
            options = loss.get_config()
            unusual = (
                options.get("label_smoothing"),
                options.get("ignore_class") is not None,
                options.get("axis", -1) != -1,
                options.get("reduction") not in ("auto", "sum_over_batch_size"),
            )
            return name, options, not any(unusual)
    return None, {}, False


def _of_tf_keras(loss: Any) -> Any:
    """A loss of Keras 3 as the one that `tf_keras` has under its name; all else as it is.

    Raises:
        RegrowError: `tf_keras` has none, or it is nothing that can be called.
    """
    import tf_keras

    if loss is not None and not isinstance(loss, str) and not callable(loss):
        raise RegrowError(f"loss: got {loss!r}; {WAYS}")
    module = str(getattr(loss, "__module__", ""))
    if not module.startswith("keras."):
        return loss
    is_function = hasattr(loss, "__name__")
    name = loss.__name__ if is_function else type(loss).__name__
    twin = getattr(tf_keras.losses, name, None)
    try:
        if twin is None:
            raise ValueError
        if is_function:
            return twin
        accepted = inspect.signature(twin).parameters
        # Some configs of Keras 3 lack what the loss was made with: Huber's delta, the axis of CosineSimilarity.
        options = {**loss.get_config(), **getattr(loss, "_fn_kwargs", {})}
        return twin(**{key: value for key, value in options.items() if key in accepted})
    except (TypeError, ValueError):
        raise RegrowError(
            f"loss: tf_keras, which does the training, has no equivalent of Keras 3's '{name}'; {WAYS}"
        ) from None


def _is_of_keras(loss: Any) -> bool:
    """Whether ``loss`` is one of Keras' own, which all take labels of the shape of the answers."""
    module = loss if isinstance(loss, type) else getattr(loss, "__module__", None) or type(loss).__module__
    return isinstance(loss, str) or str(module).split(".")[0] in ("tf_keras", "keras")


def _compiled_loss(model: Any) -> Any:
    """The loss that ``model`` is compiled with; None where it is not.

    Raises:
        RegrowError: it has several.
    """
    is_compiled = getattr(model, "_is_compiled", False) or getattr(model, "compiled", False)
    found = getattr(model, "loss", None) if is_compiled else None
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list | tuple):
        if len(found) > 1:
            raise RegrowError(
                f"loss: model '{model.name}' is compiled with {len(found)} losses; pass one as loss="
            )
        found = found[0] if found else None
    return found


def _ends_in(model: Any, activation: str) -> bool:
    """Whether the last layer of ``model`` is or has this ``activation``."""
    layer = model.outputs[0]._keras_history.layer
    if getattr(layer, "outputs", None) and hasattr(layer, "layers"):
        return _ends_in(layer, activation)
    own = getattr(layer, "activation", None)
    return type(layer).__name__.lower() == activation or getattr(own, "__name__", None) == activation
