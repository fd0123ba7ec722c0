"""Tables for the terminal that show what pruning did to a model file. No TensorFlow here."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from regrow.evaluation.model_latency import FORMATS, Latencies
from regrow.model_files.inspection import Inspection

UNMEASURED = (
    "fewer MACs rarely mean proportionally less time: --latency measures both models as fp32 and int8 TFLite"
)
SHOWN_REASONS = 5
SHOWN_LAYERS = 2


def outcome_tables(
    before: Inspection,
    after: Inspection,
    *,
    blocks: Mapping[str, Any] | None,
    channels: Mapping[str, Any] | None,
    latencies: Latencies | None = None,
    unmeasured: str = UNMEASURED,
) -> Group:
    """Costs before and after, the removed blocks, the groups that shrank, and why others did not.

    ``latencies`` are those of ``parent`` and ``pruned``; without them, the last line of a smaller model is
    ``unmeasured``.
    """
    rows = [
        ("MACs", before.macs, after.macs),
        ("parameters", before.parameters, after.parameters),
        ("bytes", before.bytes, after.bytes),
    ]
    table = Table()
    table.add_column("")
    for name in ("before", "after", "kept"):
        table.add_column(name, justify="right")
    for label, old, new in rows:
        table.add_row(label, f"{old:,}", f"{new:,}", f"{new / old:.1%}" if old else "")
    table.add_row("zeros in kernels", f"{before.sparsity:.1%}", f"{after.sparsity:.1%}", "")
    told = []
    if latencies is not None:
        told = latencies.told()
        for name, ms in latencies.ms.items():
            kept = latencies.ratios[name]["pruned"]
            table.add_row(f"ms, {FORMATS[name]}", f"{ms['parent']:.3f}", f"{ms['pruned']:.3f}", f"{kept:.1%}")
    elif blocks is not None or channels is not None:
        told = [unmeasured]
    parts: list[Any] = [table]
    if blocks is not None:
        parts.append(_dropped(blocks["blocks"]))
    if channels is not None:
        if "latency_ms" in channels["before"]:
            old, new = (channels[when]["latency_ms"] for when in ("before", "after"))
            table.add_row("latency, ms", f"{old:.3f}", f"{new:.3f}", f"{new / old:.1%}")
        unknown = [f"not followed: {why}" for why in channels["left_whole"].values()]
        notes = [f"note: {note}" for note in channels["notes"]]
        lines = [*_untouched(channels["groups"]), *_whole(channels["groups"]), *unknown, *notes]
        parts += [_shrunk(channels["groups"]), *map(Text, lines)]
    return Group(*parts, *map(Text, told))


def _dropped(blocks: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="residual blocks", title_justify="left")
    table.add_column("block")
    table.add_column("layers", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("")
    for block in blocks:
        fate = "dropped" if block["dropped"] else ""
        table.add_row(block["name"], ", ".join(block["layers"]), f"{block['score']:.4g}", fate)
    return table


def _shrunk(groups: Sequence[Mapping[str, Any]]) -> Table:
    """Groups in model order, each named by the layers that make its channels."""
    table = Table(title="layers that share channels", title_justify="left")
    table.add_column("made by", overflow="fold")
    table.add_column("channels", justify="right")
    table.add_column("kept", justify="right")
    for group in groups:
        if group["after"] < group["before"]:
            table.add_row(
                _named(group["layers"]),
                f"{group['before']:,} → {group['after']:,}",
                f"{group['after'] / group['before']:.0%}",
            )
    return table


def _named(layers: Sequence[str]) -> str:
    """A group's layers, shortened to one line of the table; report.json has all."""
    if len(layers) > SHOWN_LAYERS:
        return f"{layers[0]} and {len(layers) - 1} more"
    return ", ".join(layers)


def _untouched(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for all groups that kept all channels though they could shrink; report.json lists each."""
    kept = [group for group in groups if group["after"] == group["before"] and "left_whole" not in group]
    if not kept:
        return []
    names = [_named(group["layers"]) for group in kept]
    more = f" and {len(names) - SHOWN_REASONS} more" if len(names) > SHOWN_REASONS else ""
    number = f"{len(kept)} group{'s' * (len(kept) != 1)}"
    return [
        f"lost nothing: {number} of {sum(group['before'] for group in kept):,} channels "
        f"({'; '.join(names[:SHOWN_REASONS])}{more}): other channels scored lower, or floor, min_channels "
        "and round_to allow no smaller size"
    ]


def _whole(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"left whole: {_named(group['layers'])}: {group['left_whole']}"
        for group in groups
        if "left_whole" in group
    ]
    if len(lines) > SHOWN_REASONS:
        return [
            *lines[:SHOWN_REASONS],
            f"left whole: {len(lines) - SHOWN_REASONS} more groups; see report.json",
        ]
    return lines
