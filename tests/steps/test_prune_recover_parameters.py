"""Parameters of `prune` and `recover`, and the two together on a model with batch normalisation."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from regrow.config.sections import canonical_json
from regrow.dataset.directory import Dataset
from regrow.model_files.files import load_model, save_model
from regrow.pruning.pruning import Pruning
from regrow.steps import prune, recover
from regrow.steps.execution import execute
from regrow.steps.prune import PruneParams
from regrow.steps.recover import RecoverParams
from regrow.storage.artifacts import read_json


def test_partial_settings_keep_the_step_s_own_defaults() -> None:
    fit = RecoverParams.model_validate({"seed": 7, "fit": {"batch_size": 32}}).fit
    assert (fit.epochs, fit.schedule, fit.batch_size, fit.seed) == (15, "linear_decay", 32, 7)
    assert RecoverParams.model_validate({"seed": 7, "fit": {"seed": 1}}).fit.seed == 1
    gradual = PruneParams.model_validate({"seed": 3, "gradual": {"fit": {"batch_size": 32}}}).gradual
    assert (gradual.fit.epochs, gradual.fit.early_stopping, gradual.fit.seed) == (6, None, 3)


@pytest.mark.parametrize("model", [PruneParams, RecoverParams])
def test_parameters_survive_their_canonical_json(model: Any) -> None:
    params = model.model_validate({"seed": 5})
    assert model.model_validate_json(canonical_json(params)) == params


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n": 4, "m": 4}, "n must be below m"),
        ({"method": "n_m", "schedule": "gradual"}, "applies only to method 'magnitude'"),
        ({"gradual": {"begin": 0.7}}, "must be below end"),
        ({"gradual": {"fit": {"early_stopping": {}}}}, "early_stopping must be null"),
        ({"gradual": {"fit": {"time_budget_s": 60}}}, "time_budget_s must be null"),
        ({"schedule": "gradual", "gradual": {"initial_sparsity": 0.8}}, "must be below sparsity"),
        ({"sparsity": 1}, "less than 1"),
    ],
)
def test_impossible_combinations_say_why(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PruneParams.model_validate(params)


def test_recalibration_is_on_the_curve_and_the_result_loads_without_regrow(
    small_model: Any,
    trained: Path,
    digits: Dataset,
    overlay: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGROW_TRACKING", "off")
    save_model(small_model, tmp_path / "parent")
    given = {"parent": tmp_path / "parent", "training": trained / "training", "dataset": digits.path}
    given["overlay"] = overlay
    for spec, params in (
        (prune.SPEC, PruneParams.model_validate({"method": "magnitude", "skip": ["head"]})),
        (
            recover.SPEC,
            RecoverParams.model_validate(
                {"recalibrate": {"batches": 4, "batch_size": 64}, "fit": {"epochs": 2}}
            ),
        ),
    ):
        outputs = {item.name: tmp_path / item.name for item in spec.outputs}
        inputs = {item.name: given[item.name] for item in spec.inputs}
        result = execute(
            spec, params, inputs=inputs, outputs=outputs, statement=tmp_path / f"{spec.name}-made"
        )  # type: ignore[arg-type]
        given |= outputs
    stages = [point["stage"] for point in read_json(tmp_path / "recovery/curve.json")["points"]]
    assert stages == ["pruned", "batch_norm_recalibration", "fine_tuning", "fine_tuning"]
    assert set(result.statement.figures) == {"val_accuracy_before", "val_accuracy", "epochs"}
    Pruning.read(tmp_path / "pruning").verify(load_model(tmp_path / "recovered"))
    rows = read_json(tmp_path / "pruning_report/report.json")["layers"]
    assert [row["name"] for row in rows if row.get("left_dense") == "skipped"] == ["head/kernel"]
    code = (
        "import sys; sys.modules['regrow'] = sys.modules['tensorflow_model_optimization'] = None;"
        "import tf_keras; tf_keras.models.load_model(sys.argv[1], compile=False)"
    )
    for name in ("pruned", "recovered"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name / "model.keras")], check=True)
