"""The library: what ``import regrow`` offers to a notebook or a script. TensorFlow loads with the first call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never

from regrow.conversion.formats import export_format
from regrow.errors import RegrowError

# Regrow's own come first: a name that one of them has is refused to one of the user's.
from regrow.graph.rules import families  # noqa: F401
from regrow.graph.rules.rule import rule
from regrow.pruning.criteria import scoring  # noqa: F401
from regrow.pruning.criteria.criterion import criterion
from regrow.recovery.keep_zeros import KeepZeros
from regrow.recovery.technique import technique
from regrow.training import architectures  # noqa: F401
from regrow.training.architecture import architecture

if TYPE_CHECKING:
    from regrow.conversion.exported import Exported
    from regrow.evaluation.side_by_side import Comparison
    from regrow.model_files.inspection import Inspection
    from regrow.pruning.pruned import Pruned
    from regrow.recovery.recovered import Recovered

__all__ = [
    "KeepZeros",
    "RegrowError",
    "architecture",
    "compare",
    "criterion",
    "export",
    "export_format",
    "inspect",
    "load",
    "prune",
    "recover",
    "rule",
    "technique",
]

OF_DATA = ("validation", "steps", "validation_steps", "loss", "augmentation", "training")

Model = Any
"""A live `tf_keras` or Keras 3 model, Functional or Sequential; or the path of a model file."""


def load(source: str | Path | Model, *, trust: bool = False) -> Model:
    """The model in a file; a live model is handed back as it is.

    Args:
        source: a ``.keras`` file of `tf_keras` or Keras 3, an ``.h5`` file, a SavedModel directory that Keras wrote, or
            a directory with ``model.keras`` in it. What is read from a file is a `tf_keras` model, not compiled.
        trust: whether Python code in the file (``Lambda`` layers) may run; for a file whose maker you trust.

    Raises:
        RegrowError: no such file, another kind of file, a broken one, code inside while ``trust`` is false, or
            something of Keras 3 that `tf_keras` lacks; for a live model: it is a subclassed one.

    >>> parent = regrow.load("digits.keras")
    >>> parent.input_shape
    (None, 8, 8, 1)
    """
    from regrow.model_files.live import model_of

    if isinstance(source, str | Path):
        return model_of(source, name="source", trust=trust).model
    model_of(source, name="source")
    return source


def inspect(model: Model) -> "Inspection":
    """The layers of a model: output shapes, parameters, multiply-accumulate operations (MACs), zeros.

    Args:
        model: a live model, or the path of a model file.

    Returns:
        A table in a terminal and in a notebook. ``.layers`` and ``.groups`` (channels that can only be removed
        together) are lists, ``.frame()`` and ``.groups_frame()`` are frames of pandas; ``.macs`` (of one example),
        ``.parameters``, ``.bytes``, ``.zeros`` (how many) and ``.sparsity`` (their share) are sums.

    Raises:
        RegrowError: as `load`.

    >>> found = regrow.inspect("digits.keras")
    >>> found.parameters, found.macs
    (2650, 7648)
    >>> [(group.name, group.channels, group.removable) for group in found.groups]
    [('conv', 16, 16), ('hidden', 16, 16), ('head', 10, 0)]
    """
    from regrow.model_files.inspection import inspection
    from regrow.model_files.live import model_of

    return inspection(model_of(model, name="model").model)


def prune(
    model: "Model | Pruned | Recovered",
    *,
    macs: float | None = None,
    parameters: float | None = None,
    bytes: float | None = None,
    latency_ms: float | None = None,
    sparsity: float | None = None,
    n_m: tuple[int, int] | None = None,
    blocks: int | None = None,
    data: Any = None,
    validation: Any = None,
    loss: Any = None,
    method: Literal["channels", "layers"] | None = None,
    criterion: str | None = None,
    normalise: Literal["mean", "max", "none"] | None = None,
    scope: Literal["global", "per_layer"] | None = None,
    floor: float | None = None,
    min_channels: int | None = None,
    rank: Literal["score", "score_per_cost"] | None = None,
    round_to: int | None = None,
    rescore: int | None = None,
    examples: int | None = None,
    batch_size: int | None = None,
    rounds: int | None = None,
    between: Mapping[str, Any] | None = None,
    sparse_training: Mapping[str, Any] | None = None,
    allocation: Literal["uniform", "global", "lamp", "erk"] | None = None,
    schedule: Literal["one_shot", "gradual"] | None = None,
    gradual: Mapping[str, Any] | None = None,
    skip: str | Sequence[str] | None = None,
    seed: int | None = None,
    **unknown: Never,
) -> "Pruned":
    """Make a model smaller; the one given is not changed.

    Exactly one argument says how far. Options have the names and defaults that they have in section `prune` of
    ``params.yaml`` (`regrow keys prune` lists them).

    Args:
        model: a live model, the path of a model file, or what an earlier `prune` or `recover` gave: then both prunings
            count as one, of the same parent.
        macs: share of multiply-accumulate operations to keep, 0 to 1: channels are removed. Likewise:
        parameters: share of parameters to keep.
        bytes: share of the arrays' bytes to keep.
        latency_ms: milliseconds on this machine to reach, as TFLite fp32, one example, one thread.
        sparsity: share of kernel weights to set to zero, 0 to 1; their shapes stay.
        n_m: ``(n, m)``: keep n of each m consecutive weights along the inputs that are summed over.
        blocks: how many residual blocks to remove.
        data: examples with labels, for what scores or trains on data: ``(x, y)`` arrays, a `tf.data.Dataset` or a Keras
            `PyDataset` of such batches, or the directory of a regrow dataset.
        validation: examples that decide which epoch is kept where pruning trains, in any of these forms but a
            directory, which has its own; a tenth of ``data`` unless given.
        loss: of Keras, by name or object; unless given, that which the model is compiled with.
        method: with macs, parameters or bytes: ``channels``, or ``layers`` for whole residual blocks.
        criterion: what a channel is worth: relative_l2 (unless given), l1, l2, taylor (Molchanov et
            al. 2019, needs data), lamp (Lee et al. 2021), geometric_median (He et al. 2019), apoz (Hu et al. 2016,
            needs data), batch_norm_scale (Liu et al. 2017), random.
        normalise: what scores are divided by in each group.
        scope: one threshold for all groups, or the same share of each.
        floor: share of each layer's channels that stays.
        min_channels: number of each layer's channels that stays.
        rank: whether channels go by their score, or by their score per unit of cost saved.
        round_to: what channel counts become a multiple of.
        rescore: times that scores are computed on the way.
        examples: how many calibration examples criteria get.
        batch_size: how many of them at a time.
        rounds: rounds of removal, with training between; needs data.
        between: how to train between two rounds, such as ``{"epochs": 2}``.
        sparse_training: train with a penalty before each removal, such as ``{"penalty": "group_lasso"}``; needs data.
        allocation: sparsity: how zeros are shared out over the layers.
        schedule: sparsity: at once, or ``gradual`` while training on (Zhu & Gupta 2017), which needs data.
        gradual: settings of that schedule, such as ``{"fit": {"epochs": 6}}``.
        skip: patterns of layer names that are left alone, such as ``"conv1*"``.
        seed: of what is drawn.
        **unknown: there are no others; a misspelt one is told the nearest.

    Returns:
        ``.model``, ``.parent``, ``.pruning`` (surgery, masks) and ``.report``; shown as the table of before and after.

    Raises:
        RegrowError: an argument is wrong, data is needed and not there, nothing can be pruned, or the target cannot be
            met; then the message says what can.

    >>> pruned = regrow.prune("digits.keras", macs=0.5)
    >>> regrow.inspect(pruned).macs / regrow.inspect("digits.keras").macs < 0.52
    True
    >>> sparse = regrow.prune(pruned, sparsity=0.8)
    >>> round(regrow.inspect(sparse).sparsity, 2)
    0.8
    """
    given = {name: value for name, value in locals().items() if name not in ("model", "unknown")}
    options = {name: given.pop(name) for name in ("data", "validation", "loss")}
    from regrow.pruning.arguments import refuse_unknown
    from regrow.pruning.live import prune_live

    refuse_unknown("prune", unknown, (*given, *options))
    return prune_live(model, given, **options)


def recover(
    pruned: "Pruned | Recovered | str | Path",
    train: Any,
    *,
    validation: Any = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    fit: Mapping[str, Any] | None = None,
    initialise: Mapping[str, Any] | str | None = None,
    recalibrate: bool | Mapping[str, Any] | None = None,
    reconstruct: bool | Mapping[str, Any] | None = None,
    custom: str | Mapping[str, Any] | Sequence[Any] | None = None,
    fine_tune: bool | None = None,
    distill: bool | Mapping[str, Any] | None = None,
    regularise: Mapping[str, Any] | None = None,
    multi_task: bool | Mapping[str, Any] | None = None,
    stop_when: str | None = None,
    retries: int | None = None,
    control: bool | None = None,
    seed: int | None = None,
    steps: int | None = None,
    validation_steps: int | None = None,
    loss: Any = None,
    augmentation: str | Path | None = None,
    training: str | Path | None = None,
    parent: Model = None,
    **unknown: Never,
) -> "Recovered":
    """Win back the accuracy of a pruned model with your own data; neither it nor its parent is changed.

    What costs nothing comes first: batch-normalisation recalibration, least-squares reconstruction, then fine-tuning.
    A technique that makes the model worse on the validation examples is undone. Zeros stay zero. Options have the names
    and defaults that they have in section `recover` of ``params.yaml`` (`regrow keys recover` lists them).

    Args:
        pruned: what `prune` or `recover` gave, or a directory that it was saved to, with ``parent``.
        train: training examples with labels: ``(x, y)`` arrays, a `tf.data.Dataset` or a Keras `PyDataset` of such
            batches, or the directory of a regrow dataset. Arrays are shuffled in each epoch; a `tf.data.Dataset` is
            taken as it is. Labels are class numbers (n,) or one-hot rows (n, classes) for a classifier, else what the
            model's loss takes.
        validation: examples that decide what is kept, in any of these forms but a directory, which has its own; a tenth
            of the training examples unless given. Do not pass your test examples: what chose a model cannot judge it.
        epochs: of fine-tuning; short for ``fit={"epochs": …}``. Likewise:
        batch_size: examples a step, of data that does not come in batches.
        learning_rate: the highest of the schedule.
        fit: how to fine-tune: epochs, optimizer, schedule, early_stopping, ema, sam, …
        initialise: the weights to start from: ``"pruned"``, ``"rewind"`` (Renda et al. 2020) or ``"reinitialise"``.
        recalibrate: whether to recalibrate batch normalisation, or how.
        reconstruct: whether to fit each layer to the parent's features by least squares, or how.
        custom: techniques of your own (`technique`), by name or with options, applied in order before fine-tuning.
        fine_tune: whether to fine-tune.
        distill: True, or how to distil knowledge from the parent (Hinton et al. 2015).
        regularise: regularisation while fine-tuning, such as ``{"l2": 1e-4}``.
        multi_task: True, or which auxiliary tasks are trained at the same time.
        stop_when: the validation accuracy at which fine-tuning ends, such as ``"accuracy >= parent - 0.01"``.
        retries: restarts allowed after divergence, each at half the learning rate.
        control: whether to train the same architecture from scratch too, to compare.
        seed: of all that is drawn.
        steps: batches of an epoch, of training data without an end.
        validation_steps: the same of ``validation``.
        loss: of Keras, by name or object; unless given, that which the pruned model or its parent is compiled with.
        augmentation: with a dataset directory, what `regrow augment` made of it.
        training: what `regrow train` wrote about the parent, for schedules and weights that look back at it.
        parent: the model before pruning, where ``pruned`` does not hold it.
        **unknown: there are no others; a misspelt one is told the nearest.

    Returns:
        ``.model``, ``.curve`` (a point for each technique and epoch) and ``.parent``; shown as a table.

    Raises:
        RegrowError: an argument is wrong, data does not fit the model, or fine-tuning diverged again and again.

    >>> pruned = regrow.prune("digits.keras", macs=0.5)
    >>> recovered = regrow.recover(pruned, (x_train, y_train), epochs=1)
    >>> recovered.curve.best["val_accuracy"] >= recovered.curve.points[0]["val_accuracy"]
    True
    """
    given = {name: value for name, value in locals().items() if name not in ("pruned", "train", "unknown")}
    options = {name: given.pop(name) for name in (*OF_DATA, "parent")}
    from regrow.pruning.arguments import refuse_unknown
    from regrow.recovery.live import recover_live

    refuse_unknown("recover", unknown, (*given, *options))
    return recover_live(pruned, train, given, **options)


def export(
    model: Model,
    directory: str | Path,
    formats: str | Sequence[str],
    *,
    calibration: Any = None,
    calibration_examples: int = 256,
    parity_examples: int = 256,
    tolerances: Mapping[str, Mapping[str, float]] | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    seed: int = 0,
) -> "Exported":
    """Write a model in formats that run without Regrow, load each in its own runtime, and compare it with the model.

    Args:
        model: a live model, the path of a model file, or the result of `prune` or `recover`; with one input and one
            output.
        directory: made where it is not there; files of other names in it stay.
        formats: one or several of keras, keras3, saved_model, tflite_fp32, tflite_fp16, tflite_int8, onnx, mlflow.
        calibration: examples as the model takes them: an array (n, …) or ``(x, y)``, a `tf.data.Dataset` or a Keras
            `PyDataset`, or the directory of a regrow dataset, whose training split is taken. They set the ranges of
            tflite_int8, which cannot do without; all formats are compared on such, or on random values without.
        calibration_examples: how many of them set the ranges.
        parity_examples: on how many others files are compared, as far as there are others.
        tolerances: by format what an export may differ by, instead of the defaults, such as
            ``{"tflite_int8": {"agreement": 0.8}}`` (share of equal predictions) or ``max_abs_difference``.
        on_error: ``skip`` leaves out a format that the model cannot be converted to.
        seed: of the examples that are drawn.

    Returns:
        ``.files``, ``.bytes`` and ``.parity`` by format; shown as a table.

    Raises:
        RegrowError: an argument is wrong, a model cannot be converted, or a file disagrees with the model; then nothing
            is written.

    >>> done = regrow.export("digits.keras", "out", ["tflite_int8", "tflite_fp32"], calibration=x_train)
    >>> sorted(done.files)
    ['tflite_fp32', 'tflite_int8']
    >>> done.bytes["tflite_int8"] < done.bytes["tflite_fp32"]
    True
    """
    from regrow.conversion.live import export_live

    return export_live(
        model,
        directory,
        formats,
        calibration=calibration,
        counts=(calibration_examples, parity_examples),
        tolerances=tolerances,
        on_error=on_error,
        seed=seed,
    )


def compare(
    parent: Model,
    recovered: Model,
    test: Any,
    *,
    latency: str | None = "tflite_fp32",
    calibration: Any = None,
) -> "Comparison":
    """Hold two classifiers against each other on the same examples.

    Args:
        parent: a live model, the path of a model file or of an exported ``.tflite`` or ``.onnx`` file, or the result of
            `prune` or `recover`.
        recovered: likewise.
        test: examples with labels that neither model has seen: ``(x, y)`` arrays, a `tf.data.Dataset` or a Keras
            `PyDataset` of such pairs, or the directory of a regrow dataset, whose test split is taken. Labels are class
            numbers (n,) or one-hot rows (n, classes).
        latency: the format that models are converted to, to weigh and time them: tflite_fp32, tflite_fp16, tflite_int8
            or onnx; exported files are taken as they are. None: no model is converted.
        calibration: examples that set the ranges of tflite_int8; ``test`` unless given.

    Returns:
        ``.accuracy_difference`` with its 95% ``.interval`` (Newcombe 1998), ``.mcnemar_p``, ``.latency_ratio`` and
        ``.metrics`` of both: accuracy, MACs, parameters, zeros, bytes, milliseconds; shown as a table.

    Raises:
        RegrowError: an argument is wrong, examples have no labels, or a model is no classifier or cannot be converted.

    >>> pruned = regrow.prune("digits.keras", macs=0.5)
    >>> found = regrow.compare("digits.keras", pruned, (x_test, y_test), latency=None)
    >>> found.examples, found.interval[0] <= found.accuracy_difference <= found.interval[1]
    (297, True)
    """
    from regrow.evaluation.live import compare_live

    return compare_live(parent, recovered, test, latency=latency, calibration=calibration)
