"""Messages for a target that cannot be met: the reason, and the layers responsible."""

from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.channels import Channels
from regrow.pruning.channel_report import reasons_of
from regrow.pruning.criteria.evidence import Array
from regrow.pruning.limits import halves, limits_of
from regrow.pruning.search import Found
from regrow.pruning.targets import ChannelOptions, Target

SHOWN_LAYERS = 4
# A layer that has less of the model's cost than this stands in nobody's way.
WORTH_NAMING = 0.02


class NotMetError(RegrowError):
    """A target cannot be met with the given options; the message says what can."""


def refusal(
    channels: Channels, target: Target, options: ChannelOptions, found: Found, *, scale: float
) -> NotMetError:
    """The error for a target that cannot be met; ``found`` are the nearest costs, ``scale`` is the cost of a share of
    1.
    """
    field = f"prune.target.{target.name}"
    limits = (
        f"floor {options.floor:g}, min_channels {options.minimums[0]}, round_to"
        f" {' or '.join(map(str, halves(options.round_to)))} and the layers that stay whole"
    )
    reached = [price / scale for price in found.reachable]
    unit = " ms" if target.name == "latency_ms" else ""
    if found.below is None:
        least = found.above[1] if found.above is not None else None
        return NotMetError(
            f"{field}: {target.value:g}{unit} cannot be reached; with {limits} the smallest value is "
            f"{reached[0]:.3g}{unit}{blocking(channels, target.name, least)}{_way_out(channels, options)}"
        )
    near = " and ".join(f"{value:.3g}{unit}" for value in reached)
    finer = "; a lower round_to allows more sizes" if options.round_to > 1 else ""
    return NotMetError(
        f"{field}: {target.value:g}{unit} cannot be met within 3%; with {limits} the nearest are {near}{finer}"
    )


def _way_out(channels: Channels, options: ChannelOptions) -> str:
    """The end of a sentence that names options which, if lowered, let a layer shrink further; "" if none does."""
    given: dict[str, Any] = {
        "floor": options.floor,
        "min_channels": options.minimums[0],
        "round_to": options.round_to,
    }
    now = limits_of(channels, **given)
    lowest = {"floor": 0.0, "min_channels": 1, "round_to": 1}
    names = [name for name, value in lowest.items() if limits_of(channels, **{**given, name: value}) != now]
    if not names:
        return ""
    return f"; a lower {' or '.join(names)} lets layers shrink further"


def blocking(channels: Channels, cost: str, removed: Array | None) -> str:
    """The end of a sentence that names the layers with most of the cost left after ``removed``; "" if there are none.

    Shares are of the whole model's ``cost``; for a latency target, of its MACs.
    """
    if removed is None:
        return ""
    cost = "macs" if cost == "latency_ms" else cost
    whole = max(1, getattr(channels, cost)())
    left = channels.by_layer(cost, removed)
    largest = sorted(left, key=lambda layer: -left[layer])[:SHOWN_LAYERS]
    named = [
        f"'{layer}' {left[layer] / whole:.0%} ({_why(channels, layer, removed)})"
        for layer in largest
        if left[layer] >= WORTH_NAMING * whole
    ]
    unit = "MACs" if cost == "macs" else cost
    return (
        f"; the largest remaining layers, as shares of the original {unit}: {', '.join(named)}"
        if named
        else ""
    )


def _why(channels: Channels, layer: str, removed: Array) -> str:
    """Why ``layer`` is not smaller."""
    if layer in channels.whole:
        return channels.whole[layer]
    own = [slot for slot in channels.slots if slot.layer == layer]
    # What a depthwise layer has of its channels is of this role alone.
    units = [slot.units for slot in own if slot.role != "channel"] or [slot.units for slot in own]
    if not units:
        return "its channels cannot be traced"
    flat = np.unique(np.concatenate(units))
    reasons = reasons_of(channels, flat)
    if reasons:
        return "; ".join(reasons)
    staying = sum(1 for unit in flat.tolist() if unit in channels.reasons)
    if staying > len(flat) / 2:
        return "; ".join(
            dict.fromkeys(channels.reasons[unit] for unit in flat.tolist() if unit in channels.reasons)
        )
    return "at its limit"
