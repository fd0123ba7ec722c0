"""The entry point through which a Kubeflow component runs its step."""

import atexit
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from pydantic import ValidationError

from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.provenance.code import code_digest
from regrow.showing.output import guard_streams
from regrow.steps import get_spec
from regrow.steps.by_value import version, write_values
from regrow.steps.execution import execute
from regrow.steps.spec import STATEMENT
from regrow.storage.documents import parse_json

# Set by the local run, which shows a user's mistake itself: the step then ends without a traceback.
QUIET = "REGROW_QUIET"
# Directory of log files, one a step; without it a step's output stays where the process's output goes.
LOGS = "REGROW_LOGS"


def _log_to_file(name: str) -> None:
    """Redirect all output of this process, C++ libraries included, to ``$REGROW_LOGS/NAME.log``."""
    folder = os.environ.get(LOGS)
    if not folder:
        return
    path = Path(folder) / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


class _Ending:
    """Ends a successful process without unloading its libraries, which takes TensorFlow most of a second.

    What was registered with `atexit` after this still runs. Kubeflow's executor, which writes down the outputs when the
    step is done, may yet fail: its exception is seen, and the process then ends as any other.
    """

    def __init__(self) -> None:
        self.succeeded = False
        self._hook = sys.excepthook
        sys.excepthook = self._failed
        atexit.register(self._end)

    def _failed(self, *error: Any) -> None:
        self.succeeded = False
        self._hook(*error)

    def _end(self) -> None:
        if self.succeeded:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


class Done(NamedTuple):
    """A finished step: its key figures, and the version that goes into the next steps' cache keys."""

    figures: dict[str, object]
    version: str


def run_component(
    name: str,
    params: str,
    *,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    values: Mapping[str, str] | None = None,
) -> Done:
    """Run step ``name`` with ``params`` (canonical JSON) on artifact paths; ``outputs`` hold its statement too.

    Optional inputs that a pipeline does not connect are left out of ``inputs``. ``values`` are inputs that come as
    JSON texts instead of artifacts; see `regrow.steps.by_value`.
    """
    guard_streams()
    ending = _Ending() if os.environ.get(QUIET) else None
    _log_to_file(name)
    spec = get_spec(name)
    # Interpreter, Kubeflow's executor and Regrow: a process that runs a step has imported them by now.
    emit("launched", step=name, startup_s=time.time() - psutil.Process().create_time())
    try:
        parsed = spec.params.model_validate(parse_json(params, where="its JSON"))
    except (RegrowError, ValidationError) as error:
        message = f"step '{name}': its parameters are not valid: {' '.join(str(error).split())}"
        emit("failed", step=name, message=message)
        raise RegrowError(message) from None
    paths = {key: Path(path) for key, path in outputs.items()}
    statement = paths.pop(STATEMENT)
    try:
        with tempfile.TemporaryDirectory(prefix="regrow-") as folder:
            given = {key: Path(path) for key, path in inputs.items()}
            given |= write_values(values or {}, Path(folder))
            result = execute(spec, parsed, inputs=given, outputs=paths, statement=statement)
    except RegrowError as error:
        if not os.environ.get(QUIET):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    if ending is not None:
        ending.succeeded = True
    made = version(name, outputs=result.statement.subjects, code=code_digest(spec.module))
    return Done(figures=dict(result.statement.figures), version=made)
