"""What a step is: its name, inputs, outputs, parameters and function."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from regrow.config.sections import Parameters
from regrow.progress import Progress
from regrow.provenance.statement import Resource

P = TypeVar("P", bound=Parameters)
Kind = Literal["dataset", "model", "metrics", "artifact"]
STATEMENT = "statement"


@dataclass(frozen=True, kw_only=True)
class Input:
    """An input directory: the output ``output`` of the step ``producer``."""

    name: str
    producer: str
    output: str
    help: str
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output directory. ``kind`` is its type in Kubeflow."""

    name: str
    kind: Kind
    help: str


@dataclass(frozen=True, kw_only=True)
class StepContext(Generic[P]):
    """What a step's function receives.

    ``outputs`` are empty directories that exist already; what is written there appears under its final name
    only when the function returns. Optional inputs that were not given are not in ``inputs``. ``scratch``
    is a directory that outlives a killed process: the same inputs, parameters and code find it again, but
    the next ``regrow run`` removes it where the step does not resume. It is removed when the step has
    finished. ``figures`` are the key figures shown in the step's one line.
    ``mlflow_runs`` are the ids of MLflow runs that the step streamed to; like times, they belong in the
    statement, not in the outputs, which are equal for equal work.
    """

    step: str
    params: P
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    scratch: Path
    figures: dict[str, Any] = field(default_factory=dict)
    dependencies: list[Resource] = field(default_factory=list)
    mlflow_runs: list[str] = field(default_factory=list)

    def progress(self, total: int = 0) -> Progress:
        """A progress reporter for this step."""
        return Progress(self.step, total=total)


@dataclass(frozen=True, kw_only=True)
class FileUse(Generic[P]):
    """What a step receives when it works on a user's model file, outside any workspace.

    ``inputs`` are those named on the command line. ``output`` is an empty directory; what is written there appears
    under its final name only when the function returns. ``trust`` allows code in the model to run, and ``latency`` asks
    for the latency before and after, in milliseconds.
    """

    model: Path
    params: P
    inputs: Mapping[str, Path]
    output: Path
    trust: bool = False
    latency: bool = False


@dataclass(frozen=True, kw_only=True)
class StepSpec(Generic[P]):
    """The single definition of a step's inputs, outputs and parameters.

    The command line, ``dvc.yaml``, the schema of ``params.yaml`` and the local run are derived from it; a
    test holds the Kubeflow component to it.

    Args:
        name: a verb; the same in the module, CLI, Kubeflow, DVC, ``params.yaml`` and MLflow.
        summary: one line for ``--help``.
        inputs: directories that other steps made.
        outputs: directories that this step makes, besides its statement.
        params: pydantic model of the step's section in ``params.yaml``.
        run: the function; it reads ``context.inputs`` and fills ``context.outputs``.
        imports: slow libraries that ``run`` needs; imported and timed before it is called.
        packages: distributions whose versions can change the result; part of the cache key.
        cached: whether an earlier result may be used for equal inputs, parameters and code.
        resumes: whether a later process resumes from the ``scratch`` of a killed one; else it is removed.
        on_file: runs the step on a model file in place of its first input; returns what is printed (for `rich`).
        outside: what the step reads besides its inputs (raw data), with digests; part of the cache key.
        settled: the parameters made definite by its inputs, such as a branch pinned to the resolved commit.
    """

    name: str
    summary: str
    inputs: Sequence[Input]
    outputs: Sequence[Output]
    params: type[P]
    run: Callable[[StepContext[P]], None]
    imports: Sequence[str] = ()
    packages: Sequence[str] = ()
    cached: bool = True
    resumes: bool = False
    on_file: Callable[[FileUse[P]], Any] | None = None
    outside: Callable[[P], Sequence[Resource]] | None = None
    settled: Callable[[P, Mapping[str, Path]], P] | None = None

    @property
    def module(self) -> str:
        """The module that holds the step's function."""
        return self.run.__module__

    @property
    def required(self) -> tuple[Input, ...]:
        """Required inputs."""
        return tuple(item for item in self.inputs if not item.optional)
