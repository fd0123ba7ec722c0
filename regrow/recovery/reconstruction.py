"""Least-squares feature reconstruction: fit each layer to its parent layer's output, without gradients.

Layer by layer, W ← argmin ‖Y − XW‖² + λ‖W − W₀‖², where the rows of X are the pruned model's inputs to the layer,
upstream layers fitted already, and the rows of Y are what the parent's layer makes, before its activation, of its
own inputs for the same examples; of the parent's channels, those that are left. He, Zhang and Sun, "Channel
pruning for accelerating very deep neural networks", 2017, equation 2, with the channels given; for masks, each
output has its own support, as in Frantar and Alistarh, "Optimal brain compression", 2022.

Of the layers whose outputs are added, as at the end of a residual block, one is fitted last, to the parent's sum minus
the others' outputs. It thus compensates for the errors of the others and of earlier layers.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.computing import by_path
from regrow.graph.kernels import KERNELS
from regrow.graph.view import Call, View, view_of
from regrow.progress import Progress
from regrow.pruning.pruning import Pruning
from regrow.recovery.additions import Addition, addition_behind, closing_order, closing_places
from regrow.recovery.feature_rows import KERNEL_OF, LinearLayer
from regrow.recovery.least_squares import NormalEquations, solve
from regrow.recovery.streaming import Stream, folder_for_maps
from regrow.training.recalibration import normalisation_layers, training_mode

Array = np.ndarray[Any, np.dtype[Any]]
# Of eight examples one judges what the others fitted.
HELD_OUT = 8
# Rows that a layer is fitted to: more positions of feature maps say little more.
ROWS_PER_FEATURE, MIN_ROWS = 32, 65_536
# XᵀX in double precision takes half a gigabyte at this many.
MAX_FEATURES = 8192
MEMORY = 1.5e9
# Below this share of the largest factor, a batch normalisation has switched a channel off.
SWITCHED_OFF = 1e-6
# Below this share of its variance unexplained, a layer makes what the parent's does.
EQUAL = 1e-9


@dataclass(frozen=True)
class _Stage:
    """A layer to fit: its call in both models, and which of the parent's outputs are left."""

    layer: LinearLayer
    parent: LinearLayer
    call: Call
    parent_call: Call
    kept: Array
    free: Array
    closing: "_Closing | None" = None

    @property
    def tensors(self) -> tuple[int, ...]:
        """What is needed of the pruned model."""
        return (self.call.inputs[0], *(self.closing.addition.others if self.closing else ()))

    @property
    def parent_tensors(self) -> tuple[int, ...]:
        """What is needed of the parent."""
        return (self.closing.parent_addition.total,) if self.closing else (self.parent_call.inputs[0],)


@dataclass(frozen=True)
class _Closing:
    """The addition that a layer closes, in both models; the normalisation of the pruned model between them, if any.

    A fit is one of what is added: of the layer's output times ``factor`` plus ``shift``, those of the parent's
    normalisation on the channels that are left, (m,).
    """

    addition: Addition
    parent_addition: Addition
    normalisation: Any
    factor: Array
    shift: Array


