"""Section `sweep` of `params.yaml`, and the candidates that it defines."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from regrow.config.sections import Parameters, canonical_json
from regrow.conversion.formats import TimedFormat
from regrow.errors import RegrowError
from regrow.evaluation.choice import Rule, Weighed
from regrow.provenance.digest import text_digest
from regrow.pruning.parameters import SMALLER, MethodName, PruneParams
from regrow.recovery.parameters import RecoverParams
from regrow.steps.measure import MeasureParams
from regrow.steps.select import SelectParams
from regrow.steps.train import TrainParams

SHARES = ("macs", "parameters", "bytes", "latency_ms")
# What of the section `prune` a candidate's target says.
SET_BY_TARGET = ("target", "sparsity", "n", "m")
# What of the section `prune` belongs to a method, and is left at its default for the others.
OWN = {
    "layers": ("layers",),
    "channels": ("channels", "rounds", "between", "sparse_training"),
    "magnitude": ("sparsity", "allocation", "schedule", "gradual"),
    "n_m": ("n", "m"),
}


class SweepTarget(Parameters):
    """What a candidate is pruned to; each method takes its own keys, combined methods take those of all."""

    macs: float | None = Field(
        None, gt=0, lt=1, description="layers, channels: share of multiply-accumulates kept"
    )
    parameters: float | None = Field(
        None, gt=0, lt=1, description="layers, channels: share of parameters kept"
    )
    bytes: float | None = Field(
        None, gt=0, lt=1, description="layers, channels: share of the arrays' bytes kept"
    )
    latency_ms: float | None = Field(None, gt=0, description="channels: milliseconds of TFLite fp32")
    sparsity: float | None = Field(None, gt=0, lt=1, description="magnitude: share of weights set to zero")
    n: int | None = Field(None, ge=1, description="n_m: weights kept of each m")
    m: int | None = Field(None, ge=2, description="n_m: length of a block of consecutive weights")

    @model_validator(mode="after")
    def _some(self) -> Self:
        shares = [name for name in SHARES if getattr(self, name) is not None]
        if not self.given:
            raise ValueError(f"is empty; accepted: {', '.join(type(self).model_fields)}")
        if len(shares) > 1:
            raise ValueError(f"takes one of {', '.join(SHARES)}; found {' and '.join(shares)}")
        if (self.n is None) != (self.m is None):
            raise ValueError("needs n and m together, such as {n: 2, m: 4}")
        return self

    @property
    def given(self) -> dict[str, float]:
        """The keys that have a value."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def label(self) -> str:
        """For people, such as ``macs 0.5 sparsity 0.8``."""
        given = self.given
        plain = [f"{name} {value:g}" for name, value in given.items() if name not in ("n", "m")]
        return " ".join([*plain, *([f"{self.n}:{self.m}"] if "n" in given else [])])

    def fits(self, methods: tuple[MethodName, ...]) -> bool:
        """Whether ``methods`` together take just these keys."""
        given = set(self.given)
        shares = given & set(SHARES)
        if shares == {"latency_ms"} and "channels" not in methods:
            return False
        return (
            bool(shares) == bool(set(SMALLER) & set(methods))
            and ("sparsity" in given) == ("magnitude" in methods)
            and ("n" in given) == ("n_m" in methods)
        )


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_section(value: Any) -> Any:
    return {"method": value} if isinstance(value, str | list | tuple) else value


class SweepMethod(Parameters):
    """One way to prune and recover; the sections `prune` and `recover` supply the keys that it omits."""

    method: Annotated[
        tuple[MethodName, ...],
        BeforeValidator(_listed, json_schema_input_type=MethodName | tuple[MethodName, ...]),
    ] = Field(description="as prune.method: one, or several one after the other")
    name: str | None = Field(
        None, min_length=1, description="the name in tables and plots; default: the methods' names"
    )
    prune: dict[str, Any] = Field(default_factory=dict, description="keys that override the section prune")
    recover: dict[str, Any] = Field(
        default_factory=dict, description="keys that override the section recover"
    )

    @field_validator("method")
    @classmethod
    def _named(cls, names: tuple[MethodName, ...]) -> tuple[MethodName, ...]:
        if not names:
            raise ValueError("is empty; accepted: layers, channels, magnitude, n_m, or several of them")
        return names

    @model_validator(mode="after")
    def _says_nothing_twice(self) -> Self:
        for key in (*SET_BY_TARGET, "method"):
            if key in self.prune:
                said = "method" if key == "method" else "sweep.targets"
                raise ValueError(f"prune.{key} is set by {said}; remove it here")
        fit = self.recover.get("fit")
        if "seed" in self.recover or (isinstance(fit, Mapping) and "seed" in fit):
            raise ValueError("the seed of recover is set by sweep.seeds; remove it here")
        return self

    @property
    def label(self) -> str:
        """For people."""
        return self.name or "+".join(self.method)


