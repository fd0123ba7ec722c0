"""A model file as a table: layers, shapes, parameters, MACs, sparsity."""

from pathlib import Path
from typing import Any

from rich.table import Table

from regrow.graph.costs import layer_costs
from regrow.graph.files import MODEL, import_model


def render_file(path: Path, *, trust: bool = False) -> Table:
    """The table of a model file, or of a model artifact (a directory with ``model.keras``).

    Raises:
        RegrowError: the file is missing, broken, or carries code.
    """
    file = path / MODEL if (path / MODEL).is_file() else path
    return render(import_model(file, trust=trust), title=path.name)


def render(model: Any, *, title: str) -> Table:
    """The table of ``model``; the last row sums up."""
    costs = layer_costs(model)
    table = Table(title=title, title_justify="left", show_footer=True)
    total_kernels, total_zeros = (sum(getattr(cost, name) for cost in costs) for name in ("kernels", "zeros"))
    table.add_column("layer", "total", overflow="fold")
    table.add_column("kind")
    table.add_column("output")
    table.add_column("parameters", f"{sum(cost.parameters for cost in costs):,}", justify="right")
    table.add_column("MACs", f"{sum(cost.macs for cost in costs):,}", justify="right")
    table.add_column("sparsity", _share(total_zeros, total_kernels), justify="right")
    for cost in costs:
        shape = "×".join("?" if size is None else str(size) for size in cost.output_shape)
        table.add_row(
            cost.name,
            cost.class_name,
            shape,
            f"{cost.parameters:,}" if cost.parameters else "",
            f"{cost.macs:,}" if cost.macs else "",
            _share(cost.zeros, cost.kernels),
        )
    return table


def _share(zeros: int, kernels: int) -> str:
    return f"{zeros / kernels:.1%}" if kernels else ""
