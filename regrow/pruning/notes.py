"""Warnings about a removal of channels that met its target. No TensorFlow here."""

from collections.abc import Mapping, Sequence
from typing import Any

FEW_CHANNELS = 3
# Shares of MACs and of parameters that are this many times apart come from layers of very different fates.
FAR_APART = 2.0
SHOWN = 5


def channel_notes(report: Mapping[str, Any]) -> list[str]:
    """Warnings from section ``channels`` of a report: narrow layers, lopsided costs, changed limits or multiples."""
    shrunk = [group for group in report["groups"] if group["after"] < group["before"]]
    return [
        *_minimum(report),
        *_rounding(report, shrunk),
        *_narrow(report, shrunk),
        *_lopsided(report),
    ]


def _minimum(report: Mapping[str, Any]) -> list[str]:
    if "min_channels_lowered_to" not in report:
        return []
    return [
        f"min_channels: the target cannot be met with {report['min_channels']} channels in each layer; "
        f"lowered to {report['min_channels_lowered_to']}"
    ]


def _rounding(report: Mapping[str, Any], shrunk: Sequence[Mapping[str, Any]]) -> list[str]:
    asked, used = report["round_to"], report.get("rounded_to", report["round_to"])
    found = []
    if used != asked:
        found.append(
            f"round_to: the target cannot be met within 3% with multiples of {asked}; channels are rounded "
            f"to multiples of {used}"
        )
    by_multiple: dict[int, list[str]] = {}
    for group in shrunk:
        if "rounded_to" in group:
            by_multiple.setdefault(group["rounded_to"], []).append(_change(group))
    found += [
        (
            f"round_to: multiples of {used} leave no smaller size within floor and min_channels; {multiple} is "
            f"used for {_listed(names)}"
        )
        for multiple, names in by_multiple.items()
    ]
    stuck = [
        _named(group)
        for group in report["groups"]
        if group["after"] == group["before"] and "least" in group and "left_whole" not in group
    ]
    if used > 1 and stuck:
        found.append(
            f"round_to: multiples of {used} leave these groups no smaller size, so others had to shrink "
            f"more: {_listed(stuck)}; a smaller round_to or min_channels lets these shrink"
        )
    return found


def _narrow(report: Mapping[str, Any], shrunk: Sequence[Mapping[str, Any]]) -> list[str]:
    narrow = [
        _change(group)
        for group in shrunk
        if group.get("fewest", group["after"])
        # Attention heads are many channels each.
        <= max(0 if group.get("heads") else FEW_CHANNELS, group.get("least", 0))
    ]
    if not narrow:
        return []
    minimum = report.get("min_channels_lowered_to", report["min_channels"])
    used = report.get("rounded_to", report["round_to"])
    multiples = f" in multiples of {used}" if used > 1 else ""
    return [
        f"few channels are left: {_listed(narrow)} (the limit of floor {report['floor']:g} and min_channels "
        f"{minimum}{multiples}, or at most {FEW_CHANNELS}); check the accuracy, raise one of the two, or "
        "choose a milder target"
    ]


def _lopsided(report: Mapping[str, Any]) -> list[str]:
    before, after = report["before"], report["after"]
    if not (before["macs"] and after["macs"] and before["parameters"] and after["parameters"]):
        return []
    kept = {name: after[name] / before[name] for name in ("macs", "parameters")}
    words = {"macs": "MACs", "parameters": "parameters"}
    fewer, more = sorted(kept, key=kept.__getitem__)
    if kept[more] < FAR_APART * kept[fewer]:
        return []
    (target,) = report["target"]
    # Parameters and bytes are about one cost, and so are MACs and milliseconds.
    met = {"bytes": "parameters", "latency_ms": "macs"}.get(target, target)
    ways = f"a target of {more if met == fewer else fewer}"
    if report["scope"] != "per_layer":
        ways += ", or scope: per_layer,"
    return [
        f"{words[fewer]} fell to {kept[fewer]:.1%} and {words[more]} only to {kept[more]:.1%}: the layers "
        f"with most of the {words[fewer]} shrank most; {ways} distributes the removal differently"
    ]


def _change(group: Mapping[str, Any]) -> str:
    """A group's layers and its channels before and after, or those of its narrowest layer if they differ."""
    told = f"{_named(group)} {group['before']:,} → {group['after']:,}"
    fewest = group.get("fewest", group["after"])
    if group.get("heads"):
        return f"{told} heads"
    return told if fewest == group["after"] else f"{told} (a layer {fewest:,})"


def _named(group: Mapping[str, Any]) -> str:
    layers = group["layers"]
    return layers[0] if len(layers) == 1 else f"{layers[0]} and {len(layers) - 1} more"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{'; '.join(names[:SHOWN])}{more}"
