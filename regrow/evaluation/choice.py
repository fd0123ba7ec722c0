"""Choosing one of a sweep's candidates by a rule, from measurements on the validation split."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.evaluation.pareto import beaten_by

Weighed = Literal["bytes", "gzip_bytes"]
# What of a measurement a choice is made from, and shown with.
MEASURED = (
    *("n", "accuracy", "accuracy_low", "accuracy_high", "parent_accuracy"),
    *("difference", "difference_low", "difference_high", "macs", "parameters"),
    *("export_accuracy", "export_accuracy_low", "export_accuracy_high"),
    *("export_difference", "export_difference_low", "export_difference_high"),
    *("bytes", "gzip_bytes", "parent_bytes", "parent_gzip_bytes"),
    *("latency_ms_p50", "parent_latency_ms_p50", "latency_ratio"),
)
FORMS = ("", "export_")  # the Keras model, and the file that is weighed
TINY = 1e-12  # accuracies are quotients: a difference of just δ counts as within


class Rule(Parameters):
    """Section `sweep.rule`: exactly one of ``smallest_within`` and ``fastest_under``."""

    smallest_within: float | None = Field(
        None,
        ge=0,
        le=1,
        description=(
            "choose the smallest candidate whose validation accuracy, both as Keras model and as exported "
            "file, is at most this much below its parent's"
        ),
    )
    fastest_under: int | None = Field(
        None,
        ge=1,
        description="choose the candidate with the lowest latency among those of at most this many bytes",
    )
    within: float | None = Field(
        None, ge=0, le=1, description="for fastest_under: largest accuracy loss against the parent"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.smallest_within is None) == (self.fastest_under is None):
            found = "both" if self.smallest_within is not None else "none"
            raise ValueError(
                "takes exactly one of smallest_within (a share of accuracy, such as 0.01) and fastest_under (bytes);"
                f" found {found}"
            )
        if self.within is not None and self.fastest_under is None:
            raise ValueError("within applies only to fastest_under; smallest_within already sets this limit")
        return self

    @property
    def delta(self) -> float | None:
        """How far below its parent a candidate may be; None where that is no matter."""
        return self.within if self.smallest_within is None else self.smallest_within

    @property
    def objectives(self) -> tuple[str, ...]:
        """What spans the front; the latency, which is noisy, only where the rule asks for it."""
        return ("accuracy", "size") if self.fastest_under is None else ("accuracy", "size", "latency_ratio")

    def in_words(self, *, format: str, weighed: Weighed) -> str:
        """The rule as a sentence."""
        what = f"{format}, gzipped" if weighed == "gzip_bytes" else format
        if self.smallest_within is not None:
            return (
                f"the smallest ({what}) whose validation accuracy, as Keras model and as {format}, is at most"
                f" {points(self.smallest_within)} points below its parent's"
            )
        and_near = (
            ""
            if self.within is None
            else f" and, as Keras model and as {format}, at most {points(self.within)} points below its parent"
        )
        return f"the fastest ({format}) of at most {self.fastest_under:,} bytes ({what}){and_near}"


def is_measured(item: Any) -> bool:
    """Whether ``item`` is ``candidate`` and ``measurement`` of one, with all that `choose` asks of it."""
    found = item if isinstance(item, Mapping) else {}
    candidate, measurement = found.get("candidate"), found.get("measurement")
    return (
        isinstance(candidate, Mapping)
        and isinstance(candidate.get("index"), int | float)
        and {"name", "group"} <= set(candidate)
        and isinstance(measurement, Mapping)
        and isinstance(measurement.get("format"), str)
        and all(isinstance(measurement.get(name), int | float) for name in MEASURED)
    )


@dataclass(frozen=True, kw_only=True)
class Group:
    """One target and method over its seeds.

    ``accuracy``, ``difference`` (candidate − parent) and ``latency_ratio`` (to the parent's) are means over the
    seeds, ``size`` is the largest. Accuracy is that of the form in which a seed is the less accurate, Keras model or
    weighed file, as both are shipped; ``keras_accuracy`` and ``export_accuracy`` tell them apart. The ends of
    intervals are means too: the seeds answer the same validation examples, so that more of them do not narrow an
    interval that speaks of the examples. ``seed_deviation`` is the accuracy's standard deviation over seeds, None for
    one seed.
    """

    name: str
    indices: list[int]
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    difference: float
    difference_low: float
    difference_high: float
    seed_deviation: float | None
    keras_accuracy: float
    export_accuracy: float
    size: int
    latency_ms: float
    latency_ratio: float
    macs: int
    parameters: int

    def point(self, objectives: Sequence[str]) -> tuple[float, ...]:
        """The objectives as numbers of which less is better.

        Accuracy is held against each candidate's own parent: where a seed failed, groups have other parents.
        """
        return tuple(
            -self.difference if name == "accuracy" else float(getattr(self, name)) for name in objectives
        )


def groups(measured: Sequence[Mapping[str, Any]], *, weighed: Weighed) -> list[Group]:
    """``measured`` (``candidate`` and ``measurement`` of each) by target and method, in the order of their indices."""
    members: dict[str, list[Mapping[str, Any]]] = {}
    for item in sorted(measured, key=lambda item: int(item["candidate"]["index"])):
        members.setdefault(str(item["candidate"]["group"]), []).append(item)
    return [_group(name, found, weighed) for name, found in members.items()]


def _group(name: str, members: Sequence[Mapping[str, Any]], weighed: Weighed) -> Group:
    found = [item["measurement"] for item in members]
    judged = [_judged(item) for item in found]

    def mean(key: str, of: Sequence[Mapping[str, Any]] = found) -> float:
        return statistics.fmean(float(item[key]) for item in of)

    return Group(
        name=name,
        indices=[int(item["candidate"]["index"]) for item in members],
        accuracy=mean("accuracy", judged),
        accuracy_low=mean("accuracy_low", judged),
        accuracy_high=mean("accuracy_high", judged),
        difference=mean("difference", judged),
        difference_low=mean("difference_low", judged),
        difference_high=mean("difference_high", judged),
        seed_deviation=statistics.stdev(item["accuracy"] for item in judged) if len(judged) > 1 else None,
        keras_accuracy=mean("accuracy"),
        export_accuracy=mean("export_accuracy"),
        size=max(int(item[weighed]) for item in found),
        latency_ms=mean("latency_ms_p50"),
        latency_ratio=mean("latency_ratio"),
        macs=max(int(item["macs"]) for item in found),
        parameters=max(int(item["parameters"]) for item in found),
    )


def _judged(measurement: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy, difference and their intervals in the form that is the less accurate.

    Both forms are held against the parent's Keras model, so that the lower accuracy is the lower difference, too.
    """
    worse = min(FORMS, key=lambda form: float(measurement[f"{form}difference"]))
    names = [f"{what}{end}" for what in ("accuracy", "difference") for end in ("", "_low", "_high")]
    return {name: float(measurement[f"{worse}{name}"]) for name in names}


def choose(
    measured: Sequence[Mapping[str, Any]],
    *,
    rule: Rule,
    format: str,
    weighed: Weighed,
    failed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The front, the chosen target and method, and of its seeds the one that is shipped: ``front.json``.

    Shipped is the seed that is furthest above its parent on the validation split, then that of the lowest index.

    Args:
        measured: ``candidate`` (``index``, ``name``, ``group``, ``seed``) and ``measurement`` of each.
        rule: how to choose.
        format: the export that was weighed and timed.
        weighed: which of its sizes counts.
        failed: candidates that could not be measured, and why; for the record.

    Raises:
        RegrowError: there is none, or none meets the rule; the nearest is named.
    """
    if not measured:
        raise RegrowError("sweep: no candidate was measured, so none can be chosen")
    found = groups(measured, weighed=weighed)
    beaten = beaten_by([group.point(rule.objectives) for group in found])
    best = _best(found, rule, format=format, weighed=weighed)
    by_index = {int(item["candidate"]["index"]): item for item in measured}
    index = max(
        best.indices, key=lambda index: (_judged(by_index[index]["measurement"])["difference"], -index)
    )
    return {
        "schema_version": 1,
        "rule": rule.model_dump(mode="json"),
        "rule_in_words": rule.in_words(format=format, weighed=weighed),
        "objectives": list(rule.objectives),
        "format": format,
        "weighed": weighed,
        "validation_examples": int(measured[0]["measurement"]["n"]),
        "parents": _parents(measured, weighed),
        "chosen": {
            "index": index,
            "name": by_index[index]["candidate"]["name"],
            "group": best.name,
            "recovered_sha256": by_index[index]["measurement"].get("recovered_sha256"),
            "sentence": _sentence(best, by_index[index], rule, format=format, weighed=weighed),
        },
        "groups": [
            {
                **asdict(group),
                "on_front": place is None,
                "beaten_by": None if place is None else found[place].name,
                "chosen": group is best,
            }
            for group, place in zip(found, beaten, strict=True)
        ],
        "candidates": [by_index[index] for index in sorted(by_index)],
        "failed": dict(failed or {}),
    }


def _best(found: Sequence[Group], rule: Rule, *, format: str, weighed: Weighed) -> Group:
    """The group that the rule means. It is on the front: whatever beats it would meet the rule and be preferred."""
    delta = rule.delta
    near = [group for group in found if delta is None or group.difference >= -delta - TINY]
    if rule.smallest_within is not None:
        if not near:
            raise RegrowError(_too_far("sweep.rule.smallest_within", rule.smallest_within, found))
        return min(near, key=lambda group: (group.size, -group.difference))
    limit = rule.fastest_under
    if limit is None:
        raise AssertionError("rules are validated")
    light = [group for group in found if group.size <= limit]
    if not light:
        smallest = min(found, key=lambda group: (group.size, -group.accuracy))
        what = "gzipped bytes" if weighed == "gzip_bytes" else "bytes"
        raise RegrowError(
            f"sweep.rule.fastest_under: no candidate has at most {limit:,} {what} as {format}; the nearest is"
            f" '{smallest.name}' with {smallest.size:,}"
        )
    fitting = [group for group in light if group in near]
    if not fitting:
        raise RegrowError(_too_far("sweep.rule.within", delta or 0.0, light))
    return min(fitting, key=lambda group: (group.latency_ratio, -group.difference, group.size))


def _too_far(key: str, delta: float, found: Sequence[Group]) -> str:
    nearest = max(found, key=lambda group: group.difference)
    mean = f", the mean of {len(nearest.indices)} seeds" if len(nearest.indices) > 1 else ""
    return (
        f"{key}: no candidate's validation accuracy, both as Keras model and as exported file, is at most "
        f"{points(delta)} points below its parent's; the nearest is '{nearest.name}', "
        f"{points(-nearest.difference)} below{mean}"
    )


def _parents(measured: Sequence[Mapping[str, Any]], weighed: Weighed) -> dict[str, float]:
    """What the candidates are held against; means, as each may have a parent of its own."""
    found = [item["measurement"] for item in measured]
    keys = {"accuracy": "parent_accuracy", "size": f"parent_{weighed}", "latency_ms": "parent_latency_ms_p50"}
    return {name: statistics.fmean(float(item[key]) for item in found) for name, key in keys.items()}


def _sentence(best: Group, item: Mapping[str, Any], rule: Rule, *, format: str, weighed: Weighed) -> str:
    many = len(best.indices)
    seeds = (
        f", means of {many} seeds, of which '{item['candidate']['name']}' is registered" if many > 1 else ""
    )
    parent = item["measurement"][f"parent_{weighed}"]
    return (
        f"'{best.name}' is {rule.in_words(format=format, weighed=weighed)}: validation accuracy"
        f" {100 * best.accuracy:.2f}% ({points(best.difference, signed=True)} points, 95% interval"
        f" {points(best.difference_low, signed=True)} to {points(best.difference_high, signed=True)}; Keras model"
        f" {100 * best.keras_accuracy:.2f}%, {format} {100 * best.export_accuracy:.2f}%),"
        f" {best.size:,} bytes (parent {parent:,}), latency {best.latency_ratio:.2f} of the parent's{seeds}"
    )


def points(share: float, *, signed: bool = False) -> str:
    """A share of accuracy in points.

    >>> points(0.0125), points(-0.003, signed=True)
    ('1.25', '-0.30')
    """
    return f"{100 * share + 0.0:{'+' if signed else ''}.2f}"
