"""What a report says that recovery did: from its own settings and curve."""

from typing import Any

from regrow.evaluation.recovery import control_verdict, recovery_rows
from regrow.recovery.parameters import RecoverParams


def point(stage: str, accuracy: float, **more: Any) -> dict[str, Any]:
    return {"stage": stage, "val_accuracy": accuracy, "val_loss": 1 - accuracy, **more}


def settings(**section: Any) -> dict[str, Any]:
    return RecoverParams.model_validate(section).model_dump(mode="json")


def test_each_technique_with_its_values_and_what_came_of_it() -> None:
    given = settings(
        reconstruct={"enabled": True, "examples": 512},
        distill={"logits": {"temperature": 3}},
        fit={
            "epochs": 6,
            "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True},
            "schedule": "one_cycle",
            "range_test": {},
            "ema": 0.99,
        },
    )
    start, best = (
        point("batch_norm_recalibration", 0.602, outcome="kept"),
        point("fine_tuning", 0.8, epoch=3, outcome="kept"),
    )
    points = [
        point("pruned", 0.178, outcome="kept"), start, point("reconstruction", 0.283, outcome="undone"), best,
    ]  # fmt: skip
    told = {
        "started_from": start, "attempts": 1, "trained": 4, "planned": 6, "ended": "early_stopping",
        "best_epoch": 3, "learning_rate": 0.0123, "by_range_test": True,
    }  # fmt: skip
    curve = {"points": points, "best": best, "techniques": ["distill", "ema"], "fine_tuning": told}
    rows = dict(recovery_rows(given, curve))
    assert rows == {
        "initialise": "pruned",
        "recalibrate": "batches 100, batch size 128: kept",
        "reconstruct": "examples 512, ridge 0.001, batch size 128: undone",
        "fine-tuning from": "batch-normalisation recalibration, 60.20% on validation",
        "distill": "logits (temperature 3, alpha 0.9)",
        "ema": "0.99",
        "optimiser": "sgd, momentum 0.9, nesterov, batches of 64",
        "schedule": "one_cycle",
        "peak learning rate": "0.0123, chosen by the range test",
        "epochs": "4 of 6: ended by early stopping",
        "epoch kept": "3, 80.00% on validation",
    }
    lost = {**curve, "best": start, "fine_tuning": {**told, "attempts": 2, "by_range_test": False}}
    rows = dict(recovery_rows(given, lost))
    assert rows["epoch kept"].startswith("none: no epoch was better than where it started from; batch-norm")
    assert rows["peak learning rate"] == "0.0123, halved 1 time, as training diverged"


def test_techniques_say_what_of_them_took_place() -> None:
    given = settings(multi_task={"tasks": [{"kind": "rotation"}]}, fit={"epochs": 12, "plain_epochs": 2})
    start, best = point("pruned", 0.6, outcome="kept"), point("fine_tuning", 0.8, epoch=3, outcome="kept")
    told = {
        "started_from": start, "attempts": 1, "trained": 11, "planned": 12, "ended": "early_stopping",
        "best_epoch": 3, "learning_rate": 0.01, "by_range_test": False,
    }  # fmt: skip
    techniques = ["multi_task", "plain_epochs"]
    curve = {"points": [start, best], "best": best, "techniques": techniques, "fine_tuning": told}
    rows = dict(recovery_rows(given, curve))
    assert rows["plain epochs"] == "the last 2, of which 1 trained"
    assert rows["multi task"] == "tasks rotation, weight 1, weighting fixed"
    assert rows["optimiser"] == "adam, batches of 64"
    told["trained"] = 4
    assert dict(recovery_rows(given, curve))["plain epochs"] == "the last 2, of which 0 trained"


def test_what_was_left_out_says_why() -> None:
    pruned = point("pruned", 0.9, outcome="kept")
    curve = {"points": [pruned], "best": pruned, "fine_tuning": {"left_out": "stop_when was already met"}}
    rows = dict(recovery_rows(settings(stop_when="accuracy >= 0.5"), curve))
    assert rows["fine-tuning"] == "none: stop_when was already met"
    assert rows["reconstruct"] == "off"
    assert rows["recalibrate"].endswith(": nothing to do")  # the model has no batch normalisation
    assert dict(recovery_rows(settings(fine_tune=False), curve))["fine-tuning"] == "off"


def test_a_control_that_came_further_is_said() -> None:
    best = point("fine_tuning", 0.80, epoch=1)
    assert control_verdict({"points": [best], "best": best}) is None
    assert (
        control_verdict({"points": [best], "best": best, "from_scratch": point("from_scratch", 0.8)}) is None
    )
    said = control_verdict({"points": [best], "best": best, "from_scratch": point("from_scratch", 0.85)})
    assert said is not None
    assert "comes further on validation, 85.00% against 80.00%" in said
