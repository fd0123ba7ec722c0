import pytest

from regrow.config.validation import validate
from regrow.errors import RegrowError
from regrow.registry.gate import GateParams, judge

METRICS = {
    "recovered_vs_parent.accuracy_difference_low": -0.02,
    "recovered_vs_parent.accuracy_difference_low.tflite_int8": -0.02,
    "recovered_vs_parent.accuracy_difference_low.tflite_fp32": -0.02,
    "recovered_vs_parent.latency_ratio.tflite_fp32": 1.25,
    "recovered.size_bytes.tflite_int8": 5,
    "parent.size_bytes.tflite_int8": 10,
    "parent.size_bytes.tflite_fp32": 40,
}


def failed(verdict_checks: object) -> list[str]:
    return [check.name for check in verdict_checks if not check.passed]  # type: ignore[attr-defined]


def test_a_model_at_every_limit_passes() -> None:
    verdict = judge(METRICS, GateParams())
    assert verdict.passed
    assert {check.name: check.value for check in verdict.checks} == {
        "accuracy_not_worse_than_parent": -0.02,
        "accuracy_not_worse_than_parent.tflite_int8": -0.02,
        "accuracy_not_worse_than_parent.tflite_fp32": -0.02,
        "size_ratio": 0.5,
        "latency_ratio": 1.25,
    }
    files = {check.name: check.files for check in verdict.checks if check.files}
    assert files == {
        "size_ratio": ("model_int8.tflite", "model_int8.tflite"),
        "latency_ratio": ("model_fp32.tflite", "model_fp32.tflite"),
    }


def test_the_size_is_compared_like_for_like_unless_another_file_is_named() -> None:
    against = GateParams(size_against="tflite_fp32", max_size_ratio=0.125)
    (check,) = [check for check in judge(METRICS, against).checks if check.name == "size_ratio"]
    assert (check.value, check.passed) == (0.125, True)
    assert check.files == ("model_int8.tflite", "model_fp32.tflite")


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("recovered_vs_parent.accuracy_difference_low", -0.0201, "accuracy_not_worse_than_parent"),
        (
            "recovered_vs_parent.accuracy_difference_low.tflite_int8",
            -0.48,
            "accuracy_not_worse_than_parent.tflite_int8",
        ),
        (
            "recovered_vs_parent.accuracy_difference_low.tflite_fp32",
            -0.0201,
            "accuracy_not_worse_than_parent.tflite_fp32",
        ),
        ("recovered.size_bytes.tflite_int8", 11, "size_ratio"),
        ("recovered_vs_parent.latency_ratio.tflite_fp32", 1.3, "latency_ratio"),
    ],
)
def test_each_limit_fails_alone_beyond_it_and_when_it_was_not_measured(
    name: str, value: float, check: str
) -> None:
    assert failed(judge(METRICS | {name: value}, GateParams()).checks) == [check]
    without = {key: item for key, item in METRICS.items() if key != name}
    assert failed(judge(without, GateParams()).checks) == [check]


def test_only_files_that_count_are_asked_for_their_accuracy() -> None:
    def names(**gate: object) -> list[str]:
        checks = judge({}, GateParams.model_validate(gate)).checks
        return [check.name for check in checks if check.name.startswith("accuracy")]

    plain = "accuracy_not_worse_than_parent"
    assert names(size_format="onnx", latency_format="onnx") == [plain, f"{plain}.onnx"]
    assert names(size_format="keras", max_latency_ratio=None) == [plain]
    assert names(max_accuracy_drop=None) == []


def test_limits_can_be_switched_off() -> None:
    gate = GateParams(max_accuracy_drop=None, max_size_ratio=None, max_latency_ratio=None)
    assert judge({}, gate).checks == ()


def test_champion_is_compared_with_its_own_limit() -> None:
    metrics = METRICS | {"recovered_vs_champion.accuracy_difference_low": -0.04}
    assert judge(metrics, GateParams()).passed, "no champion, no comparison"
    strict = judge(metrics, GateParams(), compared_champion="3", present_champion="3")
    assert failed(strict.checks) == ["accuracy_not_worse_than_champion"]
    lax = GateParams(max_accuracy_drop_from_champion=0.05)
    assert judge(metrics, lax, compared_champion="3", present_champion="3").passed
    off = GateParams(not_worse_than_champion=False)
    assert judge(metrics, off, compared_champion="3", present_champion="4").passed


def test_champion_promoted_in_the_meantime_is_not_replaced_unseen() -> None:
    metrics = METRICS | {"recovered_vs_champion.accuracy_difference_low": 0.0}
    verdict = judge(metrics, GateParams(), compared_champion="3", present_champion="4")
    assert failed(verdict.checks) == ["compared_with_present_champion"]
    assert failed(judge(METRICS, GateParams(), present_champion="1").checks) == [
        "compared_with_present_champion"
    ]


def test_verdict_is_json_with_numbers() -> None:
    assert judge(METRICS, GateParams()).to_json()["checks"][3] == {
        "name": "size_ratio",
        "value": 0.5,
        "relation": "≤",
        "limit": 1.05,
        "passed": True,
        "files": ("model_int8.tflite", "model_int8.tflite"),
    }


def test_unknown_limit_is_named_with_the_nearest() -> None:
    with pytest.raises(RegrowError, match="did you mean 'max_size_ratio'"):
        validate(GateParams, {"max_size_rato": 1}, where="params.yaml")
