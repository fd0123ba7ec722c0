"""The grid: each cell is one result of one seed, and one JSON file."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from recovery_grid.recipe import Recipe, UnavailableError, epochs, merged, validated
from regrow.steps import get_spec
from regrow.storage.artifacts import read_json, write_json

Side = Literal["ours", "torch-pruning", "tfmot"]
PLAIN = "plain"
SECTIONS = {"train", "prune", "recover"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One result to be made.

    ``kind`` is the function that makes it, ``params`` all that it depends on besides data and code: a file that was
    made with others is stale. ``needs`` are cells of the same seed that must be there. ``epochs`` is what it trains.
    Cells that are compared with each other on the validation split are not ``tested``.
    """

    name: str
    seed: int
    kind: str
    params: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    tested: bool = True
    side: Side = "ours"
    target: str = ""
    epochs: int = 0

    def file(self, results: Path) -> Path:
        """Where its result lies."""
        return results / _path(self.name) / f"seed{self.seed}.json"

    def folder(self, work: Path) -> Path:
        """Where its models lie."""
        return work / "models" / _path(self.name) / f"seed{self.seed}"

    def result(self, results: Path) -> dict[str, Any] | None:
        """The result, if it is there and is of these parameters."""
        file = self.file(results)
        if not file.is_file():
            return None
        found: dict[str, Any] = read_json(file)
        return found if _meaning(found["params"]) == _meaning(self.params) else None

    def write(self, results: Path, found: Mapping[str, Any]) -> None:
        """Write the result, whole or not at all."""
        write_json(self.file(results), {"cell": self.name, "seed": self.seed, "params": self.params, **found})


def _path(name: str) -> str:
    """``name`` in letters that every shell takes: ``plain + dropout`` lies in ``plain-with-dropout``."""
    words = name.replace(" + ", "-with-").replace(" − ", "-without-")
    return re.sub(r"[^A-Za-z0-9./]+", "-", words).strip("-")


def _meaning(params: Mapping[str, Any]) -> dict[str, Any]:
    """``params`` with what is not given: sections that come to the same are the same, however they are written."""
    found = dict(params)
    for name in SECTIONS & set(params):
        with suppress(UnavailableError, ValidationError):  # a section of another version is as it is written
            found[name] = validated(get_spec(name).params, params[name]).model_dump(mode="json")
    return found


def grid(recipe: Recipe, seeds: Iterable[int]) -> dict[tuple[str, int], Cell]:
    """All cells by name and seed, each after those that it needs."""
    return {(cell.name, seed): cell for seed in seeds for cell in _of_seed(recipe, seed)}


def _of_seed(recipe: Recipe, seed: int) -> Iterator[Cell]:
    train, plan = recipe.train, recipe.grid
    parent_epochs = int(train["fit"]["epochs"])

    def recovery(name: str, target: str, section: dict[str, Any], *, tested: bool = True) -> Cell:
        pruned = f"pruned/{target}"
        return Cell(
            name=name,
            seed=seed,
            kind="recover",
            target=target,
            params={"train": train, "prune": recipe.prune(target), "recover": section},
            needs=("parent", pruned),
            tested=tested,
            epochs=epochs(section),
        )

    yield Cell(name="parent", seed=seed, kind="parent", params={"train": train}, epochs=parent_epochs)
    yield Cell(
        name="parent-recalibrated",
        seed=seed,
        kind="recalibrated_parent",
        params={"train": train},
        needs=("parent",),
    )
    for target in plan["targets"]:
        section = recipe.prune(target)
        yield Cell(
            name=f"pruned/{target}",
            seed=seed,
            kind="prune",
            target=target,
            params={"train": train, "prune": section},
            needs=("parent",),
            epochs=epochs(section),
        )
    for name in ("recalibrated", "reconstructed"):
        for target in plan["before"]["targets"]:
            yield recovery(f"{name}/{target}", target, dict(plan["before"][name]))
    for target in plan["targets"]:
        yield recovery(f"ours/{target}", target, recipe.recover(target))
    for target in plan["exports"]:
        full = {"train": train, "prune": recipe.prune(target), "recover": recipe.recover(target)}
        needs = ("parent", f"ours/{target}")
        yield Cell(
            name=f"exports/{target}", seed=seed, kind="export", target=target, params=full, needs=needs
        )
    yield from _peers(recipe, seed)
    for target in plan["scratch"]["targets"]:
        yield recovery(f"scratch/{target}", target, recipe.recover(target, plan["scratch"]["recover"]))
    for name, section in _counted(recipe, seed).items():
        yield recovery(f"epochs/{name}", plan["epochs"]["target"], section, tested=False)
    for target in plan["ablation"]["targets"]:
        for name, section in _ablation(recipe, target).items():
            yield recovery(f"ablation/{target}/{name}", target, section, tested=False)


