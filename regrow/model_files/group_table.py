"""The groups of a model for the terminal: which channels go together, where they are, and why some stay."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group as Lines
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from regrow.graph.channels import Channels, Group
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.model_files.files import load_file

SHOWN_LAYERS = 6


@dataclass(frozen=True, kw_only=True)
class ChannelGroup:
    """Channels that can only be removed together: removing one index of one of ``layers`` removes it of all.

    Attributes:
        name: the first layer that makes the channels.
        channels: how many there are.
        removable: how many of them may go.
        layers: all layers that make them.
        also_cut: layers that the channels run through, and that are cut with them, such as a normalisation.
        taken_in_by: layers that sum over them.
        reasons: why channels stay, where some do.
        macs: multiply-accumulate operations that the removal of one channel saves.
        parameters: what it saves of these.
    """

    name: str
    channels: int
    removable: int
    layers: tuple[str, ...]
    also_cut: tuple[str, ...]
    taken_in_by: tuple[str, ...]
    reasons: tuple[str, ...]
    macs: int
    parameters: int


def channel_groups(channels: Channels) -> list[ChannelGroup]:
    """Each group of ``channels`` in words and numbers, in the order of the model."""
    return [_summary(channels, group) for group in channels.groups]


def _summary(channels: Channels, group: Group) -> ChannelGroup:
    free: Any = group.units[channels.removable[group.units]]
    one = np.zeros(channels.count, np.bool_)
    one[free[:1]] = True
    reasons = (channels.reasons[unit] for unit in group.units.tolist() if unit in channels.reasons)
    made = set(group.layers)
    return ChannelGroup(
        name=group.name,
        channels=len(group.units),
        removable=len(free),
        layers=tuple(group.layers),
        also_cut=tuple(name for name in _layers(group, "channel", "output") if name not in made),
        taken_in_by=tuple(_layers(group, "input")),
        reasons=tuple(dict.fromkeys(reasons)),
        macs=channels.macs() - channels.macs(one),
        parameters=channels.parameters() - channels.parameters(one),
    )


def render_groups(path: Path, *, trust: bool = False) -> Lines:
    """The groups of a model file, or of a model artifact.

    Raises:
        RegrowError: the file is missing, broken, or carries code; or the model's calls cannot be read.
    """
    channels = trace(Graph.of(load_file(path, trust=trust)))
    return groups_table(channels, title=path.name)


def groups_table(channels: Channels, *, title: str = "") -> Lines:
    """A paragraph per group, in the order of the model, at most as wide as the terminal.

    To remove one of a group's channels, all layers named are cut: those that make it, and those that it runs through.
    The last line is what the removal of one channel saves, or why none may go.
    """
    parts: list[Any] = [Text(title, style="bold")] if title else []
    for group in channel_groups(channels):
        lines = {"also cut": _shown(group.also_cut), "taken in by": _shown(group.taken_in_by)}
        lines |= _verdict(group)
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True, min_width=len("taken in by"))
        grid.add_column(overflow="fold")
        for label, text in lines.items():
            if text:
                grid.add_row(Text(label, style="dim"), Text(text))
        number = group.channels
        heading = Text.assemble((_shown(group.layers), "bold"), f": {number:,} channel{'s' * (number != 1)}")
        parts += ["", heading, Padding(grid, (0, 0, 0, 2))]
    for why in channels.whole.values():
        parts += ["", Text(f"not followed: {why}")]
    return Lines(*parts)


def _layers(group: Group, *roles: str) -> list[str]:
    return list(dict.fromkeys(slot.layer for slot in group.slots if slot.role in roles))


def _shown(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    if len(distinct) > SHOWN_LAYERS:
        return f"{', '.join(distinct[: SHOWN_LAYERS - 1])} and {len(distinct) - SHOWN_LAYERS + 1} more"
    return ", ".join(distinct)


def _verdict(group: ChannelGroup) -> dict[str, str]:
    staying = group.channels - group.removable
    kept = (
        f"{f'{staying:,} of them' if group.removable else 'all'}: {'; '.join(group.reasons)}"
        if staying
        else ""
    )
    if not group.removable:
        return {"stay": kept}
    return {"one saves": f"{group.macs:,} MACs, {group.parameters:,} parameters", "stay": kept}
