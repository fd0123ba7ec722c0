"""What a `tf_keras` model cannot say of the Keras 3 model that it was made of, for the one that is written of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from regrow.keras3.configs import Config, split_activation
from regrow.keras3.layers import LAYERS


@dataclass(frozen=True, kw_only=True)
class Kept:
    """By class and name of a layer; a name that stands for several different layers is left out.

    Attributes:
        arguments: those that Keras 3 alone has.
        activations: those that `tf_keras` lacks. There other layers follow and compute them, whose names begin with
            that of the layer and the activation's.
        names: of all layers of the original, and ``sequential`` of the Sequential models in it.
    """

    arguments: Mapping[tuple[str, str], Config] = field(default_factory=dict)
    activations: Mapping[tuple[str, str], str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    sequential: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: Config) -> "Kept":
        """From the config of a model of Keras 3."""
        found: dict[tuple[str, str], tuple[Config, str] | None] = {}
        waiting: list[Any] = [config]
        sequential: set[str] = set()
        while waiting:
            value = waiting.pop()
            if isinstance(value, list | tuple):
                waiting += value
            if not isinstance(value, dict):
                continue
            waiting += value.values()
            kind, inner = str(value.get("class_name")), value.get("config")
            if kind == "Sequential" and isinstance(inner, dict):
                sequential.add(str(inner.get("name")))
            if kind in LAYERS and isinstance(inner, dict) and "name" in inner:
                key = (kind, str(inner["name"]))
                own = {name: inner[name] for name in LAYERS[kind].keras3 if inner.get(name) is not None}
                _, replaced = split_activation(kind, inner, source="keras3")
                found[key] = None if found.get(key, (own, replaced)) != (own, replaced) else (own, replaced)
        known = {key: pair for key, pair in found.items() if pair is not None}
        return cls(
            arguments={key: own for key, (own, _) in known.items() if own},
            activations={key: replaced for key, (_, replaced) in known.items() if replaced},
            names=frozenset(name for _, name in found),
            sequential=frozenset(sequential),
        )
