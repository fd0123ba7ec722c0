"""A model as a table: layers, shapes, parameters, MACs, sparsity."""

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from regrow.graph.costs import LayerCost, layer_costs
from regrow.graph.finite import not_finite, shown
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.model_files.files import load_file
from regrow.model_files.group_table import ChannelGroup, channel_groups
from regrow.showing.tables import Shown, frame

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, repr=False)
class Inspection(Shown):
    """The layers of a model and their sums.

    Attributes:
        name: the model's.
        layers: each leaf layer once, in the order of the model, with what it costs for one example.
        macs: multiply-accumulate operations of one example.
        parameters: array elements, those of statistics included, as Keras counts them.
        bytes: of all arrays.
        kernels: how many of the parameters are weights of kernels.
        zeros: how many weights of kernels are zero.
        sparsity: ``zeros`` ÷ ``kernels``; 0 where there are none.
        not_finite: how many values are NaN or infinite, by ``layer/array``; arrays without are left out.
    """

    name: str
    layers: list[LayerCost]
    macs: int
    parameters: int
    bytes: int
    kernels: int
    zeros: int
    not_finite: dict[str, int] = field(default_factory=dict)
    model: Any = field(default=None, compare=False)

    @property
    def sparsity(self) -> float:
        """The share of zeros among the weights of kernels, 0 to 1."""
        return self.zeros / self.kernels if self.kernels else 0.0

    @cached_property
    def groups(self) -> list[ChannelGroup]:
        """The channels that can only be removed together, group by group, in the order of the model."""
        return channel_groups(trace(Graph.of(self.model)))

    def table(self) -> Table:
        """A row for each layer; the last sums up."""
        return _table(self, title=self.name)

    def frame(self) -> "pd.DataFrame":
        """A row for each layer, by ``name``: class_name, output_shape, parameters, macs, kernels, zeros."""
        return frame((asdict(layer) for layer in self.layers), index="name")

    def groups_frame(self) -> "pd.DataFrame":
        """A row for each of ``groups``, by ``name``."""
        return frame((asdict(group) for group in self.groups), index="name")


def inspect_model(path: Path, *, trust: bool = False) -> Inspection:
    """Look into a model file, or a model artifact (a directory with ``model.keras``).

    Raises:
        RegrowError: the file is missing, broken, or carries code.
    """
    return inspection(load_file(path, trust=trust))


def inspection(model: Any) -> Inspection:
    """Costs of ``model``'s layers and their sums."""
    costs = layer_costs(model)
    return Inspection(
        name=str(model.name),
        layers=costs,
        macs=sum(cost.macs for cost in costs),
        parameters=sum(cost.parameters for cost in costs),
        bytes=sum(math.prod(weight.shape) * weight.dtype.size for weight in model.weights),
        kernels=sum(cost.kernels for cost in costs),
        zeros=sum(cost.zeros for cost in costs),
        not_finite=not_finite(model),
        model=model,
    )


def render_file(path: Path, *, trust: bool = False) -> Table:
    """The table of a model file, or of a model artifact (a directory with ``model.keras``).

    Raises:
        RegrowError: the file is missing, broken, or carries code.
    """
    return render(load_file(path, trust=trust), title=path.name)


def render(model: Any, *, title: str = "") -> Table:
    """The table of ``model``; the last row sums up."""
    return _table(inspection(model), title=title or str(model.name))


def _table(found: Inspection, *, title: str) -> Table:
    """A frame would leave too little of 80 columns for the names."""
    table = Table(
        title=title,
        title_justify="left",
        show_footer=True,
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold underline",
        footer_style="bold",
        caption_justify="left",
    )
    if found.not_finite:
        table.caption = f"weights that are NaN or infinite: {shown(found.not_finite)}"
    table.add_column("layer", "total", overflow="fold")
    table.add_column("kind", overflow="fold", max_width=len("BatchNormalization"))
    table.add_column("output", no_wrap=True)
    table.add_column("parameters", f"{found.parameters:,}", justify="right", no_wrap=True)
    table.add_column("MACs", f"{found.macs:,}", justify="right", no_wrap=True)
    table.add_column("zeros", _share(found.zeros, found.kernels), justify="right", no_wrap=True)
    for cost in found.layers:
        table.add_row(
            cost.name,
            cost.class_name,
            "×".join("?" if size is None else str(size) for size in cost.output_shape),
            f"{cost.parameters:,}" if cost.parameters else "",
            f"{cost.macs:,}" if cost.macs else "",
            _share(cost.zeros, cost.kernels),
        )
    return table


def _share(zeros: int, kernels: int) -> str:
    return f"{zeros / kernels:.1%}" if kernels else ""
