"""Every technique of recovery through the step: its line in the curve, what is refused, interruptions."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.evaluation import plots
from regrow.graph.kernels import layers
from regrow.model_files.files import load_model
from regrow.provenance.digest import tree_digest
from regrow.pruning.pruning import Pruning
from regrow.recovery.parameters import RecoverParams, goal_accuracy
from regrow.registry import tracking
from regrow.steps import prune as prune_step
from regrow.steps import train as train_step
from regrow.steps.execution import execute
from regrow.steps.recover import SPEC
from regrow.storage.artifacts import read_json
from regrow.training.watching import DivergedError

ADAM = {"name": "adam", "learning_rate": 0.004}


@pytest.fixture(scope="module")
def residual(digits: Dataset, overlay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-8 on the digits, channels removed to half the MACs, then half of the weights masked."""
    root = tmp_path_factory.mktemp("residual")
    execute(
        train_step.SPEC,
        train_step.TrainParams.model_validate(
            {"architecture": "resnet8", "fit": {"epochs": 6, "optimizer": ADAM}}
        ),
        inputs={"dataset": digits.path, "overlay": overlay},
        outputs={"parent": root / "parent", "training": root / "training"},
        statement=root / "train",
    )
    execute(
        prune_step.SPEC,
        prune_step.PruneParams.model_validate(
            {"method": ["channels", "magnitude"], "target": {"macs": 0.5}, "sparsity": 0.5}
        ),
        inputs={
            "parent": root / "parent",
            "training": root / "training",
            "dataset": digits.path,
            "overlay": overlay,
        },
        outputs={name: root / name for name in ("pruned", "pruning", "pruning_report")},
        statement=root / "prune",
    )
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGROW_TRACKING", "off")


def ports(root: Path, digits: Dataset, overlay: Path) -> dict[str, Path]:
    made = {name: root / name for name in ("pruned", "pruning", "parent", "training")}
    return {**made, "dataset": digits.path, "overlay": overlay}


def recover(root: Path, digits: Dataset, overlay: Path, target: Path, **params: Any) -> dict[str, Any]:
    params.setdefault("fit", {"epochs": 2, "optimizer": ADAM})
    execute(
        SPEC,
        RecoverParams.model_validate(params),
        inputs=ports(root, digits, overlay),
        outputs={name: target / name for name in ("recovered", "recovery")},
        statement=target / "statement",
    )
    Pruning.read(root / "pruning").verify(load_model(target / "recovered"))
    curve: dict[str, Any] = read_json(target / "recovery/curve.json")
    return curve


def stages(curve: dict[str, Any]) -> list[str]:
    return [point["stage"] for point in curve["points"]]


