from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from regrow.augmentation.dataset import EXTRA, AugmentedDataset, training_arrays
from regrow.augmentation.policy import Policy
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.pruning.channels import prune_channels
from regrow.pruning.targets import ChannelOptions, Target
from regrow.recovery.distillation import Distillation, distillation
from regrow.recovery.distillation_options import Distill
from regrow.recovery.teacher import ATTENTION, FEATURES, LOGITS
from regrow.storage.artifacts import write_json
from regrow.training.parts import BatchCall

pytestmark = pytest.mark.tensorflow
ALL = {"logits": {}, "features": {}, "attention": {}}
ADDITION = "add"


@pytest.fixture
def parent(small_model: Any) -> Any:
    """`small_model` with a known name for its addition, and statistics that are not those of a fresh model."""
    from tf_keras import Model

    from regrow.training.recalibration import recalibrate

    for layer in small_model.layers:
        if type(layer).__name__ == "Add":
            layer._name = ADDITION
    model = Model(small_model.inputs, small_model.outputs)
    recalibrate(model, np.random.default_rng(0).integers(0, 17, (64, 8, 8, 1)), batch_size=32)
    return model


@pytest.fixture
def narrower(parent: Any) -> Any:
    return prune_channels(parent, ChannelOptions(scope="per_layer"), target=Target(macs=0.4)).model


@pytest.fixture
def online(tmp_path: Path) -> Path:
    policy = {"mode": "online", "operations": [{"name": "noise"}], "classes": 10, "value_range": (0, 16)}
    write_json(tmp_path / "policy.json", Policy.model_validate(policy).model_dump(mode="json"))
    return tmp_path


def part_of(
    options: dict[str, Any],
    student: Any,
    parent: Any,
    dataset: Dataset,
    overlay: Path | None = None,
    **more: Any,
) -> Distillation:
    part = distillation(
        Distill.model_validate(options),
        student=student,
        parent=parent,
        data=AugmentedDataset(dataset, overlay),
        **more,
    )
    part.build(None)
    return part


def called(
    part: Distillation, student: Any, x: Any, *, extra: Any = None, training: bool = False
) -> BatchCall:
    """What the learner gives a part, in inference mode unless said otherwise."""
    import tf_keras

    tapped = tf_keras.Model(student.inputs, [student.output, *part.taps(student)])
    outputs = tapped(x, training=training)
    predictions, *taps = outputs if isinstance(outputs, list) else [outputs]
    return BatchCall(
        x=x, y=None, predictions=predictions, taps=taps, extra=extra or {}, forward=lambda _: ((), ())
    )


def batch(dataset: Dataset, size: int = 16) -> Any:
    import tensorflow as tf

    return tf.constant(dataset.features("train")[:size].astype(np.float32))


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(
    parent: Any, digits: Dataset, online: Path
) -> None:
    part = part_of(ALL, parent, parent, digits, overlay=online)
    terms = part.terms(called(part, parent, batch(digits)))
    assert set(terms) == {"logits", "features", "attention"}
    for term in terms.values():
        assert float(term) == pytest.approx(0, abs=1e-6)
    assert part.variables == []
    # In training mode the student has its batch's statistics, the teacher those that it ends with.
    terms = part.terms(called(part, parent, batch(digits), training=True))
    assert all(float(term) > 1e-4 for term in terms.values())


def test_terms_are_weighted_and_switched_one_by_one(
    parent: Any, narrower: Any, digits: Dataset, overlay: Path
) -> None:
    x = batch(digits)

    def terms(options: dict[str, Any]) -> tuple[dict[str, float], float]:
        part = part_of(options, narrower, parent, digits, overlay=overlay, memory=0)
        found = part.terms(called(part, narrower, x))
        return {name: float(term) for name, term in found.items()}, part.task_weight

    whole, weight = terms(ALL)
    assert weight == pytest.approx(0.1)
    for name in ALL:
        alone, weight = terms({name: {}})
        assert alone == {name: pytest.approx(whole[name], rel=1e-5)}
        assert weight == pytest.approx(0.1 if name == "logits" else 1.0)
    halves, _ = terms({"features": {"weight": 0.5}, "attention": {"weight": 5}, "logits": {"alpha": 0.45}})
    for name, value in halves.items():
        assert value == pytest.approx(whole[name] / 2, rel=1e-5)
    assert terms({"logits": {"temperature": 1}})[0]["logits"] != pytest.approx(whole["logits"], rel=1e-3)


