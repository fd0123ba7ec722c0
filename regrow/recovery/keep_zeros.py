"""`KeepZeros`: pruned weights stay zero in anyone's own `model.fit`, of `tf_keras` and of Keras 3 on any backend."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.live import is_live
from regrow.keras3.live_kernels import live_kernels, live_zeros
from regrow.pruning.pruning import MASKS, Pruning
from regrow.recovery.callback import AnyCallback

Array = np.ndarray[Any, np.dtype[Any]]
Pairs = list[tuple[str, Any, Array]]
ACCEPTED = (
    "accepted: a result of regrow.prune or regrow.recover, a directory with a saved result, or the model "
    "to train, whose present zeros are then kept"
)


class KeepZeros(AnyCallback):
    """A Keras callback that keeps pruned weights at exactly zero while a model trains.

    Gradients, momentum, weight decay and moving averages of the weights would all move them. With Keras 3 the zeros
    are a part of every optimizer step, compiled with it. With `tf_keras` they are restored after each batch, or, with
    ``steps_per_execution``, after each execution. When `fit` ends they are checked.

    Put it first among the callbacks: those after it (checkpoints, averaged weights) then see the zeros.

    Args:
        pruned: what `regrow.prune` or `regrow.recover` gave; a directory that it was saved to; or the model to be
            trained, whose kernels' zeros are kept as they are when training starts. A model that only lost channels has
            no zeros to keep, and is trained as without this callback.

    Raises:
        RegrowError: ``pruned`` is something else. When `fit` begins: the model lacks a pruned kernel, has it in another
            shape, or has other weights than zeros there.

    Example:
        >>> sparse = regrow.prune(regrow.load("digits.keras"), sparsity=0.8)
        >>> sparse.model.compile("adam", "sparse_categorical_crossentropy")
        >>> history = sparse.model.fit(x_train, y_train, verbose=0, callbacks=[regrow.KeepZeros(sparse)])
        >>> round(regrow.inspect(sparse).sparsity, 2)
        0.8
    """

    def __init__(self, pruned: Any) -> None:
        self._masks, self._own = _source(pruned)
        self._model: Any = None
        self._kernels: Pairs = []
        self._keep: Callable[[], None] | None = None

    def set_model(self, model: Any) -> None:
        """Find the kernels in ``model``; Keras calls this before it trains."""
        if model is self._model:
            return
        if self._own is not None and model is not self._own:
            raise RegrowError(
                f"KeepZeros: was given model '{self._own.name}', but model '{model.name}' is being trained; "
                "give it the trained model"
            )
        if not is_live(model) and not _of_tf_keras(model):
            raise RegrowError(f"KeepZeros: model '{model.name}' is neither a Keras 3 nor a tf_keras model")
        self._kernels = _zeros_of(model) if self._masks is None else _matched(model, self._masks)
        self._model = model

    def on_train_begin(self, logs: Any = None) -> None:
        """With Keras 3, make the zeros a part of the step."""
        if not is_live(self._model) or not self._kernels:
            return
        for _, kernel, mask in self._kernels:
            kernel.constraint = _Zeros(mask, then=_before(kernel.constraint))
        self._model.make_train_function(force=True)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """With `tf_keras`, set what the step has moved back to zero."""
        if is_live(self._model) or not self._kernels:
            return
        if self._keep is None:
            self._keep = _compiled(self._kernels, self._model.optimizer)
        self._keep()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Set averages of the weights, which a step may have moved, back too."""
        self._restore()

    def on_train_end(self, logs: Any = None) -> None:
        """Check the zeros, and leave the model as `fit` without this callback has it."""
        self._restore()
        self._keep = None
        if is_live(self._model) and self._kernels:
            for _, kernel, _ in self._kernels:
                kernel.constraint = _before(kernel.constraint)
            self._model.train_function = None
        for name, kernel, mask in self._kernels:
            if moved := _moved(kernel, mask):
                raise RegrowError(f"KeepZeros: {name}: {moved} pruned weights are not zero after training")

    def _restore(self) -> None:
        """Zero the masked weights and their averages, whatever moved them."""
        if not self._kernels:
            return
        sync = getattr(self._model, "jax_state_sync", None)
        if sync is not None:
            sync()  # on JAX the variables are behind the training's own state
        for variable, mask in _with_averages(self._kernels, self._model.optimizer):
            value = _array(variable)
            if np.count_nonzero(value[~mask]) or np.isnan(value[~mask]).any():
                variable.assign(np.where(mask, value, np.zeros_like(value)))


class _Zeros:
    """A constraint of a Keras 3 variable, after the one it had."""

    def __init__(self, mask: Array, *, then: Callable[[Any], Any] | None) -> None:
        import keras

        self.before = then
        self._mask = keras.ops.convert_to_tensor(mask, "bool")

    def __call__(self, value: Any) -> Any:
        import keras

        value = keras.ops.convert_to_tensor(value if self.before is None else self.before(value))
        # Not a product, which would leave −0 and NaN.
        return keras.ops.where(self._mask, value, 0)


