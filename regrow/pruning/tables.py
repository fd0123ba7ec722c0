"""What pruning did to a model file, as tables for the terminal. No TensorFlow here."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

from regrow.graph.inspection import Inspection

SHOWN_REASONS = 5


def outcome_tables(before: Inspection, after: Inspection, channels: Mapping[str, Any] | None) -> Group:
    """The whole before and after, the groups that shrank, and why others did not."""
    rows = [
        ("MACs", before.macs, after.macs),
        ("parameters", before.parameters, after.parameters),
    ]
    if channels is not None:
        rows.append(("bytes", channels["before"]["bytes"], channels["after"]["bytes"]))
    table = Table()
    table.add_column("")
    for name in ("before", "after", "kept"):
        table.add_column(name, justify="right")
    for label, old, new in rows:
        table.add_row(label, f"{old:,}", f"{new:,}", f"{new / old:.1%}" if old else "")
    table.add_row("zeros in kernels", f"{before.sparsity:.1%}", f"{after.sparsity:.1%}", "")
    if channels is None:
        return Group(table)
    if "latency_ms" in channels["before"]:
        old, new = (channels[when]["latency_ms"] for when in ("before", "after"))
        table.add_row("latency, ms", f"{old:.3f}", f"{new:.3f}", f"{new / old:.1%}")
    return Group(table, _shrunk(channels["groups"]), *_whole(channels["groups"]))


def _shrunk(groups: Sequence[Mapping[str, Any]]) -> Table:
    """Groups in the order of the model; one is named by the layers that make its channels."""
    table = Table(title="channels that are made together", title_justify="left")
    table.add_column("made by", overflow="fold")
    table.add_column("channels", justify="right")
    table.add_column("kept", justify="right")
    for group in groups:
        if group["after"] < group["before"]:
            table.add_row(
                ", ".join(group["layers"]),
                f"{group['before']:,} → {group['after']:,}",
                f"{group['after'] / group['before']:.0%}",
            )
    return table


def _whole(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"left whole: {', '.join(group['layers'])}: {group['left_whole']}"
        for group in groups
        if "left_whole" in group
    ]
    if len(lines) > SHOWN_REASONS:
        return [
            *lines[:SHOWN_REASONS],
            f"left whole: {len(lines) - SHOWN_REASONS} groups more; see report.json",
        ]
    return lines
