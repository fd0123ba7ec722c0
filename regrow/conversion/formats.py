"""The formats a model is exported to, one record each: all that anybody needs to know of one. No TensorFlow here.

The parameters, the schema, the export step, the report, the gate and the registry read them. To add one here, add a
record to `RECORDS`; from outside, decorate what converts to it with `export_format`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from regrow import extensions
from regrow.config.choices import OneOf
from regrow.config.sections import Parameters
from regrow.conversion import converters, runtimes
from regrow.conversion.runtimes import Predict
from regrow.conversion.usage import KERAS, KERAS3, MLFLOW, ONNX, SAVED_MODEL, TFLITE, TFLITE_INT8
from regrow.errors import RegrowError, nearest

if TYPE_CHECKING:
    from regrow.conversion.runtimes import Array

Convert = Callable[[Any, Path, "Array"], None]
TENSORFLOW = ("numpy", "tensorflow", "tf_keras")


class Tolerance(Parameters):
    """What an export may differ by on held-out examples: probabilities at most, predictions at least."""

    max_abs_difference: float = Field(ge=0)
    agreement: float = Field(ge=0, le=1)


CLOSE = Tolerance(max_abs_difference=1e-4, agreement=0.99)  # the same arithmetic in another order


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """A format.

    Args:
        name: in ``export.formats``, in metrics and in the report.
        file: the file or folder in a directory of exports.
        convert: writes ``file``: from a `tf_keras` model, the path, and raw calibration examples, float32 ``(n, …)``.
        load: from the path to a function of raw features ``(n, …)`` that gives probabilities ``(n, classes)``, float32.
        tolerance: how far its answers may be from those of Keras, unless ``export.tolerances`` says otherwise.
        usage: Python for the README beside the exports, five lines at most: it reads ``x``, a batch, and leaves the
            probabilities in ``answer``.
        packages: distributions whose versions may change what is written.
        facts: what ``signature.json`` says of the file, see `regrow.conversion.description`; None: it takes and gives
            float32, any number of examples, and keeps no state.
        runner: what makes one inference to be timed: from the path, one example and ``threads``; None: not timed.
        default: whether it is exported unless ``export.formats`` is given.
        always: whether it is exported whatever is asked for.
        weighed: whether its size is that of a model; one that only wraps another's files is not weighed.
        tabled: whether it has lines of its own in the table at the end of a run.
    """

    name: str
    file: str
    convert: Convert
    load: Callable[[Path], Predict]
    tolerance: Tolerance
    usage: str
    packages: tuple[str, ...]
    facts: Callable[[Path], dict[str, Any]] | None = None
    runner: Callable[..., Callable[[], None]] | None = None
    default: bool = True
    always: bool = False
    weighed: bool = True
    tabled: bool = False


RECORDS = (
    ExportFormat(
        name="keras",
        file="model.keras",
        convert=converters.to_keras,
        load=runtimes.load_keras,
        tolerance=CLOSE,
        usage=KERAS,
        packages=TENSORFLOW,
        always=True,
    ),
    ExportFormat(
        name="saved_model",
        file="saved_model",
        convert=converters.to_saved_model,
        load=runtimes.load_saved_model,
        tolerance=CLOSE,
        usage=SAVED_MODEL,
        packages=TENSORFLOW,
    ),
    ExportFormat(
        name="tflite_fp32",
        file="model_fp32.tflite",
        convert=converters.to_tflite_fp32,
        load=runtimes.load_tflite,
        tolerance=CLOSE,
        usage=TFLITE,
        packages=TENSORFLOW,
        facts=runtimes.tflite_facts,
        runner=runtimes.tflite_runner,
        tabled=True,
    ),
    ExportFormat(
        name="tflite_fp16",
        file="model_fp16.tflite",
        convert=converters.to_tflite_fp16,
        load=runtimes.load_tflite,
        # Weights are rounded to 11 bits; MLPerf Tiny's ResNet-8 on CIFAR-10: 0.013 with equal predictions.
        tolerance=Tolerance(max_abs_difference=5e-2, agreement=0.98),
        usage=TFLITE,
        packages=TENSORFLOW,
        facts=runtimes.tflite_facts,
        runner=runtimes.tflite_runner,
    ),
    ExportFormat(
        name="tflite_int8",
        file="model_int8.tflite",
        convert=converters.to_tflite_int8,
        load=runtimes.load_tflite,
        # A model of its own, which only its predictions can be held to.
        tolerance=Tolerance(max_abs_difference=1.0, agreement=0.9),
        usage=TFLITE_INT8,
        packages=TENSORFLOW,
        facts=runtimes.tflite_facts,
        runner=runtimes.tflite_runner,
        tabled=True,
    ),
    ExportFormat(
        name="onnx",
        file="model.onnx",
        convert=converters.to_onnx,
        load=runtimes.load_onnx,
        tolerance=CLOSE,
        usage=ONNX,
        packages=(*TENSORFLOW, "onnx", "tf2onnx"),
        runner=runtimes.onnx_runner,
    ),
    ExportFormat(
        name="mlflow",
        file="mlflow",
        convert=converters.to_mlflow,
        load=runtimes.load_mlflow,
        tolerance=CLOSE,
        usage=MLFLOW,
        packages=(*TENSORFLOW, "mlflow"),
        always=True,
        weighed=False,
    ),
    ExportFormat(
        name="keras3",
        file="model_keras3.keras",
        convert=converters.to_keras3,
        load=runtimes.load_keras3,
        tolerance=CLOSE,
        usage=KERAS3,
        packages=(*TENSORFLOW, "keras"),
        # Keras 3 does not have every layer that the other formats can hold, so it is written where it is asked for.
        default=False,
    ),
)
FORMATS: dict[str, ExportFormat] = {record.name: record for record in RECORDS}
FILES: dict[str, str] = {record.name: record.file for record in RECORDS}


def export_formats() -> dict[str, ExportFormat]:
    """All formats by name, those of installed extensions too."""
    extensions.load()
    return FORMATS


def timed() -> tuple[str, ...]:
    """The formats of which an inference can be timed."""
    return tuple(name for name, record in export_formats().items() if record.runner is not None)


def weighed() -> tuple[str, ...]:
    """The formats whose size counts as that of a model."""
    return tuple(name for name, record in export_formats().items() if record.weighed)


Format = Annotated[str, OneOf(lambda: list(export_formats()))]
TimedFormat = Annotated[str, OneOf(lambda: list(timed()))]
WeighedFormat = Annotated[str, OneOf(lambda: list(weighed()))]
DEFAULT_FORMATS: tuple[str, ...] = tuple(record.name for record in RECORDS if record.default)
ALWAYS: tuple[str, ...] = tuple(record.name for record in RECORDS if record.always)
# What is timed, as far as it was exported, unless something else is asked for.
DEFAULT_TIMED: tuple[str, ...] = ("tflite_fp32", "tflite_int8", "onnx")


def export_format(
    name: str,
    *,
    file: str,
    load: Callable[[Path], Predict],
    usage: str,
    tolerance: Tolerance = CLOSE,
    packages: tuple[str, ...] = (),
    facts: Callable[[Path], dict[str, Any]] | None = None,
    runner: Callable[..., Callable[[], None]] | None = None,
) -> Callable[[Convert], Convert]:
    """Register the decorated function as what converts to ``name``; the arguments are those of `ExportFormat`.

    It takes a `tf_keras` model, the path to write, and raw calibration examples, float32 ``(n, …)``. The format is
    written where ``export.formats`` asks for it.

    Raises:
        RegrowError: the name or the file belongs to another format.

    Example:
        >>> @export_format("weights", file="weights.npz", load=lambda path: None, usage="answer = None")
        ... def to_weights(model, target, calibration): ...
        >>> FORMATS.pop("weights").file, FILES.pop("weights")
        ('weights.npz', 'weights.npz')
    """

    def register(function: Convert) -> Convert:
        for other in FORMATS.values():
            own = (other.convert.__module__, other.convert.__qualname__)
            if name_or_file(other, name, file) and own != (function.__module__, function.__qualname__):
                raise RegrowError(
                    f"export format '{name}': '{other.name}' has this name, or the file {other.file}"
                )
        FORMATS[name] = ExportFormat(
            name=name,
            file=file,
            convert=function,
            load=load,
            tolerance=tolerance,
            usage=usage,
            packages=packages,
            facts=facts,
            runner=runner,
            default=False,
        )
        FILES[name] = file
        return function

    return register


def name_or_file(record: ExportFormat, name: str, file: str) -> bool:
    """Whether ``record`` has this name or this file already."""
    return name == record.name or file == record.file


def export_path(directory: Path, name: str) -> Path:
    """The export ``name`` in ``directory``.

    Raises:
        RegrowError: the format is not known, or was not exported.
    """
    if name not in export_formats():
        raise RegrowError(f"export format '{name}' is not known{nearest(name, FORMATS)}")
    path = directory / FORMATS[name].file
    if not path.exists():
        raise RegrowError(f"{path}: no such export; '{name}' must be in export.formats")
    return path


def convert(model: Any, name: str, directory: Path, calibration: "Array") -> None:
    """Write `tf_keras` ``model`` to ``directory``, which exists, as format ``name``.

    ``calibration`` are raw examples, float32 ``(n, …)``, that set int8's ranges.
    """
    record = export_formats().get(name)
    if record is None:
        raise RegrowError(
            f"export format '{name}' is not known to the process that converts: a format of your own has to be in an"
            " installed package (docs/extend-package.md)"
        )
    record.convert(model, directory / record.file, calibration)


def load_runtime(directory: Path, name: str) -> Predict:
    """Load the export ``name`` in ``directory``: raw features ``(n, …)`` to probabilities ``(n, classes)``, float32.

    Raises:
        RegrowError: the format is not known, or was not exported.
    """
    path = export_path(directory, name)
    return FORMATS[name].load(path)


def single_runner(directory: Path, name: str, example: "Array", *, threads: int = 1) -> Callable[[], None]:
    """One inference of one ``example`` (without batch axis) in a TFLite or ONNX export, to be timed.

    The input is set beforehand, so that a call is the inference alone; of a TFLite file that keeps a state, with the
    reset that must precede it.

    Raises:
        RegrowError: the format is not known, has no single runner, or was not exported.
    """
    path = export_path(directory, name)
    runner = FORMATS[name].runner
    if runner is None:
        raise RegrowError(f"{path}: latency is measured of {', '.join(timed())}, not of '{name}'")
    return runner(path, example, threads=threads)
