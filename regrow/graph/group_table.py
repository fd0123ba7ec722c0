"""The groups of a model as a table: which channels go together, where they are, and why some stay."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from regrow.graph.channels import Channels, Group
from regrow.graph.files import load_file
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace

SHOWN_LAYERS = 6


def render_groups(path: Path, *, trust: bool = False) -> Table:
    """The groups of a model file, or of a model artifact.

    Raises:
        RegrowError: the file is missing, broken, or carries code; or the model's calls cannot be read.
    """
    channels = trace(Graph.of(load_file(path, trust=trust)))
    return groups_table(channels, title=path.name)


def groups_table(channels: Channels, *, title: str = "") -> Table:
    """One row per group, in the order of the model.

    A group's channels are made by the layers in the first column and taken in by those in the second: to remove one
    of them, all these layers are cut. The last column is what the removal of one channel saves, or why none may go.
    """
    table = Table(title=title, title_justify="left", caption_justify="left", show_lines=True)
    if channels.whole:
        table.caption = "Left whole: " + "; ".join(channels.whole.values())
    for name in ("channels made by", "cut with them", "taken in by"):
        table.add_column(name, overflow="fold")
    table.add_column("channels", justify="right")
    table.add_column("one saves, or why they stay", overflow="fold")
    for group in channels.groups:
        made = list(group.layers)
        taken = _layers(group, "input")
        beside = [name for name in _layers(group, "channel", "output") if name not in made]
        table.add_row(
            _shown(made), _shown(beside), _shown(taken), f"{len(group.units):,}", _verdict(channels, group)
        )
    return table


def _layers(group: Group, *roles: str) -> list[str]:
    return [slot.layer for slot in group.slots if slot.role in roles]


def _shown(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    if len(distinct) > SHOWN_LAYERS:
        return f"{', '.join(distinct[: SHOWN_LAYERS - 1])} and {len(distinct) - SHOWN_LAYERS + 1} more"
    return ", ".join(distinct)


def _verdict(channels: Channels, group: Group) -> str:
    free: Any = group.units[channels.removable[group.units]]
    reasons = dict.fromkeys(
        channels.reasons[unit] for unit in group.units.tolist() if unit in channels.reasons
    )
    if not len(free):
        return "stay: " + "; ".join(reasons)
    one = np.zeros(channels.count, np.bool_)
    one[free[0]] = True
    saved = (
        f"{channels.macs() - channels.macs(one):,} MACs,"
        f" {channels.parameters() - channels.parameters(one):,} parameters"
    )
    if len(free) < len(group.units):
        return f"{saved}; {len(group.units) - len(free):,} stay: {'; '.join(reasons)}"
    return saved
