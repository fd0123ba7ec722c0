"""`regrow.prune`: live models in, a pruned one out, with what was done before."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.dataset.directory import open_dataset
from regrow.model_files.live import model_of
from regrow.progress import Progress
from regrow.pruning.arguments import as_arguments, refuse_without_data, section
from regrow.pruning.methods import Task
from regrow.pruning.pruned import Pruned, prune_model

if TYPE_CHECKING:
    from regrow.dataset.directory import Dataset

UNMEASURED = (
    "a share of MACs is seldom the same share of time: regrow.compare measures both models as TFLite files"
)


def prune_live(model: Any, given: Mapping[str, Any], *, data: Any) -> Pruned:
    """See `regrow.prune`; ``given`` are its arguments besides ``model`` and ``data``, None where they are not given."""
    params = section(given)
    if data is None:
        refuse_without_data(params)
    earlier = model if isinstance(model, Pruned) else None
    live = model_of(model, name="model")
    task = Task(
        params=params,
        dataset=_data(data),
        overlay=None,
        step="prune",
        progress=lambda total: Progress("prune", total=total),
    )
    with as_arguments():
        done = prune_model(live.model, task, unmeasured=UNMEASURED)
        back = live.back(done.model)
    if earlier is None:
        return replace(done, model=back, parent=live.given)
    return replace(
        done,
        model=back,
        parent=earlier.parent,
        pruning=earlier.pruning.then(done.pruning),
        report=replace(done.report, before=earlier.report.before),
    )


def _data(data: Any) -> "Dataset | None":
    return None if data is None else open_dataset(Path(data))
