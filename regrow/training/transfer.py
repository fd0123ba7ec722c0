"""Transfer learning: a ResNet50 backbone pretrained on ImageNet, with a small new head."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from regrow.config.sections import NamesFile, Parameters
from regrow.errors import RegrowError
from regrow.training.architecture import L2, Dropout, Width, architecture
from regrow.training.inputs import Signature, rescaled_input

# Keras' ImageNet weights of ResNet50 without its top, as `tf_keras.applications.resnet` names and checks them;
# they stand here too, because what a run will use is stated before TensorFlow is imported.
IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URI = f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/{IMAGENET_FILE}"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
# Keras' ResNet50 weights come from Caffe: channels in the order blue, green, red, ImageNet's means removed.
IMAGENET_MEAN_RGB = (123.68, 116.779, 103.939)
HEAD = ("head_pool", "head_dense", "head_dropout", "probabilities")


class Resnet50Transfer(Parameters):
    """ResNet50 without its top, a dense layer, dropout, softmax."""

    name: Literal["resnet50_transfer"] = "resnet50_transfer"
    weights: Annotated[str, NamesFile(words=("imagenet", "none"))] = Field(
        "imagenet",
        min_length=1,
        description="backbone: 'imagenet' (downloaded), 'none', or the path of Keras' no-top weights (.h5)",
    )
    hidden: Width = Field(256, description="units of the dense layer")
    l2: L2 = 0.001
    dropout: Dropout = 0.5
    frozen_epochs: int = Field(
        0, ge=0, description="epochs that train only the head, before all layers are trained"
    )


@architecture(options=Resnet50Transfer, smallest=32)
def resnet50_transfer(options: Resnet50Transfer, signature: Signature) -> Any:
    """ResNet50 without top → global average pooling → dense ReLU with L2 → dropout → softmax.

    The backbone's layers are part of the model itself, not of a nested one. With pretrained weights the
    input is scaled as they need it; that their channels are blue, green, red is put into the first kernel,
    so that the model takes red, green, blue like all others.

    Raises:
        RegrowError: the weights cannot be downloaded or read, or need images with three channels.
    """
    import tf_keras

    layers = tf_keras.layers
    pretrained = options.weights != "none"
    if pretrained and signature.shape[-1] != 3:
        raise RegrowError(
            f"train.architecture.weights: '{options.weights}' needs images with 3 channels, but the dataset's "
            f"have {signature.shape[-1]}; accepted: none"
        )
    inputs, x = rescaled_input(_imagenet_scaled(signature) if pretrained else signature)
    backbone = tf_keras.applications.ResNet50(include_top=False, weights=None, input_tensor=x)
    if pretrained:
        _load(backbone, options.weights)
    x = layers.GlobalAveragePooling2D(name="head_pool")(backbone.output)
    x = layers.Dense(
        options.hidden,
        activation="relu",
        kernel_regularizer=tf_keras.regularizers.L2(options.l2) if options.l2 else None,
        name="head_dense",
    )(x)
    x = layers.Dropout(options.dropout, name="head_dropout")(x)
    x = layers.Dense(signature.classes, activation="softmax", name="probabilities")(x)
    return tf_keras.Model(inputs, x, name="resnet50_transfer")


def freeze_backbone(model: Any, *, frozen: bool, head: Collection[str] = HEAD) -> None:
    """Switch training of everything but ``head`` off or on; a frozen normalisation keeps its statistics."""
    for layer in model.layers:
        if layer.name not in head:
            layer.trainable = not frozen


def _imagenet_scaled(signature: Signature) -> Signature:
    """Bring the raw range to 0–255 and take ImageNet's means away."""
    low, high = signature.value_range
    scale = 255.0 / (high - low)
    return Signature(
        shape=signature.shape,
        classes=signature.classes,
        scale=(scale,) * 3,
        offset=tuple(-low * scale - mean for mean in IMAGENET_MEAN_RGB),
        value_range=signature.value_range,
        feature=signature.feature,
    )


def _load(backbone: Any, weights: str) -> None:
    """Give the backbone pretrained weights and turn its first kernel from blue, green, red around."""
    path = _downloaded() if weights == "imagenet" else Path(weights)
    if not path.is_file():
        raise RegrowError(
            f"train.architecture.weights: {path}: no such file; accepted: imagenet, none, a path"
        )
    plain = _plain_backbone()
    try:
        plain.load_weights(str(path))
    except (ValueError, OSError, KeyError) as error:
        raise RegrowError(
            f"train.architecture.weights: {path}: does not contain the weights of Keras' ResNet50 without "
            f"top ({' '.join(str(error).split())[:120]})"
        ) from None
    for source in plain.layers:
        arrays = source.get_weights()
        if source.name == "conv1_conv":
            arrays[0] = arrays[0][:, :, ::-1, :]
        if arrays:
            backbone.get_layer(source.name).set_weights(arrays)


def _plain_backbone() -> Any:
    """The backbone as the weights' file was written from: legacy files go by the order of layers."""
    import tf_keras

    return tf_keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))


def _downloaded() -> Path:
    """Keras' own copy of the ImageNet weights, downloaded once to ``~/.keras``.

    Raises:
        RegrowError: the download failed, or brought other bytes than those stated.
    """
    import tf_keras

    try:
        found = tf_keras.utils.get_file(
            IMAGENET_FILE, IMAGENET_URI, cache_subdir="models", file_hash=IMAGENET_MD5
        )
    except Exception as error:
        raise RegrowError(
            f"train.architecture.weights: 'imagenet' cannot be downloaded ({' '.join(str(error).split())[:160]}); "
            f"give the path of {IMAGENET_FILE}, or none"
        ) from None
    return Path(found)
