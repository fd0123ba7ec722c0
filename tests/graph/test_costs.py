from typing import Any

import pytest

from regrow.graph.costs import count_macs, layer_costs
from regrow.graph.kernels import prunable_kernels, sparsity


def test_sequential(small: Any) -> None:
    costs = {cost.name: cost for cost in layer_costs(small)}
    assert costs["conv"].macs == 8 * 8 * 3 * 3 * 2 * 4
    assert costs["conv"].output_shape == (8, 8, 4)
    assert costs["conv"].parameters == 3 * 3 * 2 * 4 + 4
    assert costs["head"].macs == 8 * 8 * 4 * 3
    assert costs["norm"].macs == costs["relu"].macs == 0
    assert sum(cost.parameters for cost in costs.values()) == small.count_params()
    assert list(prunable_kernels(small)) == ["conv/kernel", "head/kernel"]


def _macs(layer: Any, shape: tuple[int, ...]) -> int:
    import tf_keras

    return count_macs(tf_keras.Sequential([tf_keras.layers.Input(shape), layer]))


def test_convolutions() -> None:
    from tf_keras import layers

    assert _macs(layers.Conv2D(8, 3, strides=2, groups=2), (9, 9, 4)) == 4 * 4 * 3 * 3 * 2 * 8
    assert _macs(layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 3)) == 6 * 6 * 9 * 3 * 2
    assert _macs(layers.SeparableConv2D(5, 3), (8, 8, 3)) == 6 * 6 * (9 * 3 + 3 * 5)
    assert _macs(layers.Conv2DTranspose(5, 4, strides=2), (8, 8, 3)) == 8 * 8 * 16 * 3 * 5
    assert _macs(layers.Conv1D(4, 3), (10, 2)) == 8 * 3 * 2 * 4
    assert _macs(layers.Dense(4), (10, 2)) == 10 * 2 * 4
    # channels_first is counted by shape; the layer need not run on a CPU
    assert _macs(layers.Conv2D(4, 3, data_format="channels_first"), (2, 8, 8)) == 36 * 9 * 2 * 4


def test_shared_layers_count_each_call_and_parameters_once() -> None:
    import tf_keras

    dense = tf_keras.layers.Dense(4, name="dense")
    first, second = tf_keras.layers.Input((4,)), tf_keras.layers.Input((4,))
    model = tf_keras.Model([first, second], tf_keras.layers.Add()([dense(first), dense(second)]))
    dense(tf_keras.layers.Input((4,)))  # a call outside the model costs it nothing
    assert count_macs(model) == 2 * 16
    assert sum(cost.parameters for cost in layer_costs(model)) == model.count_params()


def test_nested_models_cost_what_their_input_makes_them_cost() -> None:
    import tf_keras

    layers = tf_keras.layers
    any_size = layers.Input((None, None, 1))
    inner = tf_keras.Model(any_size, layers.Conv2D(2, 3, name="conv")(any_size), name="backbone")
    left, right = layers.Input((8, 8, 1)), layers.Input((5, 5, 1))
    pooled = [layers.GlobalAveragePooling2D()(inner(image)) for image in (left, right)]
    model = tf_keras.Model([left, right], layers.Dense(3, name="head")(layers.Concatenate()(pooled)))
    costs = {cost.name: cost for cost in layer_costs(model)}
    assert costs["backbone/conv"].macs == (36 + 9) * 9 * 2
    assert list(prunable_kernels(model)) == ["backbone/conv/kernel", "head/kernel"]
    assert costs["head"].output_shape == (3,)


def test_sparsity_counts_zeros_of_kernels_only(small: Any) -> None:
    import numpy as np
    import tf_keras

    model = tf_keras.models.clone_model(small)
    assert sparsity(model) == 0.0
    kernel = prunable_kernels(model)["conv/kernel"]
    kernel.assign(np.zeros(kernel.shape, np.float32))
    assert sparsity(model) == pytest.approx(72 / (72 + 768))
    assert {cost.name: cost.zeros for cost in layer_costs(model)}["conv"] == 72


def test_attention_counts_projections_scores_and_weighted_values() -> None:
    import tf_keras
    from tf_keras import layers

    inputs, memory = tf_keras.Input((6, 5)), tf_keras.Input((7, 4))
    x = layers.MultiHeadAttention(2, 3, value_dim=8)(inputs, memory)
    projections = 6 * 5 * 2 * 3 + 7 * 4 * 2 * 3 + 7 * 4 * 2 * 8 + 6 * 2 * 8 * 5
    assert count_macs(tf_keras.Model([inputs, memory], x)) == projections + 6 * 7 * 2 * (3 + 8)
    assert count_macs(tf_keras.Model(inputs, layers.Attention()([inputs, inputs]))) == 2 * 6 * 6 * 5
    # Along one of two axes of positions, the other is a batch.
    images = tf_keras.Input((3, 4, 5))
    x = layers.MultiHeadAttention(2, 3, attention_axes=[2])(images, images)
    assert count_macs(tf_keras.Model(images, x)) == 12 * 4 * (5 * 2 * 3) + 3 * 4 * 4 * 2 * (3 + 3)


def test_recurrent_layers_count_both_kernels_at_each_step() -> None:
    from tf_keras import layers

    assert _macs(layers.LSTM(4), (10, 3)) == 10 * (3 + 4) * 16
    assert _macs(layers.GRU(4, return_sequences=True), (10, 3)) == 10 * (3 + 4) * 12
    assert _macs(layers.Bidirectional(layers.SimpleRNN(4)), (10, 3)) == 2 * 10 * (3 + 4) * 4
    assert _macs(layers.ConvLSTM2D(4, 3), (10, 8, 8, 2)) == 10 * 36 * 9 * (2 + 4) * 16
    assert _macs(layers.TimeDistributed(layers.Conv2D(4, 3)), (10, 8, 8, 2)) == 10 * 36 * 9 * 2 * 4
    assert _macs(layers.Embedding(9, 4), (10,)) == 0


def test_products_of_tensors() -> None:
    import tensorflow as tf
    import tf_keras
    from tf_keras import layers

    assert _macs(layers.EinsumDense("abc,cde->abde", (None, 2, 4)), (6, 5)) == 6 * 5 * 2 * 4
    left, right = tf_keras.Input((6, 5)), tf_keras.Input((7, 5))
    assert count_macs(tf_keras.Model([left, right], layers.Dot(axes=2)([left, right]))) == 6 * 7 * 5
    product = tf.matmul(left, right, transpose_b=True)
    assert count_macs(tf_keras.Model([left, right], product)) == 6 * 7 * 5


def test_a_model_at_each_step_counts_for_the_layer_that_runs_it() -> None:
    import tf_keras
    from tf_keras import layers

    inner = tf_keras.Sequential(
        [layers.Input((8, 8, 2)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)]
    )
    model = tf_keras.Sequential([layers.Input((10, 8, 8, 2)), layers.TimeDistributed(inner, name="steps")])
    (steps,) = [cost for cost in layer_costs(model) if cost.class_name == "TimeDistributed"]
    assert (steps.name, steps.output_shape) == ("steps", (10, 3))
    assert steps.macs == count_macs(model) == 10 * (36 * 9 * 2 * 4 + 144 * 3)
