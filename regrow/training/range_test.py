"""A learning-rate range test (Smith 2017): the rate grows from step to step, and the loss determines the peak."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regrow.storage.artifacts import write_json
from regrow.training.optimizers import RateTable
from regrow.training.settings import RangeTestSettings

Array = np.ndarray[Any, np.dtype[np.float64]]
RUNAWAY = 4.0  # times the lowest mean loss: no rate beyond is worth trying
WINDOW = 10  # steps in the running mean that is held against it
SMOOTHING = 0.04  # standard deviation of the smoothing, as a share of all steps


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """``rate`` is the peak to take, None where the loss fell at no rate; ``rates`` and ``losses`` have an entry per
    step, up to where the loss ran away.
    """

    rate: float | None
    rates: tuple[float, ...]
    losses: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """For the report: ``rate``, and ``curve``, a list of ``rate`` and ``loss``."""
        curve = [{"rate": rate, "loss": loss} for rate, loss in zip(self.rates, self.losses, strict=True)]
        return {"rate": self.rate, "curve": curve}

    def write(self, file: Path) -> None:
        """Write `to_json`."""
        write_json(file, self.to_json())


def range_test(
    model: Any,
    batches: Iterable[tuple[Any, Any]],
    make_optimizer: Callable[[Any], Any],
    loss: Callable[[Any, Any], Any],
    *,
    settings: RangeTestSettings,
    after_step: Callable[[Any], Callable[[], None]] | None = None,
) -> RangeTest:
    """Train a copy of ``model`` for ``settings.steps`` steps, the rate growing exponentially from low to high.

    Run it before seeds are set for training: the copy draws from the same random numbers.

    Args:
        model: not changed.
        batches: ``(features, labels)``, begun again when they end; from an input of their own, since a shuffled one
            goes on to its next epoch.
        make_optimizer: a new optimiser for a learning rate or a schedule of it.
        loss: of labels and predictions, per example or as a mean; the model's own regularisation is added.
        settings: how many steps, from which rate to which.
        after_step: given the copy, gives what is called after each step; masks are applied again there.
    """
    from regrow.training.devices import copied

    copy = copied(model)
    rates = np.geomspace(settings.low, settings.high, settings.steps)
    step = _step(copy, make_optimizer(RateTable(rates.astype(np.float32)).schedule), loss)
    finish = after_step(copy) if after_step is not None else None
    losses: list[float] = []
    for (features, labels), _ in zip(_again_and_again(batches), rates, strict=False):
        value = float(step(features, labels))
        if not np.isfinite(value):
            break
        losses.append(value)
        if _ran_away(losses):
            break
        if finish is not None:
            finish()
    tried = rates[: len(losses)]
    return RangeTest(
        rate=chosen_rate(tried, np.asarray(losses)), rates=tuple(tried.tolist()), losses=tuple(losses)
    )


def chosen_rate(rates: Array, losses: Array) -> float | None:
    """The rate midway, on a logarithmic scale, between where the loss falls most steeply and where it is lowest; None
    where it falls nowhere.

    The steepest fall alone is safe but timid: on the digits, for a new and a pruned model, Adam and SGD, three times
    that rate was better in each case, and ten times worse for the pruned ones; the lowest loss is already near
    running away.

    The losses, shape ``(steps,)``, are smoothed by a Gaussian first, whose standard deviation is 4% of the steps; it
    looks both ways, so that it does not lag behind.
    """
    if len(losses) < 3:
        return None
    smooth = _smoothed(losses)
    lowest = int(smooth.argmin())
    slope = np.gradient(smooth, np.log(rates))[: lowest + 1]
    steepest = int(slope.argmin())
    return float(np.sqrt(rates[steepest] * rates[lowest])) if slope[steepest] < 0 else None


def _smoothed(losses: Array) -> Array:
    index = np.arange(len(losses))
    width = max(1.0, SMOOTHING * len(losses))
    weights = np.exp(-0.5 * ((index[:, None] - index[None, :]) / width) ** 2)
    return np.asarray(weights @ losses / weights.sum(axis=1), np.float64)


def _ran_away(losses: list[float]) -> bool:
    if len(losses) < 2 * WINDOW:
        return False
    means = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), mode="valid")
    return bool(means[-1] > RUNAWAY * means.min())


def _step(model: Any, optimizer: Any, loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """One optimiser step on a batch; the loss before it."""
    import tensorflow as tf

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(features: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(labels, model(features, training=True)))
            if model.losses:
                value += tf.add_n(model.losses)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
        return value

    return step  # type: ignore[no-any-return]


def _again_and_again(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from batches