def reconstruct(
    model: Any,
    parent: Any,
    pruning: Pruning,
    features: Any,
    *,
    ridge: float,
    batch_size: int,
    progress: Progress | None = None,
    memory: float = MEMORY,
    scratch: Path | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Fit every dense and convolutional layer of ``model`` to its counterpart in ``parent``, in place.

    Batch normalisations that are called once are recalibrated on the way, each before a later layer is fitted to what
    it makes.
    Every eighth example is held out; a layer whose error on these would not fall stays unchanged.

    Args:
        model: the pruned model, with one input; biases are solved for where a layer has one.
        parent: the model before pruning; not changed.
        pruning: what was cut out of ``parent`` to make ``model``; masked weights stay exactly zero.
        features: raw training examples, unaugmented, ``(examples, …)``.
        ridge: λ as a share of the mean squared input.
        batch_size: examples at a time.
        progress: told of every layer.
        memory: bytes of feature maps that may be kept in memory between layers, both models together.
        scratch: a directory in which others may be kept as files meanwhile; without, they are computed again.
        seed: of the positions in feature maps that a layer is fitted to.

    Returns:
        a row a layer, in the model's order: ``layer``; ``error_before`` and ``error_after``, the share of the
        variance of the parent's output that is left unexplained on the examples held out, for a layer that closes the
        addition ``closes``, of what it has to add, normalised as the model's present statistics have it; where the
        layer is left as it was, the reason under ``left``, without errors where none can be told.

    Raises:
        RegrowError: the model has several inputs, or takes examples of another shape.
    """
    _check(model, features)
    # A last, smaller batch would spoil the batch statistics.
    features = features[: max(1, len(features) // batch_size) * batch_size]
    views = view_of(model), view_of(parent)
    report: list[dict[str, Any]] = []
    stages: list[_Stage] = []
    for call in views[0].calls:
        if call.class_name in KERNELS and call.layer not in {row["layer"] for row in report}:
            found = _stage(call, views, (model, parent), pruning)
            report.append({"layer": call.layer} | ({"left": found} if isinstance(found, str) else {}))
            if not isinstance(found, str):
                stages.append(found)
    stages = _closing(stages, views, (model, parent))
    rows = {row["layer"]: row for row in report}
    random = np.random.default_rng(seed)
    with _recalibrating(model, views[0]) as on_batch, folder_for_maps(scratch) as folder:
        ours = Stream(
            model,
            views[0],
            [stage.tensors for stage in stages],
            features,
            batch_size=batch_size,
            memory=memory / 2,
            folder=folder and folder / "pruned",
            on_batch=on_batch,
        )
        theirs = Stream(
            parent,
            views[1],
            [stage.parent_tensors for stage in stages],
            features,
            batch_size=batch_size,
            memory=memory / 2,
            folder=folder and folder / "parent",
        )
        for number, stage in enumerate(stages):
            pairs = zip(ours.batches(number), theirs.batches(number), strict=True)
            fit, held = _equations(stage, pairs, examples=len(features), random=random)
            rows[stage.call.layer].update(_fitted(stage, fit, held, ridge))
            if progress is not None:
                progress.update(number + 1, stage.call.layer, total=len(stages))
    return report


def _check(model: Any, features: Any) -> None:
    if len(model.inputs) != 1:
        raise RegrowError(
            f"reconstruction: the model has {len(model.inputs)} inputs, but examples have one array; set "
            "recover.reconstruct.enabled: false"
        )
    wanted, found = tuple(model.inputs[0].shape[1:]), tuple(features.shape[1:])
    if len(wanted) != len(found) or any(
        size not in (None, length) for size, length in zip(wanted, found, strict=True)
    ):
        raise RegrowError(f"reconstruction: examples have shape {found}, but the model takes {wanted}")


def _stage(call: Call, views: tuple[View, View], models: tuple[Any, Any], pruning: Pruning) -> _Stage | str:
    """The data needed to fit the layer of ``call``, or why it is not fitted."""
    path, kind = call.layer, call.class_name
    if kind.endswith("Transpose"):
        return "outputs of a transposed convolution overlap, so it is not a linear map of single rows"
    if kind not in KERNEL_OF or not call.keras:
        return f"layers of class {kind} are not supported"
    if call.repeated:
        return "it runs at each step of a TimeDistributed model"
    calls = [[other for other in view.calls if other.layer == path] for view in views]
    if not calls[1] or calls[1][0].class_name != kind:
        return "the parent has no such layer"
    if max(map(len, calls)) > 1:
        return "it is called several times, and later calls read the outputs of earlier ones"
    own, theirs = (by_path(model)[path] for model in models)
    if getattr(own, "data_format", "channels_last") != "channels_last":
        return "its channels are on the first axis"
    layer, parent = LinearLayer(own), LinearLayer(theirs)
    if layer.features > MAX_FEATURES:
        return f"an output has {layer.features} inputs; at most {MAX_FEATURES} are supported"
    name = f"{path}/{KERNEL_OF[kind]}"
    kept = parent.outputs_left(pruning.surgery, name)
    if len(kept) != layer.groups * layer.outputs:
        return "its outputs are not those that surgery kept of the parent's"
    mask = pruning.masks.get(name, np.ones(tuple(layer.kernel.shape), np.uint8)) == 1
    bias = np.full(len(kept), layer.bias is not None)
    return _Stage(layer, parent, call, calls[1][0], kept, layer.arranged(mask, bias))


def _closing(stages: list[_Stage], views: tuple[View, View], models: tuple[Any, Any]) -> list[_Stage]:
    """``stages`` in the order of fitting; those that close an addition know it."""
    possible = {
        place: found
        for place, stage in enumerate(stages)
        if (found := _addition(stage, views, models)) is not None
    }
    paths = {place: found.addition.layer for place, found in possible.items()}
    widths = [stage.layer.features for stage in stages]
    closing = closing_places(widths, paths)
    order = closing_order(views[0], [stage.call for stage in stages], closing)
    last = set(closing.values())
    return [replace(stages[place], closing=possible[place] if place in last else None) for place in order]


def _addition(stage: _Stage, views: tuple[View, View], models: tuple[Any, Any]) -> _Closing | None:
    """What ``stage`` could close; None where the two models differ there."""
    calls = stage.call, stage.parent_call
    own, theirs = (addition_behind(view, call) for view, call in zip(views, calls, strict=True))
    if own is None or theirs is None or stage.layer.groups > 1 or not stage.layer.linear:
        return None
    if (own.layer, own.normalisation) != (theirs.layer, theirs.normalisation):
        return None
    factor, shift = np.ones(len(stage.kept)), np.zeros(len(stage.kept))
    layer = None
    if own.normalisation is not None and theirs.normalisation is not None:
        layer, parent = by_path(models[0])[own.normalisation], by_path(models[1])[theirs.normalisation]
        axes = {
            len(view.shapes[view_call.outputs[0]]) - 1 for view, view_call in zip(views, calls, strict=True)
        }
        if not (parent.scale and parent.center) or set(parent.axis) != axes:
            return None
        factor = parent.gamma.numpy() / np.sqrt(parent.moving_variance.numpy() + parent.epsilon)
        shift = parent.beta.numpy() - factor * parent.moving_mean.numpy()
        factor, shift = factor[stage.kept], shift[stage.kept]
        if np.abs(factor).min() <= SWITCHED_OFF * np.abs(factor).max():
            return None
    return _Closing(own, theirs, layer, factor, shift)


def _equations(
    stage: _Stage, pairs: Iterator[tuple[Any, Any]], *, examples: int, random: np.random.Generator
) -> tuple[NormalEquations, NormalEquations]:
    """The normal equations of the examples that fit, and of those held out; of all, where there are few."""
    layer, weights = stage.layer, stage.parent.weights()
    size = {"groups": layer.groups, "features": layer.features, "outputs": layer.outputs}
    fit, held = NormalEquations(**size), NormalEquations(**size)
    wanted = max(MIN_ROWS, ROWS_PER_FEATURE * layer.features)
    seen = 0
    for (x, *others), (of_parent,) in pairs:
        shape = tuple(x.shape[1:-1])
        total = int(np.prod(layer.output_positions(shape), dtype=np.int64))
        count = min(total, -(-wanted // examples))
        positions = np.sort(random.choice(total, count, replace=False))
        rows = layer.rows(x, positions)
        if stage.closing is None:
            target = _targets(stage, stage.parent.rows(of_parent, positions), weights)
        else:
            target = _at(of_parent, positions)[:, stage.kept] - sum(_at(other, positions) for other in others)
            target = target[None]
        of_example = np.repeat(np.arange(seen, seen + len(x)), count)
        judging = (of_example % HELD_OUT == HELD_OUT - 1) & (examples >= HELD_OUT)
        fit.add(rows[:, ~judging], target[:, ~judging])
        held.add(rows[:, judging], target[:, judging])
        seen += len(x)
    return fit, held if held.rows else fit


def _at(x: Any, positions: Array) -> Array:
    """The channels of ``x`` (n, …, c) at ``positions`` (p,) of each example: float32 (n · p, c)."""
    flat = np.asarray(x, np.float32).reshape(len(x), -1, x.shape[-1])
    return flat[:, positions].reshape(-1, x.shape[-1])


def _targets(stage: _Stage, rows: Array, weights: Array) -> Array:
    """What the parent's layer makes of ``rows``, of the outputs that are left: (g, n, m)."""
    with np.errstate(over="ignore", invalid="ignore"):  # the equations tell of it
        made = rows @ weights[:, :-1] + weights[:, -1:]
    flat = made.transpose(1, 0, 2).reshape(rows.shape[1], -1)[:, stage.kept]
    return np.ascontiguousarray(flat.reshape(-1, stage.layer.groups, stage.layer.outputs).transpose(1, 0, 2))


def _fitted(stage: _Stage, fit: NormalEquations, held: NormalEquations, ridge: float) -> dict[str, Any]:
    """Solve, and assign if that lowers the error on ``held``; what the report says."""
    closing, free = stage.closing, stage.free
    row: dict[str, Any] = {} if closing is None else {"closes": closing.addition.layer}
    if not (fit.finite and held.finite):
        return {**row, "left": "its inputs or the parent layer's outputs are not finite"}
    start = present = stage.layer.weights()
    if closing is not None:
        start = start * closing.factor
        start[:, -1] += closing.shift
        present = start
        if closing.normalisation is not None:
            free = np.concatenate([free[:, :-1], np.ones_like(free[:, -1:])], axis=1)
            present = _normalised(stage.layer.weights(), closing.normalisation, fit)
    scale = _scale(fit, held, present)
    before = held.error(present) / scale
    row |= {"error_before": before, "error_after": before}
    if before < EQUAL:
        return {**row, "left": "its output already equals the parent's"}
    weights = solve(fit, start, free, ridge=ridge).astype(np.float32)
    after = held.error(weights) / scale
    if not after < before or not fit.error(weights) <= fit.error(present):
        return {**row, "left": f"the error on held-out examples would be {after:.3g}"}
    if closing is None:
        stage.layer.assign(weights)
    else:
        _assign(stage.layer, closing, weights, fit)
    return {**row, "error_after": after}


def _scale(fit: NormalEquations, held: NormalEquations, present: Array) -> float:
    """What errors on ``held`` are shares of: as many rows' share of the variance of all targets.

    Targets that do not vary are measured by their size, and those that are zero by the error of ``present``.
    """
    rows = fit.rows + held.rows
    squares = float(fit.squares.sum() + held.squares.sum())
    variance = squares - float(((fit.cross[:, -1] + held.cross[:, -1]) ** 2).sum()) / rows
    total = variance if variance > EQUAL * squares else squares
    return total * held.rows / rows or held.error(present) or 1.0


def _normalised(weights: Array, normalisation: Any, fit: NormalEquations) -> Array:
    """A layer's ``weights`` (1, d + 1, m) and the ``normalisation`` behind it, by the statistics of ``fit``, as one."""
    mean, variance = _moments(weights[0], fit)
    factor = normalisation.gamma.numpy() / np.sqrt(variance + normalisation.epsilon)
    found = weights * factor
    found[:, -1] += normalisation.beta.numpy() - factor * mean
    return np.asarray(found)


def _moments(weights: Array, fit: NormalEquations) -> tuple[Array, Array]:
    """Mean and variance of what ``weights`` (d + 1, m) make of the rows of ``fit``, of its first problem."""
    moments = fit.gram[0] / max(1, fit.rows)
    mean = moments[-1] @ weights
    return mean, np.maximum((weights * (moments @ weights)).sum(0) - mean**2, 0)


def _assign(layer: LinearLayer, closing: _Closing, weights: Array, fit: NormalEquations) -> None:
    """Share ``weights``, those of what is added, out to the layer and the normalisation behind it.

    The normalisation divides by the deviation that the fit leaves, which is smaller than the parent's: its scale
    makes up for that, so that what is added is what was fitted.
    """
    kernel, constant = weights[:, :-1] / closing.factor, weights[:, -1:]
    if closing.normalisation is None:
        layer.assign(weights)
        return
    bias = np.zeros_like(constant) if layer.bias is None else layer.weights()[:, -1:]
    shared = np.concatenate([kernel, bias], axis=1)
    layer.assign(shared)
    mean, variance = _moments(shared[0], fit)
    normalisation = closing.normalisation
    normalisation.gamma.assign(closing.factor * np.sqrt(variance + normalisation.epsilon))
    normalisation.beta.assign(constant[0, 0] + closing.factor * (mean - bias[0, 0]))
    normalisation.moving_mean.assign(mean)
    normalisation.moving_variance.assign(variance)


def recalibrated(model: Any, view: View | None = None) -> list[Any]:
    """The batch normalisations of ``model`` that `reconstruct` recalibrates, those that are called once.

    One that is called several times keeps the statistics that it has: its calls share them, so that a single call's
    are others, and layers behind it are fitted to what it makes with them.
    """
    times = Counter(call.layer for call in (view or view_of(model)).calls)
    once = {id(layer) for path, layer in by_path(model).items() if times[path] == 1}
    return [layer for layer in normalisation_layers(model) if id(layer) in once]


@contextlib.contextmanager
def _recalibrating(model: Any, view: View) -> Iterator[Any]:
    """Inside, batch normalisations take each batch's own statistics and average them over the batches of a pass.

    Gives what is to be called with the number of a batch before it runs.
    """
    with training_mode(recalibrated(model, view)) as start_anew:

        def on_batch(number: int) -> None:
            if number == 0:
                start_anew()

        yield on_batch
