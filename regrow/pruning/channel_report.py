"""Section ``channels`` of the pruning report: which groups shrank, and why others did not."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from regrow.graph.channels import Channels
from regrow.graph.ties import Ids
from regrow.pruning.cells import Layer
from regrow.pruning.criteria.evidence import Array
from regrow.pruning.limits import Limits, limits_of, sizes_by_group
from regrow.pruning.targets import ChannelOptions, Target


def channel_report(
    channels: Channels,
    removed: Array,
    options: ChannelOptions,
    target: Target,
    *,
    round_to: int,
    min_channels: int,
    latencies: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Costs before and after, and channel counts by group and by layer.

    ``left_whole`` gives the reason where no channel may go; beside the groups it is that of each layer that no rule
    could follow, by its name. A layer has a row for each size in its config that
    counts channels: ``filters``, ``units``, ``key_dim``. A group that shrank has how many channels the layer of it that
    is nearest to its limit has left, ``fewest``, the limit, ``least``, and what it was rounded to, ``rounded_to``, if
    not to ``round_to``, which is that of ``options`` or what fitted in its place, as ``min_channels`` is, told as
    ``min_channels_lowered_to``. A group that its limit kept from shrinking has ``least`` alone. One of attention heads
    that shrank has ``heads``.
    """
    before, after = ({**_costs(channels, mask)} for mask in (np.zeros_like(removed), removed))
    if latencies is not None:
        before["latency_ms"], after["latency_ms"] = (round(value, 4) for value in latencies)
    limits = limits_of(channels, floor=options.floor, min_channels=min_channels, round_to=round_to)
    sizes = sizes_by_group(channels, channels)
    return {
        "target": {target.name: target.value},
        "criterion": options.criterion,
        "normalise": options.normalisation,
        "scope": options.scope,
        "rank": "score_per_cost" if options.per_cost else "score",
        "floor": options.floor,
        "min_channels": (asked := options.minimums[0]),
        **({"min_channels_lowered_to": min_channels} if min_channels != asked else {}),
        "round_to": options.round_to,
        **({"rounded_to": round_to} if round_to != options.round_to else {}),
        "before": before,
        "after": after,
        "left_whole": dict(channels.whole),
        "groups": [
            {
                "name": group.name,
                "layers": list(group.layers),
                **_counts(channels, group.units, removed),
                **_narrowest(group.units, sizes.get(number, {}), limits[number], removed, round_to=round_to),
            }
            for number, group in enumerate(channels.groups)
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
    """Why each of ``units`` stays, each reason once; empty if one of them may be removed."""
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


def _narrowest(
    units: Ids, sizes: Mapping[Layer, Ids], limits: Limits, removed: Array, *, round_to: int
) -> dict[str, Any]:
    """The layer nearest to its limit in a group that shrank; only the limit in a group that could not shrink."""
    own: dict[Layer | None, Ids] = {layer: of[np.isin(of, units)] for layer, of in sizes.items()}
    own = own or {None: units}
    if not removed[units].any():
        stuck = [limits.least[layer] for layer, of in own.items() if limits.least[layer] >= len(of)]
        return {"least": min(stuck)} if stuck else {}
    rows = [
        (int(np.count_nonzero(~removed[of])), limits.least[layer])
        for layer, of in own.items()
        if removed[of].any()
    ]
    fewest, least = min(rows, key=lambda row: (row[0] > row[1], row[0]))
    rounded = {"rounded_to": limits.multiple} if limits.multiple != round_to else {}
    heads = {"heads": True} if all(layer is not None and "num_heads" in layer[1] for layer in own) else {}
    return {"fewest": fewest, "least": least, **rounded, **heads}
