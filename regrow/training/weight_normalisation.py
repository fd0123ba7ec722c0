"""Weight normalisation as a change of variables: the direction and length of kernels are trained."""

from collections.abc import Callable
from typing import Any

from regrow.graph.kernels import kernels


class WeightNormalisation:
    """The kernels of ``model`` as w = g·v/‖v‖, ‖v‖ the Euclidean norm per output unit (Salimans & Kingma 2016, (2)).

    At the start v = w and g = ‖w‖, so the function is unchanged. The model keeps w in its layers; gradients of w are
    turned into those of g and v (equation 3), the optimizer moves these, and `fold` writes w again:

        ∇g = ∇w · v/‖v‖        ∇v = g/‖v‖ (∇w − ∇g v/‖v‖)

    Where w is 0 and its gradient is masked, v stays 0 and so does w. A unit that is all zeros has no direction and
    stays.

    Args:
        model: its trainable prunable kernels are reparametrised.
    """

    def __init__(self, model: Any) -> None:
        import tensorflow as tf

        trainable = {variable.ref() for variable in model.trainable_variables}
        # An embedding sums over nothing, so no unit of it has a length.
        summed = [
            (kernel.variable, sorted((*kernel.axes.window, *kernel.axes.inputs)))
            for kernel in kernels(model).values()
            if kernel.axes is not None and kernel.variable.ref() in trainable
        ]
        self._kernels = [kernel for kernel, axes in summed if axes]
        self._axes = [axes for _, axes in summed if axes]
        self._directions = [
            tf.Variable(kernel, name=f"direction{place}") for place, kernel in enumerate(self._kernels)
        ]
        self._lengths = [
            tf.Variable(_norm(kernel, place), name=f"length{number}")
            for number, (kernel, place) in enumerate(zip(self._kernels, self._axes, strict=True))
        ]
        self._places = {kernel.ref(): place for place, kernel in enumerate(self._kernels)}
        self.fold = self._folding()

    @property
    def variables(self) -> list[Any]:
        """Directions and lengths."""
        return [*self._directions, *self._lengths]

    def in_place_of(self, variable: Any) -> list[Any]:
        """What the optimizer changes instead of ``variable``."""
        place = self._places.get(variable.ref())
        return [variable] if place is None else [self._directions[place], self._lengths[place]]

    def gradients(self, gradient: Any, variable: Any) -> list[tuple[Any, Any]]:
        """Pairs of gradient and variable that stand for ``gradient`` of ``variable``."""
        import tensorflow as tf

        place = self._places.get(variable.ref())
        if place is None or gradient is None:
            return [(gradient, item) for item in self.in_place_of(variable)]
        direction, length, axes = self._directions[place], self._lengths[place], self._axes[place]
        norm = _norm(direction, axes)
        unit = tf.math.divide_no_nan(tf.convert_to_tensor(direction), norm)
        of_length = tf.reduce_sum(gradient * unit, axis=axes, keepdims=True)
        of_direction = tf.math.divide_no_nan(tf.convert_to_tensor(length), norm) * (
            gradient - of_length * unit
        )
        return [(of_direction, direction), (of_length, length)]

    def _folding(self) -> Callable[[], None]:
        import tensorflow as tf

        @tf.function  # type: ignore[untyped-decorator]
        def fold() -> None:
            for kernel, direction, length, axes in zip(
                self._kernels, self._directions, self._lengths, self._axes, strict=True
            ):
                kernel.assign(tf.math.divide_no_nan(length * direction, _norm(direction, axes)))

        def call() -> None:
            fold()

        return call


def _norm(kernel: Any, axes: list[int]) -> Any:
    """‖v‖ of each output unit; the axes stay, with length 1."""
    import tensorflow as tf

    return tf.sqrt(tf.reduce_sum(tf.square(kernel), axis=axes, keepdims=True))
