"""Architectures by name. Each takes raw features and starts with the `Rescaling` that the data needs.

Maps are halved twice in the small ones, so images may be small.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from regrow import extensions
from regrow.config.choices import OneOfSections
from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.training import transfer  # noqa: F401 - it registers its own
from regrow.training.architecture import L2, REGISTERED, ArchitectureRecord, Dropout, Width, architecture
from regrow.training.inputs import Signature, rescaled_input


class Mlp(Parameters):
    """Dense layers on flattened input; images and tables."""

    name: Literal["mlp"] = "mlp"
    hidden: tuple[Width, ...] = Field((128, 64), description="units of the hidden layers")
    dropout: Dropout = 0.0
    l2: L2 = 0.0


@architecture(options=Mlp)
def mlp(options: Mlp, signature: Signature) -> Any:
    """Flatten, then dense ReLU layers and softmax."""
    import tf_keras

    inputs, x = rescaled_input(signature)
    if len(signature.shape) > 1:
        x = tf_keras.layers.Flatten(name="flatten")(x)
    x = _dense_layers(x, options.hidden, l2=options.l2, dropout=options.dropout)
    return tf_keras.Model(inputs, _softmax(x, signature), name="mlp")


class Lenet5(Parameters):
    """LeNet-5 with the widths that the pruning literature uses (20, 50, 500)."""

    name: Literal["lenet5"] = "lenet5"
    filters: tuple[Width, Width] = Field((20, 50), description="channels of the two convolutions")
    hidden: tuple[Width, ...] = Field((500,), description="units of the dense layers")
    dropout: Dropout = 0.0
    l2: L2 = 0.0


@architecture(options=Lenet5, smallest=4)
def lenet5(options: Lenet5, signature: Signature) -> Any:
    """Two 5×5 convolutions, each with 2×2 max pooling, then dense layers.

    LeNet-5 as Caffe and the pruning literature have it (LeCun 1998; Han 2015): 20 and 50 filters, 500
    units; 431,080 parameters at 28×28×1. Smaller images are padded, so 8×8 digits fit (131,080 parameters).
    """
    import tf_keras

    layers = tf_keras.layers
    inputs, x = rescaled_input(signature)
    padding = "valid" if min(signature.shape[:2]) >= 28 else "same"
    for number, filters in enumerate(options.filters, start=1):
        x = layers.Conv2D(
            filters,
            5,
            padding=padding,
            activation="relu",
            kernel_initializer="he_normal",
            kernel_regularizer=_l2(options.l2),
            name=f"conv{number}",
        )(x)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = _dense_layers(x, options.hidden, l2=options.l2, dropout=options.dropout)
    return tf_keras.Model(inputs, _softmax(x, signature), name="lenet5")


class Resnet8(Parameters):
    """MLPerf Tiny's ResNet-8 for 32×32 images, 78,666 parameters."""

    name: Literal["resnet8"] = "resnet8"
    l2: L2 = 1e-4


@architecture(options=Resnet8, smallest=8)
def resnet8(options: Resnet8, signature: Signature) -> Any:
    """MLPerf Tiny's ResNet-8: three stages of one block, 16, 32 and 64 channels.

    Unlike He's, convolutions have biases, and the projection of a shortcut is not normalised.
    https://github.com/mlcommons/tiny/blob/master/benchmark/training/image_classification/keras_model.py
    """
    return _residual(
        signature,
        name="resnet8",
        blocks=1,
        l2=options.l2,
        use_bias=True,
        normalised_shortcut=False,
        momentum=0.99,
    )


class Resnet20(Parameters):
    """He et al. 2016's ResNet-20 for CIFAR."""

    name: Literal["resnet20"] = "resnet20"
    l2: L2 = 1e-4


@architecture(options=Resnet20, smallest=8)
def resnet20(options: Resnet20, signature: Signature) -> Any:
    """ResNet-20 for CIFAR (He et al. 2016, section 4.2): three stages of three blocks."""
    return _residual(signature, name="resnet20", blocks=3, l2=options.l2)


class Resnet56(Parameters):
    """He et al. 2016's ResNet-56 for CIFAR."""

    name: Literal["resnet56"] = "resnet56"
    l2: L2 = 1e-4


@architecture(options=Resnet56, smallest=8)
def resnet56(options: Resnet56, signature: Signature) -> Any:
    """ResNet-56 for CIFAR (He et al. 2016, section 4.2): three stages of nine blocks."""
    return _residual(signature, name="resnet56", blocks=9, l2=options.l2)