def test_the_logit_term_is_that_of_the_models_probabilities(
    parent: Any, narrower: Any, digits: Dataset, overlay: Path
) -> None:
    from scipy.special import softmax
    from scipy.stats import entropy

    part = part_of(
        {"logits": {"temperature": 2, "alpha": 0.7}}, narrower, parent, digits, overlay=overlay, memory=0
    )
    x = batch(digits)
    theirs, own = (softmax(np.log(model(x, training=False)) / 2, axis=1) for model in (parent, narrower))
    wanted = 0.7 * 4 * np.mean(entropy(theirs, own, axis=1))
    assert float(part.terms(called(part, narrower, x))["logits"]) == pytest.approx(wanted, rel=1e-4)


def test_gradients_reach_student_and_adapters_and_not_the_teacher(
    parent: Any, narrower: Any, digits: Dataset, online: Path
) -> None:
    import tensorflow as tf

    before = parent.get_weights()
    part = part_of(ALL, narrower, parent, digits, overlay=online)
    with tf.GradientTape() as tape:
        loss = tf.add_n(list(part.terms(called(part, narrower, batch(digits), training=True)).values()))
    own, adapters, theirs = tape.gradient(
        loss, (narrower.trainable_variables, part.variables, parent.trainable_variables)
    )
    assert all(gradient is not None and np.abs(gradient).max() > 0 for gradient in own)
    assert all(gradient is not None for gradient in adapters)
    assert all(gradient is None for gradient in theirs)
    for old, new in zip(before, parent.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)  # moving statistics too


def test_adapters_go_from_the_kept_channels_to_the_parents(
    parent: Any, narrower: Any, digits: Dataset, overlay: Path
) -> None:
    kept = narrower.get_layer("conv2").filters
    assert kept < 8
    options = {"features": {"layers": [ADDITION, "hidden", "re_lu*"]}}
    part = part_of(options, narrower, parent, digits, overlay=overlay, memory=0)
    shapes = [tuple(variable.shape) for variable in part.variables]
    hidden = narrower.get_layer("hidden").units
    assert shapes == [(kept, 8), (8,)] * 2 + [(hidden, 16), (16,)]
    assert all(variable.trainable for variable in part.variables)


def test_adapters_start_at_the_least_squares_map(
    parent: Any, narrower: Any, digits: Dataset, overlay: Path
) -> None:
    import tensorflow as tf
    import tf_keras

    part = part_of({"features": {}}, narrower, parent, digits, overlay=overlay, memory=0)
    own, theirs = (
        tf_keras.Model(model.inputs, model.get_layer(ADDITION).output)(
            digits.calibration(256).astype(np.float32), training=False
        )
        for model in (narrower, parent)
    )
    left = np.reshape(own, (-1, own.shape[-1]))
    left, right = np.c_[left, np.ones(len(left))], np.reshape(theirs, (-1, 8))
    error = np.square(left @ np.linalg.lstsq(left, right, rcond=None)[0] - right).mean()
    kernel, bias = part.variables
    found = tf.reduce_mean(tf.math.squared_difference(tf.tensordot(own, kernel, 1) + bias, theirs))
    assert float(found) == pytest.approx(error, rel=1e-2)


