"""Models as a library user hands them over: a path, a live model of `tf_keras` or Keras 3, a result that holds one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.model_files.trust import IN_PYTHON, WAY_OUT
from regrow.showing.tables import Shown

ACCEPTED = "accepted: a Keras model, the path of a model file, or a result of regrow.prune or regrow.recover"


@dataclass(frozen=True, kw_only=True)
class Live:
    """A model to work on.

    Attributes:
        model: of `tf_keras`; the one given, where that is one, so that it is not to be changed.
        given: what the user calls the model: the live model, or what was read from the file.
        origin: what a Keras 3 model was, for `back`; None where it is none.
    """

    model: Any
    given: Any
    origin: Any = None

    def back(self, model: Any) -> Any:
        """The `tf_keras` ``model``, made of this one, in the library that this one is of.

        Raises:
            RegrowError: Keras 3 lacks something in it.
        """
        if self.origin is None:
            return model
        from regrow.keras3.live import to_live

        return to_live(model, self.origin)


def model_of(value: Any, *, name: str, trust: bool = False) -> Live:
    """What the argument ``name`` holds, as a model to work on.

    Args:
        value: a live model, a path, or a result with a ``model``.
        name: of the argument, for messages.
        trust: whether code in a file may run.

    Raises:
        RegrowError: it is nothing of these; the file cannot be read; the model is subclassed, not built, or has
            something that cannot be worked on.
    """
    if isinstance(value, Shown):
        value = getattr(value, "model", value)
    if isinstance(value, str | Path):
        return _from_file(Path(value), trust=trust)
    if _is_keras3(value):
        from regrow.keras3.live import from_live

        twin, origin = from_live(value)
        return Live(model=twin, given=value, origin=origin)
    import tf_keras

    if not isinstance(value, tf_keras.Model):
        kind = "None" if value is None else f"a {type(value).__module__}.{type(value).__qualname__}"
        raise RegrowError(f"{name}: got {kind.replace('builtins.', '')}; {ACCEPTED}")
    return Live(model=_settled(value), given=value)


def save_live(model: Any, directory: Path) -> None:
    """Write ``directory/model.keras``, a file of the library that ``model`` is of; Keras 3 adds its compile state.

    Raises:
        RegrowError: the library's file cannot hold the model.
    """
    from regrow.model_files.archives import normalise_archive
    from regrow.model_files.files import MODEL, save_model

    if not _is_keras3(model):
        save_model(model, directory)
        return
    directory.mkdir(parents=True, exist_ok=True)
    model.save(directory / MODEL)
    normalise_archive(directory / MODEL)


def _is_keras3(value: Any) -> bool:
    """Without importing Keras 3, or what handles its models, where ``value`` is none of it."""
    if not any(kind.__module__.partition(".")[0] == "keras" for kind in type(value).__mro__):
        return False
    from regrow.keras3.live import is_live

    return bool(is_live(value))


def _from_file(file: Path, *, trust: bool) -> Live:
    from regrow.model_files.files import load_file

    try:
        model = load_file(file, trust=trust)
    except RegrowError as error:
        raise RegrowError(*str(error).replace(WAY_OUT, IN_PYTHON).splitlines()) from None
    return Live(model=model, given=model)


def _settled(model: Any) -> Any:
    """A live `tf_keras` model as one that was read from a file: without tfmot's wrappers for pruning."""
    from regrow.graph.graph import refuse_opaque
    from regrow.graph.layer_normalisation import keep_operations_apart
    from regrow.model_files.wrappers import is_wrapped, refuse_wrapped, stripped

    refuse_opaque(model)
    try:
        config = {"class_name": type(model).__name__, "config": model.get_config()}
    except (NotImplementedError, TypeError, ValueError) as error:
        raise RegrowError(f"model '{model.name}': {' '.join(str(error).split())[:300]}") from None
    refuse_wrapped(config, f"model '{model.name}'")
    keep_operations_apart(model)
    return stripped(model) if is_wrapped(config) else model