def architectures() -> dict[str, ArchitectureRecord]:
    """All architectures by name, those of installed extensions too."""
    extensions.load()
    return dict(REGISTERED)


Architecture = Annotated[
    Any,
    OneOfSections("architecture", lambda: {name: item.options for name, item in architectures().items()}),
]


def build(options: Any, signature: Signature, *, seed: int) -> Any:
    """The architecture that ``options`` names, with fresh weights drawn from ``seed``.

    Raises:
        RegrowError: it cannot take features of this shape.
    """
    import tf_keras

    record = architectures()[options.name]
    check_shape(options.name, signature.shape)
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(seed)
    return record.build(options, signature)


def check_shape(name: str, shape: Sequence[int]) -> None:
    """Refuse features of ``shape`` (without the batch) that architecture ``name`` cannot take."""
    smallest = architectures()[name].smallest
    if smallest is None:
        return
    if len(shape) != 3:
        raise RegrowError(
            f"train.architecture: '{name}' takes images (height, width, channels), but the dataset's features "
            f"have shape {tuple(shape)}; 'mlp' takes any"
        )
    if min(shape[:2]) < smallest:
        fitting = [
            other for other, record in architectures().items() if (record.smallest or 0) <= min(shape[:2])
        ]
        raise RegrowError(
            f"train.architecture: '{name}' takes images of at least {smallest}×{smallest} pixels, but the "
            f"dataset's are {shape[0]}×{shape[1]}; accepted: {', '.join(fitting)}"
        )


def _residual(
    signature: Signature,
    *,
    name: str,
    blocks: int,
    l2: float,
    use_bias: bool = False,
    normalised_shortcut: bool = True,
    momentum: float = 0.9,
) -> Any:
    """Three stages of ``blocks`` basic blocks with 16, 32, 64 channels, pooling, softmax.

    Where the shape changes the shortcut is a 1×1 convolution (He's option B): zero-padded channels (option
    A) would bind the channels of all stages together, and pruning could remove none of them.
    """
    import tf_keras

    layers = tf_keras.layers

    def convolution(x: Any, filters: int, size: int, strides: int, label: str) -> Any:
        return layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="same",
            use_bias=use_bias,
            kernel_initializer="he_normal",
            kernel_regularizer=_l2(l2),
            name=label,
        )(x)

    def block(x: Any, filters: int, strides: int, label: str) -> Any:
        y = convolution(x, filters, 3, strides, f"{label}_conv1")
        y = layers.BatchNormalization(momentum=momentum, name=f"{label}_norm1")(y)
        y = layers.ReLU(name=f"{label}_relu1")(y)
        y = convolution(y, filters, 3, 1, f"{label}_conv2")
        y = layers.BatchNormalization(momentum=momentum, name=f"{label}_norm2")(y)
        if strides != 1:
            x = convolution(x, filters, 1, strides, f"{label}_shortcut")
            if normalised_shortcut:
                x = layers.BatchNormalization(momentum=momentum, name=f"{label}_shortcut_norm")(x)
        return layers.ReLU(name=f"{label}_relu2")(layers.Add(name=f"{label}_add")([x, y]))

    inputs, x = rescaled_input(signature)
    x = layers.ReLU(name="relu")(
        layers.BatchNormalization(momentum=momentum, name="norm")(convolution(x, 16, 3, 1, "conv"))
    )
    for stage, filters in enumerate((16, 32, 64), start=1):
        for number in range(1, blocks + 1):
            strides = 2 if stage > 1 and number == 1 else 1
            x = block(x, filters, strides, f"stage{stage}_block{number}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, _softmax(x, signature), name=name)


def _dense_layers(x: Any, hidden: Sequence[int], *, l2: float, dropout: float) -> Any:
    import tf_keras

    for number, units in enumerate(hidden, start=1):
        x = tf_keras.layers.Dense(
            units,
            activation="relu",
            kernel_initializer="he_normal",
            kernel_regularizer=_l2(l2),
            name=f"dense{number}",
        )(x)
        if dropout:
            x = tf_keras.layers.Dropout(dropout, name=f"dropout{number}")(x)
    return x


def _softmax(x: Any, signature: Signature) -> Any:
    import tf_keras

    return tf_keras.layers.Dense(signature.classes, activation="softmax", name="probabilities")(x)


def _l2(factor: float) -> Any:
    import tf_keras

    return tf_keras.regularizers.L2(factor) if factor else None
