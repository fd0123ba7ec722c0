"""The groups of a model for the terminal: which channels go together, where they are, and why some stay."""

from collections.abc import Iterable
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
    for group in channels.groups:
        made = list(group.layers)
        beside = [name for name in _layers(group, "channel", "output") if name not in made]
        lines = {"also cut": _shown(beside), "taken in by": _shown(_layers(group, "input"))}
        lines |= _verdict(channels, group)
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True, min_width=len("taken in by"))
        grid.add_column(overflow="fold")
        for label, text in lines.items():
            if text:
                grid.add_row(Text(label, style="dim"), Text(text))
        number = len(group.units)
        heading = Text.assemble((_shown(made), "bold"), f": {number:,} channel{'s' * (number != 1)}")
        parts += ["", heading, Padding(grid, (0, 0, 0, 2))]
    for why in channels.whole.values():
        parts += ["", Text(f"not followed: {why}")]
    return Lines(*parts)


def _layers(group: Group, *roles: str) -> list[str]:
    return [slot.layer for slot in group.slots if slot.role in roles]


def _shown(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    if len(distinct) > SHOWN_LAYERS:
        return f"{', '.join(distinct[: SHOWN_LAYERS - 1])} and {len(distinct) - SHOWN_LAYERS + 1} more"
    return ", ".join(distinct)


def _verdict(channels: Channels, group: Group) -> dict[str, str]:
    free: Any = group.units[channels.removable[group.units]]
    reasons = dict.fromkeys(
        channels.reasons[unit] for unit in group.units.tolist() if unit in channels.reasons
    )
    staying = len(group.units) - len(free)
    kept = f"{f'{staying:,} of them' if len(free) else 'all'}: {'; '.join(reasons)}" if staying else ""
    if not len(free):
        return {"stay": kept}
    one = np.zeros(channels.count, np.bool_)
    one[free[0]] = True
    saved = (
        f"{channels.macs() - channels.macs(one):,} MACs,"
        f" {channels.parameters() - channels.parameters(one):,} parameters"
    )
    return {"one saves": saved, "stay": kept}