def _peers(recipe: Recipe, seed: int) -> Iterator[Cell]:
    """The peers, from their own parents; tfmot also from ours and at our rate."""
    parent = int(recipe.train["fit"]["epochs"])
    tune = int(recipe.recover("macs-0.5")["fit"]["epochs"])
    targets: Mapping[str, list[str]] = recipe.grid["peers"]
    for side in ("torch-pruning", "tfmot"):
        own = f"{side}/parent"
        yield Cell(
            name=own,
            seed=seed,
            kind=side,
            side=side,  # type: ignore[arg-type]
            params={"epochs": parent},
            epochs=parent,
        )
        froms = {side: own, f"{side}-ours": "parent"} if side == "tfmot" else {side: own}
        for name, source in froms.items():
            for target in targets[side]:
                params: dict[str, Any] = {"epochs": tune, "parent_epochs": parent}
                if source == "parent":
                    fit = recipe.prune(target)["gradual"]["fit"]
                    params |= {"train": recipe.train, "rate": fit["optimizer"]["learning_rate"]}
                yield Cell(
                    name=f"{name}/{target}",
                    seed=seed,
                    kind=side,
                    side=side,  # type: ignore[arg-type]
                    target=target,
                    params=params,
                    needs=(source,),
                    epochs=tune,
                )


def _counted(recipe: Recipe, seed: int) -> dict[str, dict[str, Any]]:
    """Sections `recover` whose epochs are counted, by name; further rates of plain fine-tuning with one seed."""
    plan = recipe.grid["epochs"]
    found = {}
    for budget in plan["recipe"]:
        found[f"recipe-{budget}"] = recipe.recover(plan["target"], {"fit": {"epochs": budget}})
    for rate in (plan["plain"]["learning_rate"], *(plan["plain"]["first_seed"] if seed == 0 else ())):
        budget = 1 if recipe.smoke else plan["plain"]["budget"]
        patch = {"fit": {"epochs": budget, "optimizer": {"learning_rate": rate}}}
        found[f"{PLAIN}-{rate:g}"] = merged(recipe.plain(), patch, plan["plain"]["recover"])
    return found


def _ablation(recipe: Recipe, target: str) -> dict[str, dict[str, Any]]:
    """Sections `recover` by name: ``plain``, ``plain + TECHNIQUE``, ``recipe − TECHNIQUE``."""
    full = recipe.recover(target)
    found = {PLAIN: recipe.plain()}
    for technique, patches in recipe.grid["ablation"]["techniques"].items():
        found[f"plain + {technique}"] = recipe.plain(patches["with"])
        without = _collapsed(recipe.recover(target, patches["without"]))
        if _differs(without, full):
            found[f"recipe − {technique}"] = without
    return found


def _differs(without: Mapping[str, Any], full: Mapping[str, Any]) -> bool:
    """Whether the recipe has what ``without`` takes from it; it cannot have what this version lacks."""
    model = get_spec("recover").params
    try:
        return bool(validated(model, without) != validated(model, full))
    except UnavailableError:
        return False


def _collapsed(section: Mapping[str, Any]) -> dict[str, Any]:
    """``section`` where a mapping of nothing but null is null: the last of its techniques was taken out."""
    found: dict[str, Any] = {}
    for key, value in section.items():
        inner = _collapsed(value) if isinstance(value, Mapping) else value
        empty = isinstance(inner, Mapping) and inner and all(item is None for item in inner.values())
        found[key] = None if empty else inner
    return found
