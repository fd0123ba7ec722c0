"""The step `select`: files in, a choice out."""

from pathlib import Path
from typing import Any

import pytest

from regrow.errors import RegrowError
from regrow.steps.by_value import chosen, front, listed, measured
from regrow.steps.execution import execute
from regrow.steps.select import SPEC, SelectParams
from regrow.storage.artifacts import read_json, write_json

MEASUREMENT = {
    "n": 100,
    "accuracy": 0.9,
    "accuracy_low": 0.8,
    "accuracy_high": 0.95,
    "parent_accuracy": 0.91,
    "difference": -0.01,
    "difference_low": -0.05,
    "difference_high": 0.03,
    "export_accuracy": 0.9,
    "export_accuracy_low": 0.8,
    "export_accuracy_high": 0.95,
    "export_difference": -0.01,
    "export_difference_low": -0.05,
    "export_difference_high": 0.03,
    "macs": 10,
    "parameters": 10,
    "format": "tflite_int8",
    "bytes": 100,
    "gzip_bytes": 90,
    "parent_bytes": 200,
    "parent_gzip_bytes": 190,
    "latency_ms_p50": 0.5,
    "parent_latency_ms_p50": 1.0,
    "latency_ratio": 0.5,
}


def entry(index: int, **changes: Any) -> dict[str, Any]:
    identity = {"index": index, "name": f"c{index}", "group": f"c{index}", "seed": 0}
    return {"candidate": identity, "measurement": {**MEASUREMENT, **changes}}


def select(folder: Path, target: Path, **params: Any) -> Any:
    return execute(
        SPEC,
        SelectParams.model_validate(params),
        inputs={"measurements": folder},
        outputs={"selection": target / "selection"},
        statement=target / "statement",
    ).statement.figures


def test_front_plot_and_table_are_written(tmp_path: Path) -> None:
    write_json(
        tmp_path / "in/measurements.json", [entry(0), entry(1, bytes=50), entry(2, bytes=20, difference=-0.5)]
    )
    figures = select(
        tmp_path / "in", tmp_path, rule={"smallest_within": 0.02}, failed={"c3": "step 'prune': no"}
    )
    assert figures["index"] == 1 and figures["chosen"] == "c1" and figures["size"] == 50
    found = read_json(tmp_path / "selection/front.json")
    assert found["failed"] == {"c3": "step 'prune': no"}
    assert found["rule"]["smallest_within"] == 0.02
    assert (tmp_path / "selection/front.svg").read_text().startswith("<?xml")
    assert "c3 failed" in (tmp_path / "selection/front.html").read_text()


def test_what_measure_wrote_is_taken_as_it_is(tmp_path: Path) -> None:
    for name, size in (("a", 30), ("b", 20)):
        write_json(tmp_path / f"in/{name}.json", {**MEASUREMENT, "bytes": size})
    assert select(tmp_path / "in", tmp_path)["chosen"] == "b"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "contains no measurements"),
        ({"x": {"accuracy": 1}}, r"x\.json: is not a measurement"),
        ({"x": {"measurement": 3}}, r"x\.json: is not a measurement"),
        ({"x": [{"measurement": MEASUREMENT}]}, r"x\.json: is not a measurement"),
        ({"x": {**MEASUREMENT, "accuracy": None}}, r"x\.json: is not a measurement"),
        ({"x": {**MEASUREMENT, "export_difference": None}}, r"x\.json: is not a measurement"),
        ({"x": [1]}, r"x\.json: is not a measurement"),
        ({"x": [entry(0), entry(0)]}, "two measurements are of candidate 0"),
        ({"x": [entry(0), entry(1, format="onnx")]}, "measured as onnx and tflite_int8"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, files: dict[str, Any], says: str) -> None:
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        write_json(tmp_path / f"in/{name}.json", content)
    with pytest.raises(RegrowError, match=says):
        select(tmp_path / "in", tmp_path)


def test_texts_between_components_say_the_same_in_any_order(tmp_path: Path) -> None:
    write_json(tmp_path / "m/measurement.json", MEASUREMENT)
    texts = [
        measured(f'{{"index": {i}, "name": "{{{{$", "group": "g", "seed": {i}}}', tmp_path / "m")
        for i in (0, 1)
    ]
    assert all("{{" not in text for text in texts)
    assert listed(texts) == listed(texts[::-1])
    assert '"name":"{{$"' in listed(texts)
    offered = [{"candidate": f'{{"index": {i}}}', "prune_params": str(i)} for i in (4, 7)]
    assert chosen(offered, 7)["prune_params"] == "7"
    write_json(tmp_path / "s/front.json", {"groups": [1], "candidates": [1, 2]})
    assert front(tmp_path / "s") == '{"candidates":[],"groups":[1]}'
