"""Layer dropping: remove whole residual blocks from a model, so that it becomes shallower."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.blocks import Block, residual_blocks, without_blocks
from regrow.graph.channels import Channels
from regrow.graph.graph import Graph
from regrow.graph.removal import Surgery
from regrow.graph.tracing import trace
from regrow.pruning.criteria.evidence import Calibration, is_weight
from regrow.pruning.criteria.scoring import criteria, score
from regrow.pruning.pruning import Pruning
from regrow.pruning.selection import check_countable, check_patterns, matches
from regrow.pruning.targets import TOLERANCE, LayerOptions, Target


@dataclass(frozen=True, kw_only=True)
class LayerPruning:
    """The shallower model, the surgery that made it, and section ``blocks`` of the report."""

    model: Any
    pruning: Pruning
    report: dict[str, Any]


@dataclass(frozen=True)
class _Step:
    """An intermediate model: the blocks dropped so far, and its costs."""

    dropped: tuple[Block, ...]
    graph: Graph
    surgery: Surgery
    channels: Channels

    def costs(self) -> dict[str, int]:
        return {name: getattr(self.channels, name)() for name in ("macs", "parameters", "bytes")}


def prune_layers(
    model: Any,
    options: LayerOptions,
    *,
    target: Target | None,
    skip: Sequence[str] = (),
    calibration: Calibration | None = None,
    seed: int = 0,
) -> LayerPruning:
    """A new model without the least important residual blocks; ``model`` stays unchanged.

    Args:
        model: Functional or Sequential, nested models included.
        options: how many blocks to drop, and the criterion.
        target: a share of macs, parameters or bytes, used if ``options`` gives no number of blocks.
        skip: patterns of layers; a block that holds one of them stays.
        calibration: examples, for criteria that need them.
        seed: of criterion random.

    Raises:
        RegrowError: there are too few blocks, a pattern matches no layer, the criterion does not fit the model, or
            the target cannot be met with whole blocks; then the message says what can be.
    """
    graph = Graph.of(model)
    check_patterns(graph.locations, skip)
    check_patterns(graph.locations, options.skip, field="prune.layers.skip")
    if target is not None and not options.blocks:
        check_countable(graph, target)
    staying = (*skip, *options.skip)
    whole = _Step((), graph, Surgery(), trace(graph))
    blocks = [
        block
        for block in residual_blocks(graph)
        if not any(matches(layer, pattern) for layer in block.layers for pattern in staying)
    ]
    if not blocks:
        raise RegrowError("prune.method: 'layers' finds no residual block that it may remove")
    scores = _scores(whole.channels, blocks, model, options, calibration, seed)
    ranked = [blocks[place] for place in np.argsort(scores, kind="stable")]
    step = _counted(whole, ranked, options.blocks) if options.blocks else _met(whole, ranked, target)
    return LayerPruning(
        model=step.graph.to_model(),
        pruning=Pruning(masks={}, surgery=step.surgery),
        report={
            "criterion": options.criterion,
            "before": whole.costs(),
            "after": step.costs(),
            "blocks": [
                {
                    "name": block.name,
                    "layers": list(block.layers),
                    "score": float(value),
                    "dropped": block in step.dropped,
                }
                for block, value in zip(blocks, scores, strict=True)
            ],
        },
    )


def _scores(
    channels: Channels,
    blocks: Sequence[Block],
    model: Any,
    options: LayerOptions,
    calibration: Calibration | None,
    seed: int,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A block's score: the mean over the channels that its layers make; only slices within the block count.

    For a criterion that sums over slices, a unit counts once for each layer of the block that makes it.
    """
    found = np.empty(len(blocks))
    for number, block in enumerate(blocks):
        own = tuple(
            slot
            for slot in channels.slots
            if slot.array.startswith(tuple(f"{path}/" for path in block.layers))
        )
        units = np.unique(np.concatenate([slot.units for slot in own]))
        alone = replace(channels, slots=own)
        values = score(
            alone,
            model=model,
            criterion=options.criterion,
            normalise="none",
            calibration=calibration,
            seed=seed,
        )[units]
        if not np.isfinite(values).any():
            raise RegrowError(
                f"prune.layers.criterion: '{options.criterion}' cannot score block '{block.name}'; choose "
                "another criterion"
            )
        made = sum(len(slot.units) for slot in own if slot.role == "output" and is_weight(slot))
        summed = not criteria()[options.criterion].comparable
        found[number] = np.nansum(values) / made if summed and made else np.nanmean(values)
    return found


def _without(whole: _Step, step: _Step, block: Block) -> _Step | None:
    """``step`` with ``block`` dropped, too; None if that changes nothing or would leave an addition without inputs."""
    if set(block.layers).isdisjoint(step.graph.locations):
        return None  # it went inside a larger one
    dropped = (*step.dropped, block)
    if any(other.addition == block.addition and other.location == block.location for other in step.dropped):
        sides = {other.side for other in dropped if other.addition == block.addition}
        if len(sides) >= block.sides:
            return None
    graph, surgery = without_blocks(whole.graph, dropped)
    return _Step(dropped, graph, surgery, trace(graph))


def _counted(whole: _Step, ranked: Sequence[Block], count: int) -> _Step:
    step = whole
    for block in ranked:
        if len(step.dropped) == count:
            break
        step = _without(whole, step, block) or step
    if len(step.dropped) < count:
        raise RegrowError(
            f"prune.layers.blocks: is {count}, but only {len(step.dropped)} residual blocks can be removed"
        )
    return step


def _met(whole: _Step, ranked: Sequence[Block], target: Target | None) -> _Step:
    """Drop the least important blocks; skip one that would overshoot the target."""
    assert target is not None  # validated
    total = whole.costs()[target.name]
    step, reached = whole, 1.0
    nearest_below: float | None = None
    for block in ranked:
        following = _without(whole, step, block)
        if following is None:
            continue
        share = following.costs()[target.name] / total
        if share < target.value * (1 - TOLERANCE):
            nearest_below = max(share, nearest_below or 0.0)
            continue
        step, reached = following, share
        if reached <= target.value * (1 + TOLERANCE):
            return step
    near = [f"{reached:.3g}", *([f"{nearest_below:.3g}"] if nearest_below else [])]
    raise RegrowError(
        f"prune.target.{target.name}: {target.value:g} cannot be met within 3% by whole blocks; reachable "
        f"are {' and '.join(near)}; use methods [layers, channels] with layers.blocks for values between"
    )
