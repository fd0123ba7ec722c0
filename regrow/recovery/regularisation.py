"""Regularisation only while fine-tuning: it is applied to a copy; the kept model does not have it."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.graph.kernels import KERNELS

if TYPE_CHECKING:
    from regrow.graph.blocks import Block
    from regrow.graph.graph import Graph
    from regrow.graph.insertion import Insertion

# Of recurrent layers and their cells, attention, einsum and locally connected layers, embeddings.
OTHER_KERNELS = ("kernel", "recurrent_kernel", "embeddings")
DROPOUTS = frozenset(
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout", "AlphaDropout"}
)


class Regularise(Parameters):
    """Section `recover.regularise`: regularisation while fine-tuning; null keeps the model's own."""

    l2: float | None = Field(
        None,
        ge=0,
        description=(
            "add l2 · Σ w² of every Keras layer's kernel to the loss, replacing the layers' own penalties "
            "(0: none); for decoupled decay use fit.optimizer.weight_decay"
        ),
    )
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="rate of the model's dropout layers; if it has none, one is inserted before the head",
    )
    stochastic_depth: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="drop rate of the last residual block; earlier blocks have linearly smaller rates",
    )

    @property
    def active(self) -> bool:
        """Whether any regularisation is requested."""
        return any(value is not None for value in (self.l2, self.dropout, self.stochastic_depth))


def training_copy(model: Any, regularise: Regularise, *, seed: int = 0) -> Any:
    """A copy of ``model``, not compiled, that computes the same in inference and is regularised in training.

    It is a plain `tf_keras` model. Its layers have the names, and its variables the values, that they have in
    ``model``; layers inserted have none. `transfer` brings the weights back after fine-tuning.

    Args:
        model: Functional or Sequential.
        regularise: what is asked for.
        seed: of the layers inserted.

    Raises:
        RegrowError: stochastic depth for a model without residual blocks, dropout for one without a head.
    """
    from regrow.graph.graph import Graph

    graph = Graph.of(model)
    if regularise.l2 is not None:
        graph = with_l2(graph, regularise.l2)
    if regularise.dropout is not None:
        graph = with_dropout(graph, regularise.dropout, seed=seed)
    if regularise.stochastic_depth is not None:
        graph = with_stochastic_depth(graph, regularise.stochastic_depth, seed=seed)
    return graph.to_model()


def transfer(source: Any, target: Any) -> None:
    """Give every variable of ``target`` the value of the one at the same layer's path in ``source``.

    Raises:
        RegrowError: ``source`` lacks one, or has it in another shape; ``target`` is as it was then.
    """
    from regrow.graph.kernels import layers
    from regrow.graph.variables import variables

    values = {f"{path}/{name}": v for path, layer in layers(source) for name, v in variables(layer).items()}
    pairs = []
    for path, layer in layers(target):
        for name, variable in variables(layer).items():
            value = values.get(f"{path}/{name}")
            if value is None or value.shape != variable.shape:
                found = "no such variable" if value is None else f"shape {tuple(value.shape)}"
                raise RegrowError(
                    f"layer '{path}': '{name}' has shape {tuple(variable.shape)}, but its trained copy has "
                    f"{found}"
                )
            pairs.append((variable, value))
    for variable, value in pairs:
        variable.assign(value)


def with_l2(graph: "Graph", penalty: float) -> "Graph":
    """``graph`` with ``penalty`` · Σ w² of each kernel as its layer's loss, in place of any regulariser it has.

    Kernels inside wrappers (``TimeDistributed`` …), of cells, attention and embeddings too; a penalty of 0 takes
    regularisers away.
    """
    import tf_keras

    config = copy.deepcopy(graph.config)
    for class_name, options in _configs(config):
        for kernel in KERNELS.get(class_name, OTHER_KERNELS):
            key = f"{kernel.removesuffix('_kernel')}_regularizer"
            if key in options:
                options[key] = (
                    tf_keras.regularizers.serialize(tf_keras.regularizers.L2(penalty)) if penalty else None
                )
    return replace(graph, config=config)