@pytest.mark.slow
def test_all_techniques_at_once(residual: Path, digits: Dataset, overlay: Path, tmp_path: Path) -> None:
    curve = recover(
        residual,
        digits,
        overlay,
        tmp_path,
        reconstruct={"enabled": True, "examples": 512},
        distill={"logits": {}, "features": {}, "attention": {}},
        regularise={"l2": 1e-4, "dropout": 0.1, "stochastic_depth": 0.1},
        multi_task={"tasks": [{"kind": "rotation", "weight": 0.2}], "keep_heads": True},
        control=True,
        fit={
            "epochs": 2,
            "optimizer": ADAM,
            "schedule": "adaptive_linear_decay",
            "label_smoothing": 0.05,
            "weight_normalisation": True,
            "ema": 0.9,
            "sam": 0.01,
        },
    )
    assert stages(curve) == [
        "pruned",
        "batch_norm_recalibration",
        "reconstruction",
        *["fine_tuning"] * 2,
        *["from_scratch"] * 2,
    ]
    accuracies = [point["val_accuracy"] for point in curve["points"]]
    assert accuracies[0] < accuracies[1] < accuracies[2] <= curve["best"]["val_accuracy"]
    assert curve["techniques"] == [
        "distill", "multi_task", "regularise", "label_smoothing", "weight_normalisation", "ema", "sam",
    ]  # fmt: skip
    assert curve["heads"]["rotation"] > 0.3
    assert curve["from_scratch"]["stage"] == "from_scratch"
    rows = read_json(tmp_path / "recovery/reconstruction.json")
    assert any(row["error_after"] < row["error_before"] for row in rows if "left" not in row)
    with_heads = load_model(tmp_path / "recovery/with_heads")
    assert [output.shape[-1] for output in with_heads.outputs] == [10, 4]
    # What was put in for the time of training is gone.
    plain = {type(layer).__name__ for _, layer in layers(load_model(tmp_path / "recovered"))}
    assert "Dropout" not in plain


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rewind", "reinitialise"])
def test_other_first_weights_are_not_undone(
    residual: Path,
    digits: Dataset,
    overlay: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    fit = {"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 1e-6}}
    curve = recover(residual, digits, overlay, tmp_path, initialise=name, fit=fit)
    assert stages(curve)[:3] == ["pruned", name, "batch_norm_recalibration"]
    assert [point["outcome"] for point in curve["points"][:2]] == ["replaced", "kept"]
    told = "the recovered model reaches" in capsys.readouterr().err
    assert told == (curve["best"]["val_accuracy"] < curve["points"][0]["val_accuracy"])
    assert curve["best"]["stage"] != "pruned"


def test_fine_tuning_ends_at_the_accuracy_that_was_asked_for(
    residual: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    curve = recover(
        residual,
        digits,
        overlay,
        tmp_path,
        stop_when="accuracy >= parent - 0.2",
        fit={"epochs": 30, "optimizer": ADAM},
    )
    assert stages(curve).count("fine_tuning") < 30
    assert curve["points"][-1]["val_accuracy"] >= curve["parent"]["val_accuracy"] - 0.2


def test_a_goal_that_is_met_already_trains_nothing(
    residual: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    curve = recover(
        residual,
        digits,
        overlay,
        tmp_path,
        stop_when="accuracy >= 0.05",
        distill={"logits": {}},
        control=True,
        fit={"epochs": 1, "optimizer": ADAM},
    )
    assert "fine_tuning" not in stages(curve)
    assert curve["techniques"] == []
    assert "from scratch" in plots.recovery_curve(curve)


@pytest.mark.parametrize(
    ("goal", "wanted"),
    [("accuracy >= parent - 0.01", 0.79), ("accuracy>=parent", 0.8), ("accuracy >= 0.93", 0.93)],
)
def test_goals(goal: str, wanted: float) -> None:
    assert goal_accuracy(goal, 0.8) == pytest.approx(wanted, abs=2e-6)


@pytest.mark.parametrize("share", range(101))
def test_a_goal_is_met_by_the_share_that_it_names(share: int) -> None:
    """Keras gives accuracies in float32, in which 0.93 is less than 0.93."""
    measured, parent = float(np.float32(share / 100)), float(np.float32(1.0))
    assert measured >= goal_accuracy(f"accuracy >= {share / 100}", parent)
    assert measured >= goal_accuracy(f"accuracy >= parent - {(100 - share) / 100}", parent)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"stop_when": "loss < 1"}, "'loss < 1' is not understood; accepted: 'accuracy >= parent - 0.01'"),
        ({"stop_when": "accuracy >= 93"}, "is not understood"),
        ({"stop_when": "accuracy >= 0.9.1"}, "is not understood"),
        ({"initialise": "reinitialise", "reconstruct": {"enabled": True}}, "set reconstruct.enabled: false"),
        ({"fine_tune": False, "distill": {"logits": {}}}, "fine_tune is false; set distill: null"),
        ({"fine_tune": False, "regularise": {"l2": 1e-4}}, "fine_tune is false; remove it"),
        ({"fine_tune": False, "control": True}, "fine_tune is false; set control: false"),
    ],
)
def test_what_does_not_go_together_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RecoverParams.model_validate(params)


