"""`regrow.recover`: a pruned model in, a recovered one of the same library out."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.graph.copying import compile_alike
from regrow.model_files.live import Live, model_of
from regrow.pruning.pruned import PRUNING, Pruned
from regrow.pruning.pruning import Pruning
from regrow.recovery.recovered import Recovered
from regrow.recovery.recovering import recover_model

ACCEPTED = (
    "accepted: a result of regrow.prune or regrow.recover, or a directory with a saved result and parent= "
    "the model before pruning"
)


def recover_live(
    pruned: Any, train: Any, given: Mapping[str, Any], *, parent: Any, **options: Any
) -> Recovered:
    """See `regrow.recover`; ``given`` are the techniques' arguments, None where they are not given."""
    model, before, pruning = _taken(pruned, parent)
    _check_parent(model.model, before.model)
    done = recover_model(
        model.model,
        before.model,
        pruning,
        train,
        {name: value for name, value in given.items() if value is not None},
        compiled=(model.given, before.given),
        **options,
    )
    compile_alike(done.model, model.model)
    heads = None if done.with_heads is None else model.back(done.with_heads)
    return replace(done, model=model.back(done.model), parent=before.given, with_heads=heads)


def _taken(pruned: Any, parent: Any) -> tuple[Live, Live, Pruning]:
    """The pruned model, its parent, and what was pruned."""
    if isinstance(pruned, Pruned | Recovered):
        before = pruned.parent if parent is None else parent
        return model_of(pruned.model, name="pruned"), model_of(before, name="parent"), pruned.pruning
    if not isinstance(pruned, str | Path):
        raise RegrowError(f"pruned: got a {type(pruned).__name__}; {ACCEPTED}")
    if parent is None:
        raise RegrowError(f"parent: is required with a directory, {pruned}; {ACCEPTED}")
    model = model_of(pruned, name="pruned")
    return model, model_of(parent, name="parent"), Pruning.read(Path(pruned) / PRUNING)


def _check_parent(model: Any, parent: Any) -> None:
    """Refuse a parent of other examples or answers.

    Raises:
        RegrowError: says those of both.
    """
    found, wanted = (
        [tuple(tensor.shape[1:]) for tensor in (*one.inputs, *one.outputs)] for one in (parent, model)
    )
    if found != wanted:
        raise RegrowError(
            f"parent: its inputs and outputs have shapes {', '.join(map(str, found))}, those of the pruned model"
            f" {', '.join(map(str, wanted))}; accepted: the model before pruning"
        )
