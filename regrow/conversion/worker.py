"""The process that converts one model, for `regrow.conversion.apart`: a converter that dies takes no other with it."""

import dataclasses
import gc
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regrow.artifacts import is_full
from regrow.conversion.formats import FILES
from regrow.conversion.parity import Tolerance, compare
from regrow.errors import RegrowError

Emit = Callable[..., None]


def work(job: Mapping[str, Any], folder: Path, emit: Emit) -> None:
    """Convert ``job["source"]`` to ``job["formats"]`` in ``job["target"]``, and compare each with Keras.

    ``folder`` holds ``calibration.npy`` and ``held_out.npy``, float32, raw features. What happens is told by ``emit``:
    ``begins`` and ``done`` of each format, ``failed`` where one cannot be converted.
    """
    from regrow.conversion.converters import CONVERTERS
    from regrow.conversion.runtimes import load_runtime
    from regrow.graph.files import load_model

    source, target = Path(job["source"]), Path(job["target"])
    calibration, held_out = (np.load(folder / f"{name}.npy") for name in ("calibration", "held_out"))
    model = load_model(source)
    refuse_stateful(model, source)
    expected = np.asarray(model.predict(held_out, verbose=0))
    if not np.isfinite(expected).all():
        raise RegrowError(f"{source}: the model answers NaN or infinity on validation examples")
    for name in job["formats"]:
        emit("begins", format=name)
        try:
            CONVERTERS[name](model, target, calibration)
            answers = load_runtime(target, name)(held_out)
        except (OSError, MemoryError):
            raise
        except RegrowError as error:
            emit("failed", format=name, message=str(error))
            remove(target / FILES[name])
        except Exception as error:  # converters and runtimes meet what they do not know in many ways
            if is_full(error):
                raise
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            emit("failed", format=name, message=f"{source}: cannot be exported as {name} ({reason})")
            remove(target / FILES[name])
        else:
            parity = compare(expected, answers, Tolerance.model_validate(job["tolerances"][name]))
            emit("done", format=name, parity=dataclasses.asdict(parity))
        gc.collect()


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


def main() -> None:
    """``python -m regrow.conversion.worker FOLDER FD``: the job in ``FOLDER/job.json``, JSON lines to ``FD``."""
    folder = Path(sys.argv[1])
    with os.fdopen(int(sys.argv[2]), "w", encoding="utf-8", buffering=1) as events:

        def emit(event: str, **values: Any) -> None:
            events.write(json.dumps({"event": event, **values}) + "\n")

        try:
            work(json.loads((folder / "job.json").read_text("utf-8")), folder, emit)
        except RegrowError as error:
            emit("refused", message=str(error))
        except OSError as error:
            emit(
                "error",
                errno=error.errno,
                message=str(error.strerror or error),
                file=str(error.filename or ""),
            )
        except MemoryError:
            emit("refused", message="there is too little memory to convert the model")
        except KeyboardInterrupt:
            os._exit(130)
        emit("ends")


if __name__ == "__main__":
    main()
