"""What pruning a model gives: the model, what was taken from it, and the table of before and after."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from regrow.pruning.methods import Outcome, Task, changes_in_place, prune, wanted_sparsity
from regrow.pruning.parameters import PruneParams
from regrow.pruning.pruning import Pruning
from regrow.pruning.report import pruning_report
from regrow.pruning.tables import UNMEASURED, outcome_tables
from regrow.showing.tables import Shown, frame
from regrow.storage.artifacts import new_directory, refuse_other_contents, write_json

if TYPE_CHECKING:
    import pandas as pd

    from regrow.evaluation.model_latency import Latencies
    from regrow.model_files.inspection import Inspection

PRUNING, REPORT = "pruning", "report.json"
RESULTS = frozenset({"model.keras", PRUNING, REPORT})


@dataclass(frozen=True, kw_only=True, repr=False)
class PruningReport(Shown):
    """What pruning did.

    Attributes:
        before: the layers and sums of the model given.
        after: those of the pruned one.
        details: what ``report.json`` holds: each kernel with its zeros, each group of channels with its fate, notes.
        latencies: milliseconds of both, where they were measured.
        unmeasured: what the table's last line says where they were not.
    """

    before: "Inspection"
    after: "Inspection"
    details: Mapping[str, Any]
    latencies: "Latencies | None" = None
    unmeasured: str = UNMEASURED

    def table(self) -> RenderableType:
        """The whole before and after, what was removed, and why other things were not."""
        return outcome_tables(
            self.before,
            self.after,
            blocks=self.details.get("blocks"),
            channels=self.details.get("channels"),
            latencies=self.latencies,
            unmeasured=self.unmeasured,
        )

    def frame(self) -> "pd.DataFrame":
        """Rows macs, parameters, bytes, zeros and sparsity; columns before and after."""
        names = ("macs", "parameters", "bytes", "zeros", "sparsity")
        rows = [
            {"": name, "before": getattr(self.before, name), "after": getattr(self.after, name)}
            for name in names
        ]
        return frame(rows, index="")


@dataclass(frozen=True, kw_only=True, repr=False)
class Pruned(Shown):
    """A pruned model.

    Attributes:
        model: the pruned model, of the library that the parent is of.
        parent: the model that was given; nothing in it was changed.
        pruning: what was cut out of the parent's arrays, and the masks of the kernels that are left.
        report: MACs, parameters, bytes and zeros before and after, and what became of each layer.
    """

    model: Any
    parent: Any
    pruning: Pruning
    report: PruningReport

    def table(self) -> RenderableType:
        """That of the report."""
        return self.report.table()

    def frame(self) -> "pd.DataFrame":
        """That of the report."""
        return self.report.frame()

    def save(self, directory: str | Path) -> Path:
        """Write ``model.keras``, ``pruning/`` and ``report.json`` to ``directory``, which is replaced if it is there.

        ``model.keras`` is a file of the library that the model is of.

        Raises:
            RegrowError: a file cannot be written, or ``directory`` holds something else.
        """
        target = Path(directory)
        refuse_other_contents(target, RESULTS)
        with new_directory(target) as place:
            write_outcome(self, model=place, pruning=place / PRUNING, report=place)
        return target


def prune_model(
    model: Any,
    task: Task,
    *,
    latency: "Callable[[Mapping[str, Any]], Latencies] | None" = None,
    unmeasured: str = UNMEASURED,
) -> Pruned:
    """Prune a `tf_keras` model as ``task`` says; ``model`` itself stays as it is.

    Args:
        model: Functional or Sequential.
        task: how, and with which data.
        latency: measures the milliseconds of models by name, in turns; None: they are not measured.
        unmeasured: what the report's table says in the place of milliseconds.

    Raises:
        RegrowError: as `regrow.pruning.methods.prune`.
    """
    from regrow.graph.copying import compile_alike, copy_of
    from regrow.model_files.inspection import inspection

    before = inspection(model)
    done = prune(copy_of(model) if changes_in_place(task.params) else model, task)
    done.pruning.verify(done.model)
    latencies = latency({"parent": model, "pruned": done.model}) if latency is not None else None
    compile_alike(done.model, model)
    report = PruningReport(
        before=before,
        after=inspection(done.model),
        details={
            **_details(done, task.params),
            **({} if latencies is None else {"latency": latencies.report()}),
        },
        latencies=latencies,
        unmeasured=unmeasured,
    )
    return Pruned(model=done.model, parent=model, pruning=done.pruning, report=report)


def _details(done: Outcome, params: PruneParams) -> dict[str, Any]:
    """What ``report.json`` says of ``done``."""
    return pruning_report(
        done.model,
        method=", ".join(params.method),
        allocation=params.allocation if "magnitude" in params.method else None,
        target=wanted_sparsity(params),
        left_dense=done.left_dense,
        blocks=done.blocks,
        channels=done.channels,
    )


def write_outcome(pruned: Pruned, *, model: Path, pruning: Path, report: Path) -> None:
    """Write ``model.keras``, the surgery and masks, and ``report.json``, each to its directory.

    Raises:
        RegrowError: a pruned weight is no longer zero, or the model cannot be written.
    """
    from regrow.model_files.live import model_of, save_live

    pruned.pruning.verify(model_of(pruned.model, name="model").model)
    save_live(pruned.model, model)
    pruned.pruning.write(pruning)
    write_json(report / REPORT, pruned.report.details)