def test_a_rate_that_diverges_is_halved_until_it_is_given_up(
    residual: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    fit = {"epochs": 2, "optimizer": {"name": "sgd", "learning_rate": 1e9}}
    with pytest.raises(
        RegrowError, match=r"3 attempts diverged, the last at 0\.25 of the learning rate.*curve\.csv"
    ):
        recover(residual, digits, overlay, tmp_path, fit=fit)
    assert not (tmp_path / "recovered").exists()
    (curve,) = tmp_path.glob(".regrow/checkpoints/recover-*/curve.csv")
    assert "batch_norm_recalibration" in curve.read_text("utf-8")


def test_attempts_share_the_time_budget(
    residual: Path, digits: Dataset, overlay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is what it is, so a first attempt is made to take more than there was."""
    from regrow.training import fitting

    budgets = []

    def diverges(fit: Any, model: Any, data: Any) -> Any:
        budgets.append(fit.settings.time_budget_s)
        time.sleep(0.3)
        raise DivergedError("diverged", best_epoch=None, history=[])

    monkeypatch.setattr(fitting.Fit, "run", diverges)
    with pytest.raises(RegrowError, match=r"2 attempts diverged, .*fit\.time_budget_s leaves no time"):
        recover(residual, digits, overlay, tmp_path, fit={"time_budget_s": 0.5})
    assert budgets[0] == 0.5
    assert 0 < budgets[1] <= 0.2


def test_the_second_attempt_begins_with_the_best_weights_at_half_the_rate(
    residual: Path, digits: Dataset, overlay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which rates diverge depends on the machine, so the first attempt is said to have done so."""
    from regrow.training import fitting

    real, factors, begun = fitting.Fit.run, [], []
    logged: list[int] = []
    monkeypatch.setattr(tracking.Stream, "log", lambda self, metrics, epoch: logged.append(epoch))

    def diverges_once(fit: Any, model: Any, data: Any) -> Any:
        factors.append(fit.rate_factor)
        begun.append(model.get_weights())
        result = real(fit, model, data)
        if len(factors) == 1:
            begun.append(model.get_weights())
            raise DivergedError("diverged", best_epoch=result.best_epoch, history=result.history)
        return result

    monkeypatch.setattr(fitting.Fit, "run", diverges_once)
    curve = recover(residual, digits, overlay, tmp_path)
    assert factors == [1.0, 0.5]
    assert [point.get("attempt", 1) for point in curve["points"] if "epoch" in point] == [1, 1, 2, 2]
    assert logged == [1, 2, 3, 4]
    _, best, second = begun
    for kept, start in zip(best, second, strict=True):
        np.testing.assert_array_equal(kept, start)


def test_heads_are_those_of_the_attempt_whose_model_is_kept(
    residual: Path, digits: Dataset, overlay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regrow.recovery import multi_task_heads
    from regrow.training import fitting

    real, parts, measured = fitting.Fit.run, [], []

    def second_is_worse(fit: Any, model: Any, data: Any) -> Any:
        parts.append(fit.parts[0])
        told = fit.on_epoch
        if len(parts) == 2:
            worse = {"val_accuracy": 0.0, "val_loss": 9.0}
            fit = replace(fit, on_epoch=lambda epoch, entry: told(epoch, entry | worse))
        result = real(fit, model, data)
        if len(parts) == 1:
            raise DivergedError("diverged", best_epoch=result.best_epoch, history=result.history)
        return result

    def accuracies(part: Any, *given: Any) -> dict[str, float]:
        measured.append(part)
        return head_accuracies(part, *given)

    head_accuracies = multi_task_heads.head_accuracies
    monkeypatch.setattr(fitting.Fit, "run", second_is_worse)
    monkeypatch.setattr(multi_task_heads, "head_accuracies", accuracies)
    curve = recover(residual, digits, overlay, tmp_path, multi_task={"tasks": [{"kind": "rotation"}]})
    assert curve["best"].get("attempt", 1) == 1
    assert measured == [parts[0]]


def test_attempts_share_the_rate_that_a_range_test_has_found(
    residual: Path, digits: Dataset, overlay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test of the best weights so far might find another rate, of which half is no lower than the first."""
    from regrow.training import fitting

    real, peaks = fitting._run, []

    def diverges_once(session: Any, watch: Any, settings: Any, **options: Any) -> None:
        real(session, watch, settings, **options)
        peaks.append(float(np.max(session.rates)))
        if len(peaks) == 1:
            raise DivergedError("diverged", best_epoch=watch.selection.chosen.epoch, history=watch.history)

    monkeypatch.setattr(fitting, "_run", diverges_once)
    fit = {"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 7.0}, "range_test": {"steps": 20}}
    curve = recover(residual, digits, overlay, tmp_path, fit=fit)
    found = read_json(tmp_path / "recovery/range_test.json")["rate"]
    assert peaks == pytest.approx([found, found / 2])
    assert curve["fine_tuning"]["by_range_test"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"fit": {"epochs": 7, "optimizer": ADAM, "schedule": "rewind"}},
            "repeats the last 7 epochs of the parent's schedule, but that has 6",
        ),
        (
            {"distill": {"features": {"layers": ["stage9*"]}}},
            r"recover\.distill\.features\.layers: 'stage9\*' matches",
        ),
        (
            {"distill": {"attention": {"layers": ["probabilities"]}}},
            "'probabilities' gives .* no spatial positions",
        ),
        ({"multi_task": {"tasks": [{"kind": "label", "name": "colour"}]}}, "has no auxiliary label 'colour'"),
    ],
)
def test_what_fine_tuning_cannot_do_is_refused_before_any_work(
    residual: Path,
    digits: Dataset,
    overlay: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    params: dict[str, Any],
    message: str,
) -> None:
    from regrow.training import fitting

    def works(*args: Any) -> dict[str, float]:
        raise AssertionError

    monkeypatch.setattr(fitting, "validation_metrics", works)
    with pytest.raises(RegrowError, match=message):
        recover(residual, digits, overlay, tmp_path, **params)


def test_a_control_that_diverges_is_told_and_costs_nothing_else(
    residual: Path, digits: Dataset, overlay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regrow.training import fitting

    real, phases = fitting.Fit.run, []

    def second_diverges(fit: Any, model: Any, data: Any) -> Any:
        phases.append(fit.checkpoints.name)
        result = real(fit, model, data)
        if len(phases) == 2:
            raise DivergedError("diverged", best_epoch=result.best_epoch, history=result.history)
        return result

    monkeypatch.setattr(fitting.Fit, "run", second_diverges)
    fit = {"epochs": 1, "optimizer": ADAM}
    curve = recover(residual, digits, overlay, tmp_path, control=True, fit=fit)
    assert phases == ["fine_tuning", "from_scratch"]
    assert curve["from_scratch"]["stage"] == "from_scratch"
    assert curve["best"]["stage"] == "fine_tuning"


KILLED = """
    import os, signal
    from regrow.training import watching

    save = watching.Watch._save

    def killed(self, epoch):
        save(self, epoch)
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    if {kill}:
        watching.Watch._save = killed
    from pathlib import Path
    from regrow.steps.execution import execute
    from regrow.steps.recover import SPEC
    params = SPEC.params.model_validate({params!r})
    inputs = {{name: Path(path) for name, path in {inputs!r}.items()}}
    target = Path({target!r})
    execute(
        SPEC, params, inputs=inputs,
        outputs={{name: target / name for name in ("recovered", "recovery")}}, statement=target / "statement",
    )
"""


@pytest.mark.slow
def test_a_killed_recovery_goes_on_from_its_last_epoch_to_the_same_model(
    residual: Path, digits: Dataset, overlay: Path, tmp_path: Path
) -> None:
    params = {
        "distill": {"logits": {}, "features": {}},
        "regularise": {"dropout": 0.2},
        "fit": {"epochs": 4, "optimizer": ADAM, "ema": 0.9, "schedule": "one_cycle"},
    }
    inputs = {name: str(path) for name, path in ports(residual, digits, overlay).items()}

    def run(target: Path, *, kill: bool) -> subprocess.CompletedProcess[str]:
        code = textwrap.dedent(KILLED).format(params=params, inputs=inputs, target=str(target), kill=kill)
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "REGROW_EVENTS": str(tmp_path / f"{target.name}-{kill}.events")},
            capture_output=True,
            text=True,
            check=False,
        )

    assert run(tmp_path / "broken", kill=True).returncode == -signal.SIGKILL
    assert not (tmp_path / "broken/recovered").exists()
    done = run(tmp_path / "broken", kill=False)
    assert done.returncode == 0, done.stderr[-2000:]
    events = (tmp_path / "broken-False.events").read_text("utf-8")
    assert "epoch 2/4" not in events
    assert "epoch 3/4" in events
    assert run(tmp_path / "whole", kill=False).returncode == 0
    for name in ("recovered", "recovery"):
        assert tree_digest(tmp_path / "broken" / name) == tree_digest(tmp_path / "whole" / name)
