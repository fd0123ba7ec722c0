"""The arguments of `regrow.prune` as the section `prune`; what is wrong with one is told by its name. No TensorFlow."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from regrow.config.validation import validate
from regrow.errors import RegrowError, nearest
from regrow.pruning.criteria.scoring import criteria
from regrow.pruning.parameters import SMALLER, PruneParams
from regrow.pruning.targets import ChannelOptions, LayerOptions, Target

TARGETS = tuple(Target.model_fields)
# How a model is pruned, by the argument that says how far; a target's other method is asked for by ``method``.
METHODS = {**dict.fromkeys(TARGETS, "channels"), "sparsity": "magnitude", "n_m": "n_m", "blocks": "layers"}
# The options of each method, by the key that holds them in the section; "" are keys of the section itself.
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "channels": {
        "channels": tuple(ChannelOptions.model_fields),
        "": ("rounds", "between", "sparse_training", "skip", "seed"),
    },
    "layers": {
        "layers": tuple(name for name in LayerOptions.model_fields if name not in ("blocks", "skip")),
        "": ("skip", "seed"),
    },
    "magnitude": {"": ("allocation", "schedule", "gradual", "skip", "seed")},
    "n_m": {"": ("skip", "seed")},
}
KEYS = re.compile(
    r"^(?:channels|layers|target): |\b(?:prune\.)?(?:target|channels|layers)\.(?=[a-z])|\bprune\.(?=[a-z])"
)


def section(given: Mapping[str, Any]) -> PruneParams:
    """The section `prune` that the arguments ``given`` come to; those that are None are not given.

    Raises:
        RegrowError: not exactly one says how far, an option belongs to another method, or a value is not accepted.
    """
    given = {name: value for name, value in given.items() if value is not None}
    how_far = _the_one(given)
    method = given.pop("method", METHODS[how_far])
    _check_method(method, how_far)
    value = given.pop(how_far)
    document: dict[str, Any] = {"method": method}
    if how_far in TARGETS:
        document["target"] = {how_far: value}
    elif how_far == "blocks":
        document["layers"] = {"blocks": value}
    elif how_far == "n_m":
        document["n"], document["m"] = _pair(value)
    else:
        document["sparsity"] = value
    places = {name: key for key, names in OPTIONS[method].items() for name in names}
    for name, option in given.items():
        if name not in places:
            raise RegrowError(
                f"{name}: does not belong to {how_far}, which prunes by method '{method}'; accepted with it:"
                f" {', '.join(sorted(places))}"
            )
        if places[name]:
            document.setdefault(places[name], {})[name] = option
        else:
            document[name] = option
    with as_arguments():
        found: PruneParams = validate(PruneParams, document, where="")
    return found


@contextmanager
def as_arguments() -> Iterator[None]:
    """Errors within name the keys of ``params.yaml`` as the arguments that they are here: ``macs``."""
    try:
        yield
    except RegrowError as error:
        raise RegrowError(*(KEYS.sub("", line) for line in str(error).splitlines())) from error.__cause__


def refuse_unknown(function: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse arguments that ``function`` does not take.

    Raises:
        RegrowError: names the first of ``given``, and the nearest of ``known``.
    """
    for name in given:
        raise RegrowError(f"{name}: is not an argument of {function}{nearest(name, known)}")


def refuse_without_data(params: PruneParams) -> None:
    """Refuse what needs ``data``, which is not given.

    Raises:
        RegrowError: names the argument that needs it, and what is accepted without.
    """
    ways = "pass data=(x, y), a tf.data.Dataset of such pairs, or the directory of a dataset"
    known = criteria()
    for criterion in [getattr(params, name).criterion for name in params.method if name in SMALLER]:
        if known[criterion].needs == "examples":
            without = sorted(name for name, item in known.items() if item.needs == "weights")
            raise RegrowError(
                f"criterion: '{criterion}' scores channels on examples; {ways}; accepted without:"
                f" {', '.join(without)}"
            )
    if "channels" in params.method and params.rounds > 1:
        raise RegrowError(f"rounds: {params.rounds} rounds train in between; {ways}; accepted without: 1")
    if "channels" in params.method and params.sparse_training is not None:
        raise RegrowError(f"sparse_training: trains before channels are removed; {ways}, or leave it out")
    if "magnitude" in params.method and params.schedule == "gradual":
        raise RegrowError(f"schedule: 'gradual' trains while it prunes; {ways}; accepted without: 'one_shot'")


def _the_one(given: Mapping[str, Any]) -> str:
    found = [name for name in METHODS if name in given]
    if len(found) == 1:
        return found[0]
    ways = (
        "macs, parameters or bytes (shares to keep, such as macs=0.5), latency_ms, sparsity (share of zeros, such as"
        " sparsity=0.8), n_m (such as n_m=(2, 4)), blocks (such as blocks=1)"
    )
    if not found:
        raise RegrowError(f"prune: nothing says how far; pass exactly one of {ways}")
    raise RegrowError(
        f"{found[1]}: cannot be combined with {found[0]} in one call; pass exactly one of {ways}; to do one after the"
        " other, prune the result again"
    )


def _check_method(method: Any, how_far: str) -> None:
    accepted = list(SMALLER) if how_far in ("macs", "parameters", "bytes") else [METHODS[how_far]]
    if method in accepted:
        return
    if isinstance(method, str) and method not in OPTIONS:
        raise RegrowError(f"method: got '{method}'{nearest(method, accepted)}")
    raise RegrowError(f"method: got {method!r}; accepted with {how_far}: {' or '.join(map(repr, accepted))}")


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_whole, value)):
        n, m = map(int, value)
        if 1 <= n < m:
            return n, m
    raise RegrowError(
        f"n_m: got {value!r}; accepted: a pair of whole numbers, the first below the second, such as (2, 4), which"
        " keeps 2 of every 4 weights"
    )


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)
