"""The gate: whether a recovered model may become the champion. A pure function of the metrics."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import Field

from regrow.config.sections import Parameters
from regrow.conversion.formats import FILES, TimedFormat, WeighedFormat

ROUNDING = 1e-9
ACCURACY = "accuracy_not_worse_than_parent"
OVERTAKEN = "compared_with_present_champion"


class GateParams(Parameters):
    """Limits that a version must keep to take the alias ``champion``; null switches a limit off.

    Accuracy is asked of the Keras model and of the exported files whose size and latency count: what is
    promoted must be as good as the parent in the form in which it is small and fast.

    The accuracy limits are held against the lower end of the 95% interval of the paired difference, so they
    depend on the size of the test split: with n examples of which d are judged differently by the two
    models, the interval reaches 1.96·√d/n below the difference. Six of 360 give 1.3 points, which is why the
    default is 2 points; tighten it where the test split is large.
    """

    max_accuracy_drop: float | None = Field(
        0.02, ge=0, le=1, description="δ: with 95% confidence no more than this below the parent's accuracy"
    )
    max_size_ratio: float | None = Field(
        1.05,
        gt=0,
        description="bytes of the recovered model's `size_format` over the parent's `size_against`",
    )
    size_format: WeighedFormat = Field("tflite_int8", description="the exported file whose size counts")
    size_against: WeighedFormat | None = Field(
        None, description="the parent's exported file that it is compared with; null: the same format"
    )
    max_latency_ratio: float | None = Field(
        1.25, gt=0, description="latency of the recovered model over the parent's, both as `latency_format`"
    )
    latency_format: TimedFormat = Field("tflite_fp32", description="the exported file whose latency counts")
    not_worse_than_champion: bool = Field(True, description="also compare with the present champion")
    max_accuracy_drop_from_champion: float = Field(
        0.02, ge=0, le=1, description="δ of that comparison, on the same test examples"
    )


@dataclass(frozen=True, kw_only=True)
class Check:
    """One limit: ``value`` (None: was not measured, which fails) ``relation`` ``limit``.

    ``files`` are the two exported files of a ratio, the recovered model's and the parent's.
    """

    name: str
    value: float | None
    relation: Literal["≥", "≤", "="]
    limit: float
    passed: bool
    files: tuple[str, str] | None = None


@dataclass(frozen=True)
class Verdict:
    """What the gate said, check by check."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """``{"passed": …, "checks": [{"name", "value", "relation", "limit", "passed", "files"}, …]}``."""
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}


def judge(
    metrics: Mapping[str, Any],
    gate: GateParams,
    *,
    compared_champion: str | None = None,
    present_champion: str | None = None,
) -> Verdict:
    """Hold ``metrics`` (flat, as in ``metrics.json``) against ``gate``.

    Args:
        metrics: by name; a missing or null value fails the check that needs it.
        gate: the limits.
        compared_champion: version of the champion that the metrics compare with; None when there was none.
        present_champion: version that holds the alias now. Unless it is the one compared with, somebody
            promoted another in the meantime and the comparison says nothing about it.
    """
    checks: list[Check] = []
    if gate.max_accuracy_drop is not None:
        low = _number(metrics, "recovered_vs_parent.accuracy_difference_low")
        checks.append(_at_least(ACCURACY, low, -gate.max_accuracy_drop))
        for name in _shipped(gate):
            low = _number(metrics, f"recovered_vs_parent.accuracy_difference_low.{name}")
            checks.append(_at_least(f"{ACCURACY}.{name}", low, -gate.max_accuracy_drop))
    if gate.max_size_ratio is not None:
        small = _number(metrics, f"recovered.size_bytes.{gate.size_format}")
        against = gate.size_against or gate.size_format
        large = _number(metrics, f"parent.size_bytes.{against}")
        ratio = small / large if small is not None and large else None
        files = (FILES[gate.size_format], FILES[against])
        checks.append(_at_most("size_ratio", ratio, gate.max_size_ratio, files))
    if gate.max_latency_ratio is not None:
        ratio = _number(metrics, f"recovered_vs_parent.latency_ratio.{gate.latency_format}")
        file = FILES[gate.latency_format]
        checks.append(_at_most("latency_ratio", ratio, gate.max_latency_ratio, (file, file)))
    if gate.not_worse_than_champion and (compared_champion or present_champion):
        checks += _against_champion(metrics, gate, compared_champion, present_champion)
    return Verdict(tuple(checks))


def _shipped(gate: GateParams) -> list[str]:
    """The exported formats whose size or latency counts; Keras' own has the model's accuracy."""
    found = [gate.size_format] if gate.max_size_ratio is not None else []
    found += [gate.latency_format] if gate.max_latency_ratio is not None else []
    return [name for name in dict.fromkeys(found) if name != "keras"]


def _against_champion(
    metrics: Mapping[str, Any], gate: GateParams, compared: str | None, present: str | None
) -> list[Check]:
    checks = []
    if compared:
        low = _number(metrics, "recovered_vs_champion.accuracy_difference_low")
        checks.append(
            _at_least("accuracy_not_worse_than_champion", low, -gate.max_accuracy_drop_from_champion)
        )
    if present and present != compared:
        against = float(compared or 0)
        checks.append(
            Check(
                name=OVERTAKEN,
                value=against,
                relation="=",
                limit=float(present),
                passed=False,
            )
        )
    return checks


def _number(metrics: Mapping[str, Any], name: str) -> float | None:
    value = metrics.get(name)
    return float(value) if isinstance(value, int | float) else None


def _at_least(name: str, value: float | None, limit: float) -> Check:
    passed = value is not None and value >= limit - ROUNDING
    return Check(name=name, value=value, relation="≥", limit=limit, passed=passed)


def _at_most(name: str, value: float | None, limit: float, files: tuple[str, str]) -> Check:
    passed = value is not None and value <= limit + ROUNDING
    return Check(name=name, value=value, relation="≤", limit=limit, passed=passed, files=files)