Listed = Annotated[SweepMethod, BeforeValidator(_as_section)]


class SweepParams(Parameters):
    """Section `sweep` of `params.yaml`: targets × methods × seeds, and how one of them is chosen."""

    targets: tuple[SweepTarget, ...] = Field(
        description="such as {macs: 0.5} or {sparsity: 0.8}; each is combined with the methods that accept it"
    )
    methods: tuple[Listed, ...] = Field(
        (),
        description="for example channels, [channels, magnitude] or {method: channels, recover: {...}}; "
        "prune.method unless given",
    )
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field((0,), description="seeds of recovery")
    train_seeds: bool = Field(False, description="also train a separate parent for each seed")
    rule: Rule = Field(
        default_factory=lambda: Rule.model_validate({"smallest_within": 0.01}),
        description="how one candidate is chosen, on the validation split",
    )
    format: TimedFormat = Field(
        "tflite_int8", description="the exported file whose size and latency are compared"
    )
    weighed: Weighed = Field("bytes", description="which size is compared: the file's, or the gzipped file's")
    workers: int | None = Field(
        None,
        ge=1,
        description="candidates run at the same time; default on this machine: the number of cores",
    )

    @field_validator("targets", "methods", "seeds")
    @classmethod
    def _not_empty(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values:
            raise ValueError("is empty, so there would be no candidate; give at least one")
        return values

    @model_validator(mode="after")
    def _once(self) -> Self:
        for name, labels in (
            ("targets", [item.label for item in self.targets]),
            ("methods", [item.label for item in self.methods]),
            ("seeds", [str(seed) for seed in self.seeds]),
        ):
            twice = next((label for label in labels if labels.count(label) > 1), None)
            if twice is not None:
                hint = "; rename one of them" if name == "methods" else ""
                raise ValueError(f"{name} contains '{twice}' twice{hint}")
        return self

    @model_validator(mode="after")
    def _each_is_used(self) -> Self:
        accepted = (
            "channels and layers take macs, parameters or bytes (channels latency_ms too), magnitude takes"
        )
        accepted += " sparsity, n_m takes n and m, combined methods those of all"
        if "methods" not in self.model_fields_set:
            return self
        for target in self.targets:
            if not any(target.fits(item.method) for item in self.methods):
                names = ", ".join(item.label for item in self.methods)
                raise ValueError(f"none of the methods {names} accepts target '{target.label}': {accepted}")
        for item in self.methods:
            if not any(target.fits(item.method) for target in self.targets):
                labels = ", ".join(target.label for target in self.targets)
                raise ValueError(f"method '{item.label}' accepts none of the targets {labels}: {accepted}")
        return self


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of a sweep's candidates with the parameters of its own steps."""

    index: int
    name: str
    group: str
    seed: int
    train: TrainParams
    prune: PruneParams
    recover: RecoverParams

    @property
    def identity(self) -> dict[str, Any]:
        """The description that its measurement carries."""
        return {"index": self.index, "name": self.name, "group": self.group, "seed": self.seed}


def with_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    """``document``, what a ``params.yaml`` holds, with what its sections `prune` and `sweep` leave to each other.

    ``sweep.methods`` is ``prune.method`` unless given. A ``prune.method`` that needs a target has the first of
    ``sweep.targets`` that it takes. What is wrong in either section is left to its validation.
    """
    found = dict(document)
    sweep, prune = found.get("sweep"), found.get("prune") or {}
    if not isinstance(sweep, Mapping) or not isinstance(prune, Mapping):
        return found
    target = target_of(sweep, prune)
    if target is not None:
        prune = found["prune"] = {**prune, "target": target}
    if sweep.get("methods") is None:
        try:
            methods = PruneParams.model_validate(prune).method
        except ValidationError:
            methods = ("channels",)
        found["sweep"] = {**sweep, "methods": [list(methods)]}
    return found


def target_of(sweep: Mapping[str, Any], prune: Mapping[str, Any]) -> dict[str, Any] | None:
    """The target that section ``prune`` lacks for its method: the first of ``sweep`` that it takes; or None."""
    methods, layers = _listed(prune.get("method")), prune.get("layers")
    if prune.get("target") is not None or not isinstance(methods, list | tuple):
        return None
    by_count = isinstance(layers, Mapping) and layers.get("blocks") is not None
    if not set(SMALLER) & set(methods) or (by_count and "channels" not in methods):
        return None
    for given in sweep.get("targets") or ():
        shares = {name: given[name] for name in SHARES if name in given} if isinstance(given, Mapping) else {}
        if len(shares) == 1 and (shares.keys() != {"latency_ms"} or "channels" in methods):
            return shares
    return None


def section(config: Any) -> SweepParams:
    """The section `sweep` of a validated configuration.

    Raises:
        RegrowError: there is none.
    """
    found: SweepParams | None = config.sweep
    if found is None:
        raise RegrowError(
            "sweep: the parameters have no such section; give it targets and methods (`regrow keys sweep` "
            "lists its keys)"
        )
    return found


def candidates(config: Any) -> list[Candidate]:
    """All candidates, in order of seeds, so that equal prunings do not start at the same time.

    Raises:
        RegrowError: a candidate's parameters contradict each other.
    """
    sweep = section(config)
    if sweep.train_seeds and config.train.import_model is not None:
        raise RegrowError(
            "sweep.train_seeds: is true, but an imported parent (train.import) is the same for every seed; "
            "set it to false"
        )
    found: list[Candidate] = []
    for seed in sweep.seeds:
        for method in sweep.methods:
            for target in sweep.targets:
                if target.fits(method.method):
                    group = f"{method.label} {target.label}"
                    found.append(
                        Candidate(
                            index=len(found),
                            name=f"{group} seed {seed}" if len(sweep.seeds) > 1 else group,
                            group=group,
                            seed=seed,
                            train=_seeded(config.train, seed) if sweep.train_seeds else config.train,
                            prune=_pruning(config.prune, method, target, group=group),
                            recover=_recovery(config.recover, method, seed, group=group),
                        )
                    )
    return found


def _seeded(params: TrainParams, seed: int) -> TrainParams:
    document = params.model_dump(mode="json", by_alias=True)
    document["seed"] = document["fit"]["seed"] = seed
    return TrainParams.model_validate(document)


def _pruning(base: PruneParams, method: SweepMethod, target: SweepTarget, *, group: str) -> PruneParams:
    """The section `prune` with this method and target, without the keys of other methods."""
    given = target.given
    shares = {name: given.pop(name) for name in SHARES if name in given}
    foreign = {key for name, keys in OWN.items() if name not in method.method for key in keys}
    document = {key: value for key, value in base.model_dump(mode="json").items() if key not in foreign}
    document = _merged(document, method.prune)
    document |= {"method": list(method.method), "target": shares or None, **given}
    found: PruneParams = _validated(PruneParams, document, "prune", group)
    return found


def _recovery(base: RecoverParams, method: SweepMethod, seed: int, *, group: str) -> RecoverParams:
    document = _merged(base.model_dump(mode="json"), method.recover)
    document["seed"] = seed
    if isinstance(document["fit"], Mapping):
        document["fit"] = {**document["fit"], "seed": seed}
    found: RecoverParams = _validated(RecoverParams, document, "recover", group)
    return found


def _merged(base: Any, over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``, merged section by section."""
    found = dict(base)
    for key, value in over.items():
        inner = found.get(key)
        if isinstance(inner, dict) and isinstance(value, dict) and _same_kind(inner, value):
            value = _merged(inner, value)
        found[key] = value
    return found


def _same_kind(base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    """Whether the keys of ``base`` make sense with those of ``over``: another optimizer, say, has others."""
    return "name" not in over or over["name"] == base.get("name")


def _validated(model: Any, document: Any, name: str, group: str) -> Any:
    from regrow.config.validation import validate

    return validate(model, document, where=f"sweep: candidate '{group}': {name}")


def measure_params(config: Any) -> MeasureParams:
    """Parameters of `measure`: it converts like `export` and times like `evaluate`."""
    sweep: SweepParams | None = config.sweep
    return MeasureParams(
        format="tflite_int8" if sweep is None else sweep.format,
        calibration_examples=config.export.calibration_examples,
        seed=config.export.seed,
        rounds=config.evaluate.latency.rounds,
        warmup=config.evaluate.latency.warmup,
        batch_size=config.evaluate.batch_size,
    )


def select_params(config: Any, *, failed: Mapping[str, str] | None = None) -> SelectParams:
    """Parameters of `select`."""
    sweep: SweepParams | None = config.sweep
    chosen = {} if sweep is None else {"rule": sweep.rule, "weighed": sweep.weighed}
    return SelectParams.model_validate({**chosen, "failed": dict(failed or {})})


def resolve_params(config: Any) -> Any:
    """Parameters of `resolve`: whether there is work to do also depends on the sweep."""
    swept = section(config).model_dump(mode="json", exclude={"workers"})
    fingerprint = text_digest(canonical_json({"of": config.resolve.fingerprint, "sweep": swept}))
    return config.resolve.model_copy(update={"fingerprint": fingerprint})


def check_sweep(config: Any) -> None:
    """Refuse a sweep that compares candidates in a format that is not exported.

    Raises:
        RegrowError: ``sweep.format`` is not among the exported formats.
    """
    made, wanted = config.export.formats, section(config).format
    if wanted not in made:
        raise RegrowError(
            f"sweep.format: '{wanted}' is not in export.formats ({', '.join(made)}), so candidates would be "
            "compared by a file that is not exported; add it there"
        )
