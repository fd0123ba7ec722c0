from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.config.validation import validate
from regrow.errors import RegrowError
from regrow.storage.artifacts import write_json
from regrow.training.optimizers import RateTable
from regrow.training.parent import ParentTraining
from regrow.training.schedules import SCHEDULES, adaptive_peak, learning_rates
from regrow.training.settings import OF_RECOVERY, FitSettings, Optimizer, ScheduleName


def rates(
    schedule: str,
    *,
    epochs: int = 10,
    steps: int = 5,
    warmup: float | None = None,
    parent: ParentTraining | None = None,
    **more: Any,
) -> np.ndarray:
    fit = FitSettings(
        schedule=schedule, epochs=epochs, warmup=warmup, optimizer=Optimizer(learning_rate=0.1), **more
    )
    return learning_rates(fit, steps_per_epoch=steps, parent=parent)


def parent(*, norm_drop: float = 1.0, trained: int | None = None, **fit: Any) -> ParentTraining:
    chosen = FitSettings.model_validate(fit)
    return ParentTraining(settings=chosen, epochs=trained or chosen.epochs, norm_drop=norm_drop)


def test_every_schedule_but_the_replayed_one_has_a_function() -> None:
    assert set(get_args(ScheduleName)) == {*SCHEDULES, "rewind"}


def test_constant() -> None:
    np.testing.assert_allclose(rates("constant"), 0.1)


def test_cosine_starts_at_the_peak_and_passes_half_of_it_in_the_middle() -> None:
    found = rates("cosine")
    assert found[0] == pytest.approx(0.1)
    assert found[25] == pytest.approx(0.05)
    assert (np.diff(found) < 0).all()


def test_one_cycle_rises_over_a_fifth_of_the_steps() -> None:
    found = rates("one_cycle")
    assert found[0] == pytest.approx(0.004)
    assert found.argmax() == 10
    assert found[10] == pytest.approx(0.1)
    assert found[-1] < 0.001


def test_inverse_epoch_is_constant_within_an_epoch() -> None:
    np.testing.assert_allclose(rates("inverse_epoch")[::5], 0.1 / np.arange(1, 11), rtol=1e-6)
    np.testing.assert_allclose(rates("inverse_epoch")[5:10], 0.05)


def test_linear_decay_with_warmup() -> None:
    found = rates("linear_decay", warmup=0.1)
    assert found[0] == pytest.approx(0.004)
    assert found[5] == pytest.approx(0.1)
    assert found[-1] == pytest.approx(0.1 / 45, rel=1e-4)


def test_step_falls_at_its_milestones_which_warm_up_does_not_move() -> None:
    np.testing.assert_allclose(rates("step", steps=2), [0.1] * 10 + [0.01] * 5 + [0.001] * 5, rtol=1e-6)
    given = rates("step", steps=2, milestones=[0.2, 0.6], factor=0.5, warmup=0.1)
    np.testing.assert_allclose(given, [0.004, 0.052, 0.1, 0.1] + [0.05] * 8 + [0.025] * 8, rtol=1e-6)


def test_rewind_repeats_the_last_epochs_of_the_parent_s_schedule() -> None:
    parents = {"schedule": "one_cycle", "epochs": 12, "optimizer": {"learning_rate": 0.02}}
    whole = learning_rates(FitSettings.model_validate(parents), steps_per_epoch=5)
    for epochs in (1, 4, 12):
        found = rates("rewind", epochs=epochs, parent=parent(**parents, trained=7))
        np.testing.assert_array_equal(found, whole[-epochs * 5 :])


def test_rewind_keeps_the_rate_of_each_epoch_when_the_batch_size_differs() -> None:
    coarse, fine = (
        rates("rewind", epochs=4, steps=steps, parent=parent(schedule="cosine", epochs=9))
        for steps in (5, 10)
    )
    np.testing.assert_array_equal(coarse, fine[::2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ParentTraining(settings=None, epochs=0),
            "an imported parent has none; accepted: another schedule",
        ),
        (
            parent(epochs=9),
            "the last 10 epochs of the parent's schedule, but that has 9; accepted: fit.epochs up to 9",
        ),
        (parent(optimizer={"name": "sgd"}), "which were those of sgd, but fit.optimizer.name is 'adam'"),
    ],
)
def test_rewind_says_why_it_cannot(given: ParentTraining, message: str) -> None:
    with pytest.raises(RegrowError, match=message):
        rates("rewind", parent=given)


@pytest.mark.parametrize(
    ("norm_drop", "epochs", "share"),
    [
        (0.3, 10, 0.3),  # little time, little taken: the larger decides
        (0.1, 10, 0.25),
        (0.3, 30, 0.75),
        (0.3, 80, 1.0),  # never above the parent's peak
    ],
)
def test_the_adaptive_peak_is_zimmer_s(norm_drop: float, epochs: int, share: float) -> None:
    before = parent(norm_drop=norm_drop, epochs=50, trained=40, optimizer={"learning_rate": 0.02})
    found = rates("adaptive_linear_decay", epochs=epochs, steps=10, parent=before)
    assert found.max() == pytest.approx(0.02 * share)
    assert found.argmax() == epochs  # a tenth of the steps is warm-up
    assert found[0] == pytest.approx(0.02 * share * 0.04)
    assert found[-1] < found.max() / epochs


def test_a_peak_that_says_nothing_is_not_taken() -> None:
    fit = FitSettings(schedule="adaptive_linear_decay", epochs=5, optimizer=Optimizer(learning_rate=0.1))
    imported = ParentTraining(settings=None, epochs=0, norm_drop=0.4)
    assert adaptive_peak(fit, imported) == pytest.approx(0.04)
    other = parent(norm_drop=0.4, epochs=50, optimizer={"name": "sgd", "learning_rate": 5.0})
    assert adaptive_peak(fit, other) == pytest.approx(0.04)