def with_dropout(graph: "Graph", rate: float, *, seed: int = 0) -> "Graph":
    """``graph`` with ``rate`` in its dropout layers, or with a dropout layer before its head where it has none.

    Dropout of whole branches (a noise shape of one per example) is stochastic depth and stays as it is.

    Raises:
        RegrowError: no dropout layer is there, nor a head to insert one before.
    """
    from regrow.graph.heads import head
    from regrow.graph.insertion import Insertion, place, with_layers

    config = copy.deepcopy(graph.config)
    there = [
        options
        for class_name, options in _configs(config)
        if class_name in DROPOUTS and not _of_branches(options)
    ]
    for options in there:
        options["rate"] = rate
    if there or not rate:
        return replace(graph, config=config)
    location, node = place(graph, head(graph.view, model=graph.config["name"]))
    layer = _dropout(rate, seed=seed)
    return with_layers(
        graph, [Insertion(name="regularise_dropout", layer=layer, location=location, reader=node)]
    )


def with_stochastic_depth(graph: "Graph", rate: float, *, seed: int = 0) -> "Graph":
    """``graph`` whose residual branches are dropped at random, example by example, while training.

    Huang et al., Deep Networks with Stochastic Depth (2016): branch l of L survives with probability
    p_l = 1 − l/L · (1 − p_L), here p_L = 1 − ``rate``. What survives is divided by p_l, in place of a factor p_l in
    inference, which therefore stays what it was. Branches that end in such a layer already get the new rate.

    Raises:
        RegrowError: the model has no residual block.
    """
    from regrow.graph.blocks import residual_blocks
    from regrow.graph.insertion import with_layers

    branches = _one_side_kept(residual_blocks(graph))
    if not branches:
        raise RegrowError(
            f"recover.regularise.stochastic_depth: model '{graph.config['name']}' has no residual block; "
            "accepted: models in which a branch with weights ends in an addition"
        )
    graph = replace(graph, config=copy.deepcopy(graph.config))
    rates = drop_rates(len(branches), rate)
    inserted = [
        _dropped(graph, block, rate, number=number, seed=seed + number)
        for number, (block, rate) in enumerate(zip(branches, rates, strict=True), 1)
    ]
    return with_layers(graph, [insertion for insertion in inserted if insertion is not None])


def drop_rates(blocks: int, last: float) -> list[float]:
    """1 − p_l for l = 1 … ``blocks``: a straight line that ends at ``last``."""
    return [last * number / blocks for number in range(1, blocks + 1)]


def _one_side_kept(blocks: "tuple[Block, ...]") -> "list[Block]":
    """``blocks`` without the first side of an addition all of whose sides could be dropped."""
    additions: dict[Any, list[Block]] = {}
    for block in blocks:
        additions.setdefault((block.location, block.addition), []).append(block)
    return [
        block
        for sides in additions.values()
        for block in (sides[1:] if len(sides) == sides[0].sides else sides)
    ]


def _dropped(graph: "Graph", block: "Block", rate: float, *, number: int, seed: int) -> "Insertion | None":
    """The layer that drops ``block``; None where the branch ends in one, whose rate is set in place."""
    from regrow.graph.graph import entry
    from regrow.graph.insertion import Insertion, source

    last = source(entry(graph.config, block.location), block.addition, block.side)
    if last["class_name"] == "Dropout" and _of_branches(last["config"]):
        last["config"]["rate"] = rate
        return None
    rank = _rank(graph, block)
    return Insertion(
        name=f"regularise_depth_{number}",
        layer=_dropout(rate, seed=seed, noise_shape=[None, *[1] * (rank - 1)]),
        location=block.location,
        reader=block.addition,
        side=block.side,
    )


def _rank(graph: "Graph", block: "Block") -> int:
    """Axes of the sum, the batch's among them."""
    path = block.name.rpartition("[")[0]
    call = next(call for call in graph.view.calls if (call.layer, call.number) == (path, block.addition[1]))
    return len(graph.view.shapes[call.inputs[block.side]])


def _of_branches(options: Mapping[str, Any]) -> bool:
    """Whether a dropout layer draws once per example: a noise shape of ``(None, 1, 1 …)``."""
    shape: Sequence[int | None] = options.get("noise_shape") or ()
    return len(shape) > 1 and all(size == 1 for size in shape[1:])


def _dropout(rate: float, *, seed: int, noise_shape: list[int | None] | None = None) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": "Dropout",
        "config": {"rate": rate, "seed": seed, "noise_shape": noise_shape},
    }


def _configs(structure: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Class name and config of every layer in a config, those inside nested models and wrappers too."""
    if isinstance(structure, dict):
        if isinstance(structure.get("class_name"), str) and isinstance(structure.get("config"), dict):
            yield structure["class_name"], structure["config"]
        structure = list(structure.values())
    if isinstance(structure, list | tuple):
        for inner in structure:
            yield from _configs(inner)
