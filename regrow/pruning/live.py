"""`regrow.prune`: live models in, a pruned one out, with what was done before."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from regrow.dataset.directory import open_dataset
from regrow.errors import RegrowError
from regrow.model_files.live import model_of
from regrow.progress import Progress, emit
from regrow.pruning.arguments import as_arguments, refuse_without_data, section
from regrow.pruning.methods import Own, Task, trains, wanted_sparsity
from regrow.pruning.parameters import PruneParams
from regrow.pruning.pruned import Pruned, prune_model
from regrow.showing.tables import Shown
from regrow.training.randomness import undisturbed

UNMEASURED = (
    "a share of MACs is seldom the same share of time: regrow.compare measures both models as TFLite files"
)


def prune_live(model: Any, given: Mapping[str, Any], *, data: Any, validation: Any, loss: Any) -> Pruned:
    """See `regrow.prune`; ``given`` are its arguments but those of the data, None where they are not given."""
    params = section(given)
    if data is None:
        refuse_without_data(params)
        for name, value in (("validation", validation), ("loss", loss)):
            if value is not None:
                raise RegrowError(
                    f"{name}: is only used with data, which is not given; pass data= too, or leave it out"
                )
    earlier: Any = model if isinstance(model, Shown) and hasattr(model, "pruning") else None
    live = model_of(model, name="model")
    is_path = isinstance(data, str | Path)
    if is_path and validation is not None:
        raise RegrowError("validation: does not go with a dataset directory, which has its own; leave it out")
    own = None
    if data is not None and not is_path:
        compiled = (live.model, live.given, earlier.parent if earlier else None)
        own = _own(live.model, data, params, validation=validation, loss=loss, compiled=compiled)
    task = Task(
        params=params,
        dataset=open_dataset(Path(data)) if is_path else None,
        overlay=None,
        step="prune",
        progress=lambda total: Progress("prune", total=total),
        own=own,
    )
    with as_arguments(), undisturbed():
        done = prune_model(live.model, task, unmeasured=UNMEASURED)
        _tell_of_earlier_zeros(done, params)
        if earlier is not None:
            done = _of_both(earlier, done)
        back = live.back(done.model)
    return replace(done, model=back, parent=live.given if earlier is None else earlier.parent)


def _tell_of_earlier_zeros(done: Pruned, params: PruneParams) -> None:
    """Say that a model had more zeros than are asked for: none of them is taken back."""
    wanted, before = wanted_sparsity(params), done.report.before.sparsity
    if wanted is not None and before > wanted:
        emit(
            "notice",
            message=f"prune: {before:.1%} of the kernel weights were zero before, more than the {wanted:.1%} asked for;"
            " they stay zero",
        )


def _of_both(earlier: Any, done: Pruned) -> Pruned:
    """``done``, a pruning of the model in ``earlier`` (of `prune` or `recover`), as one of that one's parent."""
    from regrow.model_files.inspection import inspection

    pruning = earlier.pruning.then(done.pruning)
    pruning.apply(done.model)  # training between two rounds knows of the later masks alone
    if isinstance(earlier, Pruned):
        before = earlier.report.before
    else:
        before = inspection(model_of(earlier.parent, name="parent").model)
    report = replace(done.report, before=before, after=inspection(done.model))
    return replace(done, pruning=pruning, report=report)


def _own(
    model: Any, value: Any, params: PruneParams, *, validation: Any, loss: Any, compiled: tuple[Any, ...]
) -> Own:
    """The argument ``data`` as what methods train and calibrate on.

    Raises:
        RegrowError: it is none, or does not fit the model.
    """
    from regrow.dataset.own_data import OwnData, own_data, source
    from regrow.training.goal import LOOKED_AT, goal_of

    goal = goal_of(model, loss=loss, compiled=compiled)
    expected = goal.expected(model)
    batch_size, progress = params.between.batch_size, Progress("prune")
    with _named_data():
        if trains(params):
            data = own_data(
                value,
                validation,
                expected=expected,
                objective=goal.objective,
                batch_size=batch_size,
                seed=params.seed,
                progress=progress,
            )
        else:
            examples = source(
                value, expected, name="data", steps=None, batch_size=batch_size, progress=progress
            )
            data = OwnData(examples, examples, goal.objective)
    plain = goal.kind == "classes" and not goal.from_logits
    if goal.classes is not None:
        goal.check_probabilities(goal.view(model), data.calibration(LOOKED_AT, params.seed))
    return Own(
        data=data, view=(lambda model: model) if plain else goal.view, loss=_loss(goal, soft=data.soft_labels)
    )


def _loss(goal: Any, *, soft: bool) -> Any:
    """That of the model's own answers, for labels as the data gives them: class numbers, or ``soft`` shares."""
    import tf_keras

    if goal.kind != "classes":
        return goal.loss
    losses = tf_keras.losses
    kind = losses.CategoricalCrossentropy if soft else losses.SparseCategoricalCrossentropy
    return kind(from_logits=goal.from_logits)


@contextmanager
def _named_data() -> Iterator[None]:
    """Errors within name the argument as it is called here."""
    try:
        yield
    except RegrowError as error:
        raise RegrowError(*(re.sub(r"^train\b", "data", line) for line in str(error).splitlines())) from None
