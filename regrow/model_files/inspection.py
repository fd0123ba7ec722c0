"""A model file as a table: layers, shapes, parameters, MACs, sparsity."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from regrow.graph.costs import LayerCost, layer_costs
from regrow.graph.finite import not_finite, shown
from regrow.model_files.files import load_file


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """All layers of a model, and their sums: ``sparsity`` is the share of zeros among the weights of kernels.

    ``not_finite`` counts the values that are NaN or infinite, by ``layer/array``; arrays without are left out.
    """

    layers: list[LayerCost]
    parameters: int
    macs: int
    sparsity: float
    not_finite: dict[str, int] = field(default_factory=dict)


def inspect_model(path: Path, *, trust: bool = False) -> Inspection:
    """Look into a model file, or a model artifact (a directory with ``model.keras``).

    Raises:
        RegrowError: the file is missing, broken, or carries code.
    """
    return inspection(load_file(path, trust=trust))


def inspection(model: Any) -> Inspection:
    """Costs of ``model``'s layers and their sums."""
    costs = layer_costs(model)
    kernels = sum(cost.kernels for cost in costs)
    return Inspection(
        layers=costs,
        parameters=sum(cost.parameters for cost in costs),
        macs=sum(cost.macs for cost in costs),
        sparsity=sum(cost.zeros for cost in costs) / kernels if kernels else 0.0,
        not_finite=not_finite(model),
    )


def render_file(path: Path, *, trust: bool = False) -> Table:
    """The table of a model file, or of a model artifact (a directory with ``model.keras``).

    Raises:
        RegrowError: the file is missing, broken, or carries code.
    """
    return render(load_file(path, trust=trust), title=path.name)


def render(model: Any, *, title: str = "") -> Table:
    """The table of ``model``; the last row sums up. A frame would leave too little of 80 columns for the names."""
    found = inspection(model)
    total_zeros = sum(cost.zeros for cost in found.layers)
    table = Table(
        title=title or str(model.name),
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
    zeros = _share(total_zeros, sum(cost.kernels for cost in found.layers))
    table.add_column("zeros", zeros, justify="right", no_wrap=True)
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
