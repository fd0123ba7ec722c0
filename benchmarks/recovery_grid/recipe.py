"""The recipes as data: sections of ``params.yaml``, patched."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from regrow.config.document import read_document

P = TypeVar("P", bound=BaseModel)
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "cifar10.yaml"
RECIPE = ROOT / "benchmarks" / "recipes" / "recovery.yaml"
# What pydantic says of a key, or of a value of a closed list, that this version does not have.
UNKNOWN = {"extra_forbidden", "literal_error", "union_tag_invalid"}


class UnavailableError(Exception):
    """A recipe uses a technique that this version of Regrow lacks."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """``example``: the sections of examples/cifar10.yaml; ``grid``: benchmarks/recipes/recovery.yaml.

    ``smoke``: every training has one epoch, to see that all of it runs.
    """

    example: Mapping[str, Any]
    grid: Mapping[str, Any]
    smoke: bool = False

    @classmethod
    def read(cls, path: Path = RECIPE, *, smoke: bool = False) -> "Recipe":
        """The recipe in ``path`` over the example."""
        return cls(example=read_document(EXAMPLE), grid=read_document(path), smoke=smoke)

    @cached_property
    def train(self) -> dict[str, Any]:
        """The parent's section: the example's, all epochs."""
        return self._short(merged(self.example["train"], {"fit": {"early_stopping": None}}))

    def prune(self, target: str) -> dict[str, Any]:
        """Section `prune`: the example's at ``target``."""
        section = merged(self.example["prune"], self.grid["targets"][target]["prune"])
        if self.smoke and "gradual" in section:
            section = merged(section, {"gradual": {"fit": {"epochs": 1}}})
        return section

    def recover(self, target: str, *patches: Mapping[str, Any]) -> dict[str, Any]:
        """Section `recover`: the recipe at ``target`` with ``patches``."""
        return self._short(merged(self.example["recover"], self.grid["targets"][target]["recover"], *patches))

    def plain(self, *patches: Mapping[str, Any]) -> dict[str, Any]:
        """Section `recover`: plain fine-tuning with ``patches``."""
        return self._short(merged(self.grid["plain"], *patches))

    def _short(self, section: dict[str, Any]) -> dict[str, Any]:
        if not self.smoke:
            return section
        section = merged(section, {"fit": {"epochs": 1}})
        return merged(section, {"rewind_epoch": 1}) if "rewind_epoch" in section else section


def merged(*sections: Mapping[str, Any]) -> dict[str, Any]:
    """``sections``, each laid over those before; mappings are merged, everything else is replaced."""
    result: dict[str, Any] = {}
    for section in sections:
        for key, value in section.items():
            before = result.get(key)
            if isinstance(value, Mapping):
                result[key] = merged(before if isinstance(before, Mapping) else {}, value)
            else:
                result[key] = value
    return result


def validated(model: type[P], section: Mapping[str, Any]) -> P:
    """``section`` as the step's parameters.

    Raises:
        UnavailableError: it names a technique that is not there.
        ValidationError: it is wrong in another way.
    """
    try:
        return model.model_validate(section)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        if all(fault["type"] in UNKNOWN for fault in faults):
            names = dict.fromkeys(".".join(str(part) for part in fault["loc"]) for fault in faults)
            raise UnavailableError(f"this version has no {', '.join(names)}") from None
        raise


def epochs(section: Mapping[str, Any]) -> int:
    """Training epochs that a section `prune` or `recover` asks for."""
    found = 0
    if section.get("fine_tune", True) and "fit" in section:
        found += int(section["fit"]["epochs"])
    if section.get("schedule") == "gradual":
        found += int(section.get("gradual", {}).get("fit", {}).get("epochs", 6))
    rounds = int(section.get("rounds", 1))
    if section.get("sparse_training") is not None:
        found += rounds * int(section["sparse_training"].get("fit", {}).get("epochs", 6))
    found += (rounds - 1) * int(section.get("between", {}).get("epochs", 2))
    return found
