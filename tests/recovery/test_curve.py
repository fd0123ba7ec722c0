"""The recovery curve says what became of the model at each point."""

import csv
from pathlib import Path

from regrow.recovery.curve import RecoveryCurve
from regrow.storage.artifacts import read_json


def metrics(accuracy: float) -> dict[str, float]:
    return {"val_accuracy": accuracy, "val_loss": 1 - accuracy}


def test_each_point_says_whether_it_was_gone_on_from(tmp_path: Path) -> None:
    curve = RecoveryCurve(metrics(0.9))
    curve.add("pruned", metrics(0.5))
    curve.add("rewind", metrics(0.3))
    curve.replace(curve.last)
    assert curve.lost
    curve.add("reconstruction", metrics(0.2))
    assert not curve.improved_by(curve.last)
    curve.undo([curve.last])
    for epoch, accuracy in enumerate((0.4, 0.6), start=1):
        curve.add("fine_tuning", metrics(accuracy), epoch=epoch)
    curve.keep(curve.last)
    curve.pass_over(point for point in curve.points if "epoch" in point)
    curve.add("from_scratch", metrics(0.7), epoch=1)
    assert not curve.lost
    curve.write(tmp_path)
    expected = ["replaced", "kept", "undone", "passed over", "kept", None]
    found = read_json(tmp_path / "curve.json")
    assert [point.get("outcome") for point in found["points"]] == expected
    assert found["best"] == found["points"][4]
    with (tmp_path / "curve.csv").open(encoding="utf-8") as file:
        assert [row["outcome"] or None for row in csv.DictReader(file)] == expected