def test_kept_answers_equal_those_of_every_step(
    parent: Any, narrower: Any, digits: Dataset, overlay: Path
) -> None:
    import tensorflow as tf

    kept = part_of(ALL, narrower, parent, digits, overlay=overlay)
    asked = part_of(ALL, narrower, parent, digits, overlay=overlay, memory=0)
    assert asked.extras == {}
    assert {key: array.shape for key, array in kept.extras.items()} == {
        LOGITS: (1200, 10), FEATURES + ADDITION: (1200, 8, 8, 8), ATTENTION + ADDITION: (1200, 64),
    }  # fmt: skip
    rows = np.array([5, 1199, 0, 700, 256])
    x = tf.constant(digits.features("train")[rows].astype(np.float32))
    extra = {key: tf.constant(array[rows]) for key, array in kept.extras.items()}
    one = kept.terms(called(kept, narrower, x, extra=extra))
    other = asked.terms(called(asked, narrower, x))
    for name, term in one.items():
        assert float(term) > 0
        assert float(term) == pytest.approx(float(other[name]), rel=1e-4)


def test_answers_are_not_kept_where_batches_are_augmented_while_training(
    parent: Any, narrower: Any, digits: Dataset, online: Path
) -> None:
    part = part_of({"logits": {}}, narrower, parent, digits, overlay=online)
    assert part.extras == {}
    x = batch(digits)
    changed = x + 3.0
    assert float(part.terms(called(part, narrower, x))["logits"]) != pytest.approx(
        float(part.terms(called(part, narrower, changed))["logits"]), rel=1e-3
    )


def test_variants_on_disk_have_answers_too(
    parent: Any, narrower: Any, digits: Dataset, tmp_path: Path
) -> None:
    policy = Policy(mode="materialise", factor=2, classes=10, value_range=(0, 16))
    write_json(tmp_path / "policy.json", policy.model_dump(mode="json"))
    (tmp_path / EXTRA).mkdir()
    variants = np.flip(digits.features("train")[:40], axis=2)
    np.save(tmp_path / EXTRA / "image-00000.npy", variants)
    np.save(tmp_path / EXTRA / "label-00000.npy", digits.labels("train")[:40])
    part = part_of({"logits": {}}, narrower, parent, digits, overlay=tmp_path)
    features, _ = training_arrays(digits, tmp_path, policy)
    assert len(part.extras[LOGITS]) == len(features) == 1240
    answers = np.log(parent.predict(variants.astype(np.float32), verbose=0))
    np.testing.assert_allclose(part.extras[LOGITS][1200:], answers, atol=1e-3)


def test_a_second_forward_pass_over_a_batch_asks_the_teacher_once(
    parent: Any, narrower: Any, digits: Dataset, online: Path
) -> None:
    import tensorflow as tf

    part = part_of({"logits": {}}, narrower, parent, digits, overlay=online)

    def count(passes: int) -> int:
        def step(x: Any) -> Any:
            return tf.add_n([part.terms(called(part, narrower, x))["logits"] for _ in range(passes)])

        graph = tf.function(step).get_concrete_function(batch(digits)).graph
        return sum(operation.type == "Conv2D" for operation in graph.get_operations())

    # Two convolutions of the student in each pass, and two of the teacher.
    assert [count(1), count(2)] == [4, 6]


def test_faults_name_the_field() -> None:
    with pytest.raises(ValidationError, match="at least one of logits, features and attention"):
        Distill.model_validate({})
    for options in (
        {"logits": {"alpha": 0}},
        {"logits": {"temperature": 0}},
        {"features": {"weight": -1}},
        {"features": {"layers": []}},
        {"attention": {"temperature": 4}},
    ):
        with pytest.raises(ValidationError):
            Distill.model_validate(options)


def test_dense_layers_have_no_attention(parent: Any, narrower: Any, digits: Dataset, overlay: Path) -> None:
    with pytest.raises(RegrowError, match=r"recover\.distill\.attention: layer 'hidden' gives \(None, \d+\)"):
        part_of({"attention": {"layers": ["hidden"]}}, narrower, parent, digits, overlay=overlay)


def test_more_channels_pruned_means_more_left_to_explain(parent: Any, digits: Dataset, overlay: Path) -> None:
    def left(macs: float) -> float:
        student = prune_channels(parent, ChannelOptions(scope="per_layer"), target=Target(macs=macs)).model
        part = part_of({"features": {}}, student, parent, digits, overlay=overlay, memory=0)
        return float(part.terms(called(part, student, batch(digits, 256)))["features"])

    assert 0 < left(0.8) < left(0.242) < 1
