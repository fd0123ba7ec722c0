from typing import Any

import pytest

from regrow.errors import RegrowError
from regrow.recovery.feature_points import chosen_points, points
from regrow.training.architectures import REGISTERED, Lenet5, Mlp, Resnet8, Resnet20
from regrow.training.inputs import Signature

pytestmark = pytest.mark.tensorflow


def built(options: Any, *shape: int) -> Any:
    signature = Signature(
        shape=shape, classes=10, scale=(1.0,), offset=(0.0,), value_range=(0, 1), feature="image"
    )
    return REGISTERED[options.name].build(options, signature)


def chosen(model: Any, patterns: tuple[str, ...] | None = None) -> list[str]:
    return chosen_points(model, model, patterns=patterns, field="recover.distill.features")


@pytest.mark.parametrize(
    ("options", "shape", "expected"),
    [
        (Resnet8(), (32, 32, 3), ["stage1_block1_add", "stage2_block1_add", "stage3_block1_add"]),
        (Resnet20(), (32, 32, 3), ["stage1_block3_add", "stage2_block3_add", "stage3_block3_add"]),
        (Lenet5(), (28, 28, 1), ["conv1", "conv2"]),
        (Lenet5(), (8, 8, 1), ["conv1", "conv2"]),
        (Mlp(hidden=(16, 8), dropout=0.5), (7,), ["dense2"]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_stages_are_compared_at_their_end(options: Any, shape: tuple[int, ...], expected: list[str]) -> None:
    assert chosen(built(options, *shape)) == expected


def test_without_additions_the_end_is_where_branches_meet() -> None:
    import tf_keras
    from tf_keras import layers

    inputs = x = tf_keras.Input((8, 8, 3))
    left = layers.Conv2D(4, 1, name="left")(x)
    right = layers.Conv2D(4, 1, name="right")(x)
    x = layers.Concatenate(name="both")([left, right])
    x = layers.Dropout(0.5, name="noisy")(x)
    # Two branches that shrink: what one of them computes before is no stage's end.
    left = layers.Conv2D(4, 3, strides=2, padding="same", name="strided")(
        layers.Conv2D(4, 1, name="before")(x)
    )
    right = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Concatenate(name="smaller")([left, right])
    outputs = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    assert chosen(tf_keras.Model(inputs, outputs)) == ["both", "smaller"]


def test_operators_add_like_layers_but_constants_do_not() -> None:
    import tf_keras
    from tf_keras import layers

    inputs = tf_keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    y = layers.Conv2D(4, 3, padding="same", name="second")(x)
    x = layers.ReLU(name="rectified")((x + y) + 1.0)
    outputs = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = tf_keras.Model(inputs, outputs)
    (name,) = chosen(model)
    found = points(model)
    assert found[name].addition
    assert sum(point.addition for point in found.values()) == 1


def test_patterns_name_layers_in_the_models_order() -> None:
    model = built(Resnet8(), 16, 16, 3)
    assert chosen(model, ("stage3_block1_add", "stage?_block1_conv1")) == [
        "stage1_block1_conv1", "stage2_block1_conv1", "stage3_block1_conv1", "stage3_block1_add",
    ]  # fmt: skip
    with pytest.raises(
        RegrowError, match=r"recover\.distill\.features\.layers: 'stage9_add' matches no layer"
    ):
        chosen(model, ("stage1_block1_add", "stage9_add"))


def test_only_layers_that_both_models_have_are_compared() -> None:
    student, parent = built(Resnet8(), 32, 32, 3), built(Resnet20(), 32, 32, 3)
    names = chosen_points(student, parent, patterns=None, field="x")
    assert names == ["stage1_block1_add", "stage2_block1_add", "stage3_block1_add"]
    with pytest.raises(RegrowError, match="matches no layer"):
        chosen_points(student, parent, patterns=("stage1_block3_add",), field="x")


def test_a_model_of_one_layer_has_nothing_to_compare() -> None:
    with pytest.raises(RegrowError, match=r"recover\.distill\.features: finds no comparable layer"):
        chosen(built(Mlp(hidden=()), 7))


def test_sequential_and_nested_models_have_points() -> None:
    import tf_keras
    from tf_keras import layers

    inner_input = tf_keras.Input((8, 8, 3))
    inner = tf_keras.Model(inner_input, layers.Conv2D(4, 3, strides=2)(inner_input), name="backbone")
    model = tf_keras.Sequential(
        [tf_keras.Input((8, 8, 3)), inner, layers.Flatten(), layers.Dense(2, name="end")]
    )
    assert next(iter(points(model))) == "backbone"
    assert chosen(model) == ["backbone"]