def _before(constraint: Any) -> Any:
    """The constraint that the user gave: what an interrupted training left is taken off."""
    while isinstance(constraint, _Zeros):
        constraint = constraint.before
    return constraint


def _source(pruned: Any) -> tuple[Mapping[str, Array] | None, Any]:
    """Masks by kernel, or None and the model whose zeros are to be kept."""
    if isinstance(pruned, str | Path):
        return _read(Path(pruned)).masks, None
    found = getattr(pruned, "pruning", pruned)
    if isinstance(found, Pruning):
        return found.masks, None
    if hasattr(pruned, "fit") and hasattr(pruned, "layers"):
        return None, pruned
    raise RegrowError(f"KeepZeros: was given a {type(pruned).__name__}; {ACCEPTED}")


def _read(directory: Path) -> Pruning:
    for place in (directory, directory / "pruning"):
        if (place / MASKS).is_file():
            return Pruning.read(place)
    raise RegrowError(f"KeepZeros: {directory}: contains no {MASKS}; {ACCEPTED}")


def _of_tf_keras(model: Any) -> bool:
    return any(base.__module__.startswith("tf_keras.") for base in type(model).__mro__)


def _zeros_of(model: Any) -> Pairs:
    """The kernels of ``model`` that have zeros."""
    from regrow.graph.kernels import prunable_kernels

    kernels = live_zeros(model) if is_live(model) else prunable_kernels(model)
    pairs = [(name, kernel, _array(kernel) != 0) for name, kernel in kernels.items()]
    found = [pair for pair in pairs if not pair[2].all()]
    if not found:
        raise RegrowError(
            f"KeepZeros: model '{model.name}' has no zeros in its {len(pairs)} kernels, so there is nothing "
            "to keep; give it the result of regrow.prune, or train without it"
        )
    return found


def _matched(model: Any, masks: Mapping[str, Array]) -> Pairs:
    from regrow.graph.kernels import prunable_kernels

    if not masks:
        return []
    kernels = live_kernels(model) if is_live(model) else prunable_kernels(model)
    pairs: Pairs = []
    for name, mask in masks.items():
        kernel = kernels.get(name)
        found = "none" if kernel is None else f"one of shape {tuple(kernel.shape)}"
        if kernel is None or tuple(kernel.shape) != mask.shape:
            raise RegrowError(
                f"KeepZeros: the pruned model has a kernel '{name}' of shape {mask.shape}, but the trained "
                f"model '{model.name}' has {found}; accepted: the pruned model, or one with the same layers"
            )
        if moved := _moved(kernel, mask == 1):
            raise RegrowError(
                f"KeepZeros: {name}: {moved} pruned weights are not zero in model '{model.name}'; train the "
                "pruned model"
            )
        pairs.append((name, kernel, mask == 1))
    return pairs


def _array(variable: Any) -> Array:
    if hasattr(variable, "path"):  # of Keras 3
        import keras

        return np.asarray(keras.ops.convert_to_numpy(variable))
    return np.asarray(variable.numpy())


def _moved(kernel: Any, mask: Array) -> int:
    return int(np.count_nonzero(_array(kernel)[~mask]))


def _optimizers(optimizer: Any) -> Iterator[Any]:
    """The optimizer, or those within it: of loss scaling, or one for each part of a model."""
    inner = getattr(optimizer, "inner_optimizer", None)
    several = getattr(optimizer, "optimizers", None)
    if inner is not None:
        yield from _optimizers(inner)
    elif isinstance(several, list | tuple):
        for one in several:
            yield from _optimizers(one)
    elif optimizer is not None:
        yield optimizer


def _with_averages(kernels: Pairs, optimizer: Any) -> Iterator[tuple[Any, Array]]:
    """The kernels, and the moving averages that the optimizer keeps of them, each with its mask."""
    for _, kernel, mask in kernels:
        yield kernel, mask
        for one in _optimizers(optimizer):
            average = _average(one, kernel)
            if average is not None:
                yield average, mask


def _average(optimizer: Any, kernel: Any) -> Any:
    averages = getattr(optimizer, "_model_variables_moving_average", None)
    if not getattr(optimizer, "use_ema", False) or not averages:
        return None
    if hasattr(optimizer, "_index_dict"):  # of tf_keras
        number = optimizer._index_dict.get(optimizer._var_key(kernel))
        return None if number is None else averages[number]
    known = zip(optimizer._trainable_variables, averages, strict=True)
    return next((average for variable, average in known if variable is kernel), None)


def _compiled(kernels: Pairs, optimizer: Any) -> Callable[[], None]:
    """A function of TensorFlow that zeroes what is masked of a `tf_keras` model."""
    import tensorflow as tf

    pairs = [(variable, tf.constant(mask)) for variable, mask in _with_averages(kernels, optimizer)]

    @tf.function  # type: ignore[untyped-decorator]
    def keep() -> None:
        for variable, mask in pairs:
            variable.assign(tf.where(mask, variable, tf.zeros((), variable.dtype)))

    def call() -> None:
        keep()

    return call
