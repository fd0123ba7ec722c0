"""What each architecture can be told. Parameter models only; no TensorFlow here."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from regrow.config.sections import NamesFile, Parameters
from regrow.errors import nearest

# Keras' ImageNet weights of ResNet50 without its top, as `tf_keras.applications.resnet` names and checks them;
# they stand here too, because what a run will use is stated before TensorFlow is imported.
IMAGENET_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URI = f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/{IMAGENET_FILE}"
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"

Width = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1, description="share of the units dropped while training")]
L2 = Annotated[float, Field(ge=0, description="factor of the squared norm of kernels in the loss")]


class Mlp(Parameters):
    """Dense layers on flattened input; images and tables."""

    name: Literal["mlp"] = "mlp"
    hidden: tuple[Width, ...] = Field((128, 64), description="units of the hidden layers")
    dropout: Dropout = 0.0
    l2: L2 = 0.0


class Lenet5(Parameters):
    """LeNet-5 with the widths that the pruning literature uses (20, 50, 500)."""

    name: Literal["lenet5"] = "lenet5"
    filters: tuple[Width, Width] = Field((20, 50), description="channels of the two convolutions")
    hidden: tuple[Width, ...] = Field((500,), description="units of the dense layers")
    dropout: Dropout = 0.0
    l2: L2 = 0.0


class Resnet8(Parameters):
    """MLPerf Tiny's ResNet-8 for 32×32 images, 78,666 parameters."""

    name: Literal["resnet8"] = "resnet8"
    l2: L2 = 1e-4


class Resnet20(Parameters):
    """He et al. 2016's ResNet-20 for CIFAR."""

    name: Literal["resnet20"] = "resnet20"
    l2: L2 = 1e-4


class Resnet56(Parameters):
    """He et al. 2016's ResNet-56 for CIFAR."""

    name: Literal["resnet56"] = "resnet56"
    l2: L2 = 1e-4


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
    frozen_epochs: int = Field(0, ge=0, description="epochs that train only the head, before all layers")


OPTIONS: dict[str, type[Parameters]] = {
    str(model.model_fields["name"].default): model
    for model in (Mlp, Lenet5, Resnet8, Resnet20, Resnet56, Resnet50Transfer)
}
# Of those that take images: the shortest height and width that leaves something after the last reduction.
SMALLEST = {"lenet5": 4, "resnet8": 8, "resnet20": 8, "resnet56": 8, "resnet50_transfer": 32}
Name = Literal["mlp", "lenet5", "resnet8", "resnet20", "resnet56", "resnet50_transfer"]
Options = Mlp | Lenet5 | Resnet8 | Resnet20 | Resnet56 | Resnet50Transfer
Tagged = Annotated[Options, Field(discriminator="name")]


def _named(value: Any) -> Any:
    """Turn the short form, a bare name, into the long one; name the nearest architecture if unknown."""
    if isinstance(value, BaseModel):
        return value
    name = value.get("name") if isinstance(value, dict) else value
    if name is None:
        raise ValueError(f"needs a name{nearest('', OPTIONS)}")
    if name not in OPTIONS:
        raise ValueError(f"architecture '{name}' is not known{nearest(str(name), OPTIONS)}")
    return value if isinstance(value, dict) else {"name": value}


Architecture = Annotated[Tagged, BeforeValidator(_named, json_schema_input_type=Name | Tagged)]