@pytest.mark.parametrize("schedule", OF_RECOVERY)
def test_a_forgotten_parent_is_not_passed_over(schedule: str) -> None:
    with pytest.raises(ValueError, match="needs to know how the parent was trained"):
        rates(schedule)


def test_a_parent_s_training_is_read_from_what_train_wrote(tmp_path: Path) -> None:
    fit = FitSettings(epochs=7, schedule="step", milestones=(0.5,))
    write_json(tmp_path / "settings.json", fit.model_dump(mode="json"))
    write_json(tmp_path / "history.json", [{"epoch": 1}, {"epoch": 2}])
    found = ParentTraining.read(tmp_path, norm_drop=0.5)
    assert found == ParentTraining(settings=fit, epochs=2, norm_drop=0.5)
    write_json(tmp_path / "range_test.json", {"rate": None, "curve": []})
    assert ParentTraining.read(tmp_path).settings == fit
    write_json(tmp_path / "range_test.json", {"rate": 0.25, "curve": []})
    write_json(tmp_path / "planned.json", {"epochs": 4})
    again = rates("rewind", epochs=2, parent=ParentTraining.read(tmp_path))
    np.testing.assert_allclose([again[0], again[-1]], [0.025, 0.025], rtol=1e-6)
    assert ParentTraining.read(tmp_path).settings == fit.with_peak(0.25).model_copy(update={"epochs": 4})
    write_json(tmp_path / "settings.json", {"epochs": 0})
    with pytest.raises(RegrowError, match=r"settings\.json: epochs: .*; train again"):
        ParentTraining.read(tmp_path)
    write_json(tmp_path / "imported.json", {})
    assert ParentTraining.read(tmp_path).settings is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"milestones": [0.5]}, "milestones applies only to schedule 'step', but schedule is 'cosine'"),
        (
            {"schedule": "rewind", "factor": 0.5},
            "factor applies only to schedule 'step', but schedule is 'rewind'",
        ),
        ({"schedule": "step", "milestones": [0.5, 0.5]}, "milestones must ascend, but are 0.5, 0.5"),
        ({"schedule": "step", "milestones": [1.5]}, "less than 1"),
        ({"schedule": "step", "milestones": []}, "milestones must not be empty"),
        ({"schedule": "rewind", "warmup": 0.1}, "set warmup: null"),
        ({"schedule": "rewind", "range_test": {}}, "uses the parent's; set range_test: null"),
        ({"schedule": "adaptive_linear_decay", "range_test": {}}, "uses the parent's; set range_test: null"),
        ({"epochs": 3, "plain_epochs": 4}, "plain_epochs is 4, but there are 3 epochs in total"),
        ({"range_test": {"low": 1, "high": 0.1}}, "low is 1; it must be below high, which is 0.1"),
    ],
)
def test_impossible_schedules_are_one_sentence(document: dict[str, Any], message: str) -> None:
    with pytest.raises(RegrowError) as caught:
        validate(FitSettings, document, where="fit")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("schedule", OF_RECOVERY)
def test_what_looks_back_at_a_parent_is_for_recovery_alone(schedule: str) -> None:
    from regrow.pruning.parameters import PruneParams
    from regrow.steps.recover import RecoverParams
    from regrow.steps.train import TrainParams

    chosen = {"schedule": schedule}
    assert RecoverParams.model_validate({"fit": chosen}).fit.schedule == schedule
    elsewhere: list[tuple[Any, dict[str, Any]]] = [
        (TrainParams, {"fit": chosen}),
        (PruneParams, {"gradual": {"fit": chosen}}),
        (PruneParams, {"between": chosen}),
        (PruneParams, {"sparse_training": {"fit": chosen}}),
    ]
    for model, document in elsewhere:
        with pytest.raises(
            RegrowError, match=f"schedule '{schedule}' depends on the parent.* only in recover.fit"
        ):
            validate(model, document, where="section")


def test_a_range_test_s_peak_takes_the_place_of_the_one_given() -> None:
    fit = FitSettings.model_validate({"range_test": {}, "optimizer": {"name": "sgd", "momentum": 0.9}})
    found = fit.with_peak(0.03)
    assert (found.optimizer.learning_rate, found.optimizer.momentum, found.range_test) == (0.03, 0.9, None)


@given(
    schedule=st.sampled_from(sorted({*SCHEDULES} - {*OF_RECOVERY})),
    epochs=st.integers(1, 20),
    steps=st.integers(1, 50),
    warmup=st.none() | st.floats(0, 0.99),
)
@settings(max_examples=100, deadline=None)
def test_every_rate_is_positive_and_none_is_above_the_peak(
    schedule: str, epochs: int, steps: int, warmup: float | None
) -> None:
    found = rates(schedule, epochs=epochs, steps=steps, warmup=warmup)
    assert found.shape == (epochs * steps,)
    assert (found > 0).all()
    assert (found <= np.float32(0.1)).all()


@pytest.mark.tensorflow
def test_keras_reads_the_table_and_stays_at_its_end() -> None:
    schedule = RateTable(np.array([0.3, 0.2, 0.1], np.float32)).schedule
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 1, 2, 9)], [0.3, 0.2, 0.1, 0.1])


def test_impossible_optimisers_are_refused() -> None:
    with pytest.raises(ValueError, match="apply only to sgd"):
        Optimizer(name="adam", momentum=0.9)
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        Optimizer(name="sgd", nesterov=True)
