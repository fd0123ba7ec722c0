"""Section ``channels`` of the pruning report: what shrank, and why the rest did not."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from regrow.graph.channels import Channels
from regrow.graph.ties import Ids
from regrow.pruning.criteria.evidence import Array
from regrow.pruning.targets import ChannelOptions, Target


def channel_report(
    channels: Channels,
    removed: Array,
    options: ChannelOptions,
    target: Target,
    *,
    latencies: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Costs before and after, and channel counts by group and by layer.

    ``left_whole`` gives the reason where no channel may go; beside the groups it is that of each layer that no rule
    could follow, by its name. A layer has a row for each size in its config that
    counts channels: ``filters``, ``units``, ``key_dim``.
    """
    before, after = ({**_costs(channels, mask)} for mask in (np.zeros_like(removed), removed))
    if latencies is not None:
        before["latency_ms"], after["latency_ms"] = (round(value, 4) for value in latencies)
    return {
        "target": {target.name: target.value},
        "criterion": options.criterion,
        "normalise": options.normalisation,
        "scope": options.scope,
        "before": before,
        "after": after,
        "left_whole": dict(channels.whole),
        "groups": [
            {
                "name": group.name,
                "layers": list(group.layers),
                **_counts(channels, group.units, removed),
            }
            for group in channels.groups
        ],
        "layers": [
            {
                "name": path,
                "size": ".".join(str(part) for part in key if part != "config"),
                **_counts(channels, units, removed),
            }
            for (path, key), units in channels.config_sizes.items()
        ],
    }


def reasons_of(channels: Channels, units: Iterable[int]) -> list[str]:
    """Why each of ``units`` stays, each reason once; empty if one of them may go."""
    found: dict[str, None] = {}
    for unit in units:
        if int(unit) not in channels.reasons:
            return []
        found[channels.reasons[int(unit)]] = None
    return list(found)


def _costs(channels: Channels, removed: Array) -> dict[str, float]:
    return {
        "macs": channels.macs(removed),
        "parameters": channels.parameters(removed),
        "bytes": channels.bytes(removed),
    }


def _counts(channels: Channels, units: Ids, removed: Array) -> dict[str, Any]:
    reasons = reasons_of(channels, units)
    return {
        "before": len(units),
        "after": int(np.count_nonzero(~removed[units])),
        **({"left_whole": "; ".join(reasons)} if reasons else {}),
    }
