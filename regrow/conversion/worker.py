"""The process that converts models, for `regrow.conversion.apart`: a converter that dies takes no other with it."""

import dataclasses
import gc
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regrow.conversion.formats import FILES, Tolerance, convert, load_runtime
from regrow.conversion.parity import compare
from regrow.errors import RegrowError
from regrow.storage.artifacts import is_full

Emit = Callable[..., None]
Check = Callable[[str, Path], dict[str, Any]]


def work(job: Mapping[str, Any], folder: Path, emit: Emit) -> None:
    """Convert each of ``job["models"]`` (``source``, ``target``) to its formats in ``job["left"]``.

    With ``job["tolerances"]`` each export is compared with Keras. ``folder`` holds ``calibration.npy`` and, to compare,
    ``held_out.npy``: float32, raw features. What happens is told by ``emit``: ``model``; ``begins`` and ``done`` of
    each format; ``failed`` where one cannot be converted, which is then not tried with the models that follow.
    """
    from regrow.model_files.files import load_file

    calibration, failed = np.load(folder / "calibration.npy"), set[str]()
    for role, names in job["left"].items():
        if not failed.issuperset(names):
            emit("model", model=role)
            source, target = (Path(job["models"][role][name]) for name in ("source", "target"))
            # A caller who holds the model in memory has loaded it as the user said.
            model = load_file(source, trust=job.get("trust", False))
            check = _comparison(model, source, job, folder) if "tolerances" in job else None
            left = [name for name in names if name not in failed]
            failed |= _convert(model, left, target, calibration, check, emit)
            del model, check
            gc.collect()


def _convert(
    model: Any, names: list[str], target: Path, calibration: Any, check: Check | None, emit: Emit
) -> set[str]:
    """Convert to ``names`` in ``target``; those that failed."""
    failed = set()
    for name in names:
        emit("begins", format=name)
        try:
            convert(model, name, target, calibration)
            parity = None if check is None else check(name, target)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # converters and runtimes meet what they do not know in many ways
            if is_full(error):
                raise
            text = " ".join(str(error).split())
            reason = text if isinstance(error, RegrowError) else text[:300]
            emit("failed", message=f"cannot be exported as {name} ({reason or type(error).__name__})")
            remove(target / FILES[name])
            failed.add(name)
        else:
            emit("done", parity=parity)
        gc.collect()
    return failed


def _comparison(model: Any, source: Path, job: Mapping[str, Any], folder: Path) -> Check:
    """What compares an export with ``model``: from format and folder to parity as JSON."""
    refuse_stateful(model, source)
    held_out = np.load(folder / "held_out.npy")
    expected = np.asarray(model.predict(held_out, verbose=0))
    if not np.isfinite(expected).all():
        raise RegrowError(f"{source}: the model answers NaN or infinity on validation examples")

    def check(name: str, target: Path) -> dict[str, Any]:
        answers = load_runtime(target, name)(held_out)
        tolerance = Tolerance.model_validate(job["tolerances"][name])
        return dataclasses.asdict(compare(expected, answers, tolerance))

    return check


def refuse_stateful(model: Any, source: Path) -> None:
    """Refuse a model whose answers depend on the examples before.

    Raises:
        RegrowError: a recurrent layer is stateful; it is named.
    """
    for layer in model._flatten_layers(include_self=False):
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_states"):
            raise RegrowError(
                f"{source}: layer '{layer.name}' ({type(layer).__name__}) is stateful: what it answers depends on the"
                " examples before, in every format otherwise; build it with stateful=False and the same weights"
            )


def remove(path: Path) -> None:
    """Remove the file or folder ``path``, where it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def serve(do: Callable[[Mapping[str, Any], Path, Emit], None]) -> None:
    """Do the job in ``FOLDER/job.json`` for each FOLDER that a line of standard input names.

    What happens is written as JSON lines to the pipe whose number is the first argument.
    """
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8", buffering=1) as events:

        def emit(event: str, **values: Any) -> None:
            events.write(json.dumps({"event": event, **values}) + "\n")

        try:
            importlib.import_module("tensorflow")  # while the first job is still made ready
            for line in sys.stdin:
                _answer(do, Path(line.removesuffix("\n")), emit)
        except BrokenPipeError:
            os._exit(1)  # nobody waits for this any more
        except KeyboardInterrupt:
            os._exit(130)
        events.flush()
        os._exit(0)  # without unloading TensorFlow, which takes most of a second


def _answer(do: Callable[[Mapping[str, Any], Path, Emit], None], folder: Path, emit: Emit) -> None:
    try:
        do(json.loads((folder / "job.json").read_text("utf-8")), folder, emit)
    except BrokenPipeError:
        raise
    except RegrowError as error:
        emit("refused", message=str(error))
    except OSError as error:
        emit("error", errno=error.errno, message=str(error.strerror or error), file=str(error.filename or ""))
    except MemoryError:
        emit("refused", message="there is too little memory to convert the model")
    emit("ends")


if __name__ == "__main__":
    serve(work)
