"""The comparison as a table on the terminal. No TensorFlow here."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from regrow.conversion.formats import FORMATS

ROLES = ("parent", "pruned", "recovered", "champion")


def rows(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Label and cells (one per role that is there) of each line of the comparison."""
    roles = roles_of(metrics)
    wanted: list[tuple[str, Any]] = [
        ("accuracy, %", lambda role: _accuracy(metrics, role)),
        ("MACs", lambda role: _number(metrics.get(f"{role}.macs"))),
        ("parameters", lambda role: _number(metrics.get(f"{role}.parameters"))),
        ("not zero", lambda role: _number(metrics.get(f"{role}.parameters_nonzero"))),
        ("sparsity", lambda role: _share(metrics.get(f"{role}.sparsity"))),
    ]
    for name in (record.name for record in FORMATS.values() if record.tabled):
        if any(f"{role}.size_bytes.{name}" in metrics for role in roles):
            wanted += [
                (f"{name}, bytes", lambda role, name=name: _number(metrics.get(f"{role}.size_bytes.{name}"))),
                (
                    f"{name}, gzipped",
                    lambda role, name=name: _number(metrics.get(f"{role}.size_bytes_gzip.{name}")),
                ),
                (f"{name}, ms", lambda role, name=name: _time(metrics.get(f"{role}.latency_ms_p50.{name}"))),
            ]
    return [(label, [cell(role) for role in roles]) for label, cell in wanted]


def roles_of(metrics: Mapping[str, Any]) -> list[str]:
    """The models that were measured."""
    return [role for role in ROLES if f"{role}.accuracy" in metrics]


def comparison_table(metrics: Mapping[str, Any]) -> Table:
    """Parent, pruned, recovered (and champion) side by side, from ``metrics.json``."""
    table = Table(title=f"{metrics['test_examples']} test examples", title_justify="left")
    table.add_column("")
    for role in roles_of(metrics):
        table.add_column(role, justify="right")
    for label, cells in rows(metrics):
        table.add_row(label, *cells)
    return table


def _accuracy(metrics: Mapping[str, Any], role: str) -> str:
    low, high = metrics[f"{role}.accuracy_low"], metrics[f"{role}.accuracy_high"]
    return f"{100 * metrics[f'{role}.accuracy']:.2f} ({100 * low:.1f}–{100 * high:.1f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _time(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
