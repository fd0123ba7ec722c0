"""Converted layers as live objects of either library, with the layers that stand for an activation it lacks."""

import importlib
from dataclasses import dataclass, field
from typing import Any

from regrow.errors import RegrowError
from regrow.keras3.activations import FORMULAS, Computed
from regrow.keras3.configs import TAILS, Config, Dialect, convert_config, split_activation
from regrow.keras3.layers import PLACES


@dataclass
class Converted:
    """A layer or model of the other library: what holds the weights, and what goes before and after each call of it."""

    layer: Any
    tail: list[Any] = field(default_factory=list)
    head: list[Any] = field(default_factory=list)

    @property
    def chained(self) -> bool:
        """Whether the tail is a chain, as a Sequential model can hold it."""
        return all(type(layer).__name__ not in ("Multiply", "Computed") for layer in self.tail)

    @property
    def last(self) -> Any:
        """The layer whose answer is that of the whole."""
        return self.tail[-1] if self.tail else self.layer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer, and what goes with it, on tensors of its library."""
        for layer in self.head:
            args = (layer(args[0]), *args[1:])
        entered = found = self.layer(*args, **kwargs)
        for layer in self.tail:
            found = layer([entered, found]) if type(layer).__name__ == "Multiply" else layer(found)
        return found


def build(
    library: Any, kind: str, config: Config, *, source: Dialect, where: str, more: Config | None = None
) -> Converted:
    """The layer of class ``kind`` with ``config`` in the dialect ``source``, as one of ``library`` (the other one).

    ``more`` are arguments that the dialect ``source`` lacks.

    Raises:
        RegrowError: it has no counterpart there.
    """
    config, replaced = split_activation(kind, config, source=source)
    converted = {**convert_config(kind, config, source=source, where=where), **(more or {})}
    name = converted["name"] = str(converted["name"]).replace("/", "_")
    layer = construct(library, kind, converted, where=where)
    if replaced in FORMULAS:
        return Converted(layer, [Computed(replaced, name=name)])
    dtype = {"dtype": converted["dtype"]} if "dtype" in converted else {}
    followers = [
        construct(library, kind, {"name": f"{name}_{replaced}_{kind.lower()}", **dtype, **extra}, where=where)
        for kind, extra in (TAILS[replaced](source) if replaced else [])
    ]
    return Converted(layer, followers)


def construct(library: Any, kind: str, config: Config, *, where: str) -> Any:
    """An instance of ``library.layers.<kind>``; the config may hold live layers.

    Raises:
        RegrowError: the library does not take these arguments.
    """
    place = f"{library.__name__}.{PLACES.get(kind, 'layers')}"
    cls = getattr(importlib.import_module(place), kind)
    nested = any(isinstance(config.get(key), dict | list) for key in ("layer", "cell", "cells"))
    try:
        # What from_config adds to the constructor differs between classes; only wrappers need it.
        return cls.from_config(config) if nested else cls(**config)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RegrowError(f"{where}: {library.__name__} does not take its arguments ({reason})") from None


def join(library: Any, name: str, entries: list[Any], converted: list[Converted]) -> Any:
    """A model that calls ``converted`` one after the other: Sequential, or Functional where a tail branches.

    Args:
        entries: the input layer, or nothing where the model has none.
    """
    if not entries or all(part.chained for part in converted):
        layers = [layer for part in converted for layer in (*part.head, part.layer, *part.tail)]
        return library.Sequential([*entries, *layers], name=name)
    found = entry = entries[0].output
    for part in converted:
        found = part(found)
    return library.Model(entry, found, name=name)
