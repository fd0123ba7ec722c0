"""`regrow.load`, `inspect` and `prune` on live models and files."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import regrow
from regrow.model_files.files import load_file
from regrow.pruning.pruning import Pruning
from regrow.showing.tables import as_html


def test_a_share_of_the_macs_on_a_copy(parent: Any, digit_arrays: dict[str, Any]) -> None:
    pruned = regrow.prune(parent, macs=0.5)
    assert pruned.parent is parent
    before, after = regrow.inspect(parent), regrow.inspect(pruned)
    assert after.macs == pytest.approx(before.macs / 2, rel=0.03)
    assert (pruned.report.before.bytes, pruned.report.after.bytes) == (
        4 * before.parameters,
        4 * after.parameters,
    )
    pruned.pruning.verify(pruned.model)
    # It is compiled as the parent is, so that it can be evaluated and trained on at once.
    loss, accuracy = pruned.model.evaluate(digit_arrays["x_test"], digit_arrays["y_test"], verbose=0)
    assert np.isfinite(loss) and accuracy > 0.3
    assert pruned.model.optimizer is not parent.optimizer
    pruned.model.fit(digit_arrays["x_train"][:64], digit_arrays["y_train"][:64], verbose=0)


@pytest.mark.parametrize(
    ("arguments", "sparsity"),
    [({"sparsity": 0.8}, 0.8), ({"n_m": (2, 4), "skip": "conv"}, 0.47), ({"n_m": (1, 4)}, 0.71)],
)
def test_zeros_are_set_in_a_copy(parent: Any, arguments: dict[str, Any], sparsity: float) -> None:
    pruned = regrow.prune(parent, **arguments)
    assert regrow.inspect(pruned).sparsity == pytest.approx(sparsity, abs=0.02)
    assert regrow.inspect(parent).sparsity < 0.01
    assert [weight.shape for weight in pruned.model.weights] == [weight.shape for weight in parent.weights]


def test_one_pruning_after_the_other_is_one_of_the_parent(parent: Any) -> None:
    smaller = regrow.prune(parent, parameters=0.5)
    sparse = regrow.prune(smaller, sparsity=0.6)
    assert sparse.parent is parent
    assert sparse.pruning.surgery.kept == smaller.pruning.surgery.kept
    assert sparse.report.before.parameters == parent.count_params()
    sparse.pruning.verify(sparse.model)
    again = regrow.prune(sparse, macs=0.6)
    again.pruning.verify(again.model)
    assert regrow.inspect(again).sparsity > 0.3, "zeros that were set stay zeros"
    assert regrow.inspect(smaller).sparsity < 0.01, "what was given is not changed"


def test_residual_blocks(small_model: Any) -> None:
    pruned = regrow.prune(small_model, blocks=1)
    assert "conv2" not in [layer.name for layer in pruned.model.layers]
    assert "conv2" in [layer.name for layer in small_model.layers]
    assert not pruned.model.optimizer, "a model that is not compiled stays so"


def test_a_dataset_directory_for_what_needs_data(small_model: Any, digits: Any) -> None:
    weights = small_model.get_weights()
    pruned = regrow.prune(
        small_model, macs=0.6, criterion="taylor", rounds=2, between={"epochs": 1}, data=digits.path
    )
    assert regrow.inspect(pruned).macs == pytest.approx(0.6 * regrow.inspect(small_model).macs, rel=0.03)
    assert len(pruned.report.details["channels"]["rounds"]) == 2
    assert all(np.array_equal(old, new) for old, new in zip(weights, small_model.get_weights(), strict=True))


def test_saved_as_the_step_saves_it(parent: Any, tmp_path: Path) -> None:
    pruned = regrow.prune(parent, sparsity=0.8)
    written = pruned.save(tmp_path / "out")
    assert {path.name for path in written.iterdir()} == {"model.keras", "pruning", "report.json"}
    Pruning.read(written / "pruning").verify(load_file(written))
    assert pruned.save(str(written)) == written, "an earlier result is replaced"
    (written / "notes.txt").write_text("mine")
    with pytest.raises(regrow.RegrowError, match=r"out: holds 'notes\.txt', which is no such result"):
        pruned.save(written)
    assert (written / "notes.txt").read_text() == "mine"


def test_results_show_themselves(parent: Any) -> None:
    pruned = regrow.prune(parent, macs=0.5)
    for result in (pruned, pruned.report, regrow.inspect(parent)):
        assert str(result) == repr(result)
        assert "<table>" in result._repr_html_()
        assert max(map(len, str(result).splitlines())) <= 110
    assert "│ MACs             │  7,648 │" in str(pruned)
    assert pruned.frame().loc["macs", "before"] == 7648
    found = regrow.inspect(parent)
    assert found.frame().loc["hidden", "parameters"] == 2320
    assert found.groups_frame().loc["conv", "taken_in_by"] == ("hidden",)
    assert str(found).splitlines()[0] == "digits"


def test_a_name_from_outside_is_text_in_a_notebook() -> None:
    table = Table("a<b>", title="<i>", caption="<u>")
    table.add_row("<script>")
    shown = as_html(Group(table, Text("[red]<p>"), Padding(Text("<a>"), (0, 0, 0, 2))))
    assert not {"<b>", "<i>", "<u>", "<script>", "<p>", "<a>"} & set(re.findall("<[^>]*>", shown))
    assert "&lt;script&gt;" in shown and "[red]&lt;p&gt;" in shown


def test_a_target_that_cannot_be_met_names_the_argument(parent: Any) -> None:
    with pytest.raises(regrow.RegrowError, match=r"^macs: 0\.001 cannot be reached; with floor 0\.1"):
        regrow.prune(parent, macs=0.001)
    with pytest.raises(regrow.RegrowError, match=r"^skip: 'cnov' matches no layer"):
        regrow.prune(parent, macs=0.5, skip="cnov")


def subclassed() -> Any:
    import tf_keras

    class Subclassed(tf_keras.Model):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs

    return Subclassed(name="mine")


def not_built() -> Any:
    import tf_keras

    return tf_keras.Sequential([tf_keras.layers.Dense(3)], name="new")


@pytest.mark.parametrize(
    "function", [regrow.inspect, regrow.load, lambda model: regrow.prune(model, macs=0.5)]
)
@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (0.5, "got a float; accepted: a Keras model, the path of a model file, or a result of"),
        (None, "got None; accepted: a Keras model"),
        ([1], "got a list; accepted: a Keras model"),
        ("missing.keras", "missing.keras: no such model file"),
        (subclassed, "model 'mine': is a Subclassed, a subclassed model"),
        (not_built, "model 'new': has not been built"),
    ],
)
def test_what_is_no_model_is_named(function: Any, model: Any, sentence: str) -> None:
    with pytest.raises(regrow.RegrowError) as caught:
        function(model() if callable(model) else model)
    assert sentence in str(caught.value)


def test_a_live_model_is_taken_as_it_is_and_a_file_as_it_was_saved(
    parent: Any, digits_file: Path, tmp_path: Path
) -> None:
    assert regrow.load(parent) is parent
    parent.save(tmp_path / "old.h5")
    for source in (digits_file, str(tmp_path / "old.h5")):
        loaded = regrow.load(source)
        assert all(
            np.array_equal(*pair) for pair in zip(loaded.get_weights(), parent.get_weights(), strict=True)
        )


def test_code_in_a_file_is_refused_in_words_of_python(tmp_path: Path) -> None:
    import tf_keras

    model = tf_keras.Sequential([tf_keras.layers.Input((3,)), tf_keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "code.keras")
    with pytest.raises(regrow.RegrowError, match=r"load it with regrow\.load\(…, trust=True\)$"):
        regrow.load(tmp_path / "code.keras")
    assert regrow.load(tmp_path / "code.keras", trust=True).predict([[0, 1, 2]], verbose=0).tolist() == [
        [1, 2, 3]
    ]


def test_wrappers_of_tfmot_come_off() -> None:
    import tf_keras
    from tensorflow_model_optimization.sparsity import keras as tfmot

    plain = tf_keras.Sequential([tf_keras.layers.Input((4,)), tf_keras.layers.Dense(3)])
    wrapped = tfmot.prune_low_magnitude(plain, pruning_schedule=tfmot.ConstantSparsity(0.5, 0))
    assert regrow.inspect(wrapped).parameters == 15 < wrapped.count_params()


def test_training_on_the_way_leaves_the_users_random_numbers_alone(
    parent: Any, digit_arrays: dict[str, Any]
) -> None:
    import random

    from tensorflow.python.framework import config

    data = digit_arrays["x_train"][:200], digit_arrays["y_train"][:200]
    random.seed(3)
    expected = random.random()
    random.seed(3)
    was_fixed = config.is_op_determinism_enabled()
    regrow.prune(parent, macs=0.6, rounds=2, between={"epochs": 1}, data=data)
    assert random.random() == expected
    assert config.is_op_determinism_enabled() == was_fixed


def test_a_criterion_that_fails_or_changes_the_model_is_told(parent: Any) -> None:
    from regrow.pruning.criteria.criterion import REGISTERED

    @regrow.criterion("of_ones_own")
    def failing(evidence: Any) -> Any:
        evidence.model.set_weights([array * 0 for array in evidence.model.get_weights()])
        raise KeyError("boom")

    try:
        with pytest.raises(
            regrow.RegrowError, match="criterion 'of_ones_own': raised KeyError: 'boom'"
        ) as caught:
            regrow.prune(parent, macs=0.5, criterion="of_ones_own")
        assert isinstance(caught.value.__cause__, KeyError)
    finally:
        del REGISTERED["of_ones_own"]  # and `parent` sees that its weights are what they were


def test_numbers_of_numpy_are_numbers(parent: Any) -> None:
    pruned = regrow.prune(parent, n_m=(np.int64(2), np.uint8(4)))  # type: ignore[arg-type]
    mask = pruned.pruning.masks["hidden/kernel"]
    assert (mask.reshape(-1, 4, mask.shape[1]).sum(axis=1) == 2).all()


@pytest.mark.parametrize("given", [{"validation": ([], [])}, {"loss": "mse"}])
def test_what_belongs_to_data_is_refused_without_it(parent: Any, given: dict[str, Any]) -> None:
    with pytest.raises(
        regrow.RegrowError, match=f"{next(iter(given))}: is only used with data, which is not given"
    ):
        regrow.prune(parent, macs=0.5, **given)


def test_more_zeros_than_asked_for_are_told(parent: Any, capfd: pytest.CaptureFixture[str]) -> None:
    sparse = regrow.prune(parent, sparsity=0.8)
    assert "were zero before" not in "".join(capfd.readouterr())
    again = regrow.prune(sparse, sparsity=0.3)
    assert regrow.inspect(again).sparsity == pytest.approx(0.8, abs=0.01)
    said = " ".join("".join(capfd.readouterr()).split())
    assert (
        "80.0% of the kernel weights were zero before, more than the 30.0% asked for; they stay zero" in said
    )
