"""Groups of channels as a person reads them: who makes them, who takes them in, and what must stay and why."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from regrow.graph.channels import Channels, Group


@dataclass(frozen=True, kw_only=True)
class GroupSummary:
    """One group: ``channels`` units, ``removable`` of them free; ``reasons`` say why the others stay.

    ``macs`` and ``parameters`` are what the first removable channel saves while all others are there.
    """

    name: str
    made_by: tuple[str, ...]
    also_in: tuple[str, ...]
    taken_by: tuple[str, ...]
    channels: int
    removable: int
    reasons: tuple[str, ...]
    macs: int
    parameters: int


def summaries(channels: Channels) -> list[GroupSummary]:
    """All groups, in the order in which the model makes them."""
    return [_summary(channels, group) for group in channels.groups]


def _summary(channels: Channels, group: Group) -> GroupSummary:
    free = group.units[channels.removable[group.units]]
    reasons = (channels.reasons[unit] for unit in group.units.tolist() if unit in channels.reasons)
    # The first tells for all, unless slices or concatenations treat some differently.
    one = free[:1]
    return GroupSummary(
        name=group.name,
        made_by=group.layers,
        also_in=_layers(group, "channel", group.layers),
        taken_by=_layers(group, "input", ()),
        channels=len(group.units),
        removable=len(free),
        reasons=tuple(dict.fromkeys(reasons)),
        macs=channels.macs() - channels.macs(one),
        parameters=channels.parameters() - channels.parameters(one),
    )


def _layers(group: Group, role: str, without: Iterable[str]) -> tuple[str, ...]:
    found = dict.fromkeys(slot.layer for slot in group.slots if slot.role == role)
    return tuple(layer for layer in found if layer not in set(without))


def left_whole(channels: Channels) -> dict[str, int]:
    """Why channels stay, and how many for each reason, most first."""
    reasons, counts = np.unique(list(channels.reasons.values()), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(reasons[index]): int(counts[index]) for index in order}


def render_groups(channels: Channels, *, title: str = "") -> Table:
    """One row per group: what is removed together, what one channel saves, and why others stay."""
    table = Table(title=title or None, title_justify="left", show_lines=True)
    for name in ("made by", "passes through", "taken in by"):
        table.add_column(name, overflow="fold")
    table.add_column("channels", justify="right")
    table.add_column("removable", justify="right")
    table.add_column("MACs each", justify="right")
    table.add_column("parameters each", justify="right")
    table.add_column("stays because")
    for row in summaries(channels):
        table.add_row(
            _lines(row.made_by),
            _lines(row.also_in),
            _lines(row.taken_by),
            str(row.channels),
            str(row.removable) if row.removable else "none",
            f"{row.macs:,}" if row.removable else "",
            f"{row.parameters:,}" if row.removable else "",
            "; ".join(row.reasons),
        )
    return table


def _lines(names: tuple[str, ...], most: int = 8) -> str:
    shown = names if len(names) <= most else (*names[: most - 1], f"and {len(names) - most + 1} more")
    return "\n".join(shown)
