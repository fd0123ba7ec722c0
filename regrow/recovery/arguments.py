"""The arguments of `regrow.recover` as the section `recover` of ``params.yaml``. No TensorFlow."""

from collections.abc import Mapping
from typing import Any

from regrow.config.validation import validate
from regrow.errors import RegrowError, nearest
from regrow.recovery.parameters import RecoverParams

# What has a short form, and where the long one is.
SHORT = {
    "epochs": ("fit", "epochs"),
    "batch_size": ("fit", "batch_size"),
    "learning_rate": ("fit", "optimizer", "learning_rate"),
}
SWITCHES = ("recalibrate", "reconstruct")
# `True` asks for these with their defaults.
DEFAULTS: dict[str, dict[str, Any]] = {
    "distill": {"logits": {}},
    "multi_task": {"tasks": [{"kind": "rotation"}]},
}
NAMES = tuple(RecoverParams.model_fields)


def section(given: Mapping[str, Any]) -> RecoverParams:
    """The section that the arguments ``given`` come to; those that are None are not given.

    Raises:
        RegrowError: one is unknown, given twice, or its value is not accepted; the argument is named.
    """
    document: dict[str, Any] = {}
    known = (*NAMES, *SHORT)
    for name, value in given.items():
        if name not in known:
            raise RegrowError(f"{name}: is not an argument of recover{nearest(name, known)}")
        if value is not None and name not in SHORT:
            document[name] = _long_form(name, value)
    short = {name: given[name] for name in SHORT if given.get(name) is not None}
    for name, value in short.items():
        _put(document, SHORT[name], value, name)
    try:
        found: RecoverParams = validate(RecoverParams, document, where="")
    except RegrowError as error:
        raise RegrowError(*(_as_given(line, short) for line in str(error).splitlines())) from None
    return found


def _long_form(name: str, value: Any) -> Any:
    if name in SWITCHES:
        if isinstance(value, bool):
            return {"enabled": value}
        return {"enabled": True, **value} if isinstance(value, Mapping) else value
    if name in DEFAULTS and isinstance(value, bool):
        return DEFAULTS[name] if value else None
    if name == "initialise" and isinstance(value, str):
        return {"name": value}
    return dict(value) if isinstance(value, Mapping) else value


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any, name: str) -> None:
    place = document
    for part in path[:-1]:
        inner = place.get(part)
        if inner is not None and not isinstance(inner, Mapping):
            return  # validation tells what is wrong with it
        place[part] = dict(inner or {})
        place = place[part]
    if path[-1] in place:
        raise RegrowError(f"{name}: is given twice, as {name}={value!r} and in fit; remove one of them")
    place[path[-1]] = value


def _as_given(sentence: str, short: Mapping[str, Any]) -> str:
    for name in short:
        long = ".".join(SHORT[name])
        if sentence.startswith(f"{long}:"):
            return f"{name}{sentence[len(long) :]}"
    return sentence
