"""Run one step: check inputs, look in the cache, work in scratch directories, rename, write the statement."""

import contextlib
import datetime
import importlib
import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.config.sections import Parameters, canonical_json
from regrow.errors import RegrowError
from regrow.model_files.channels_first import switch_on_onednn
from regrow.progress import emit
from regrow.provenance.code import code_digest
from regrow.provenance.digest import digest_of_files, file_digests, text_digest
from regrow.provenance.environment import surroundings
from regrow.provenance.statement import FILE_NAME, Resource, Statement, make_statement, read_statement
from regrow.steps.checkpoints import scratch_for
from regrow.steps.spec import STATEMENT, P, StepContext, StepSpec
from regrow.storage.artifacts import copy_tree, disk_errors, new_directory

CACHE = "REGROW_CACHE"
CHECKPOINTS = "checkpoints"  # in the cache


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The outcome of a step. ``imports_s`` and ``work_s`` are seconds; a cached step has neither."""

    statement: Statement
    cached: bool
    imports_s: float
    work_s: float


def execute(
    spec: StepSpec[P],
    params: P,
    *,
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    statement: Path,
) -> StepResult:
    """Run ``spec`` on ``inputs``; ``outputs`` and ``statement`` (a directory) appear complete or not at all.

    If ``REGROW_CACHE`` names a directory, a finished step with the same inputs, parameters, code and library versions
    is taken from there, after the digests in its statement are verified.

    Raises:
        RegrowError: an input is missing, the parameters or data cannot be used, or the disk is full.
    """
    emit("started", step=spec.name)
    try:
        result = _execute(spec, params, inputs=inputs, outputs=outputs, statement=statement)
    except RegrowError as error:
        emit("failed", step=spec.name, message=str(error))
        raise
    except Exception as error:
        emit("failed", step=spec.name, message=f"{type(error).__name__}: {error}", defect=True)
        raise
    emit(
        "finished",
        step=spec.name,
        cached=result.cached,
        imports_s=result.imports_s,
        work_s=result.work_s,
        figures=result.statement.figures,
        outputs={name: str(path.absolute()) for name, path in outputs.items()},
    )
    return result


def _execute(
    spec: StepSpec[P],
    params: P,
    *,
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    statement: Path,
) -> StepResult:
    _check_ports(spec, inputs, outputs)
    code = code_digest(spec.module)
    settled = spec.settled(params, inputs) if spec.settled else params
    outside = list(spec.outside(settled)) if spec.outside else []
    used = [_used(spec, name, path) for name, path in inputs.items()]
    key = _cache_key(spec, params, code=code, resources=[*outside, *used])
    store = _store(spec, key)
    if spec.cached and store is not None:
        restored = _restore(spec, store, outputs=outputs, statement=statement)
        if restored is not None:
            return StepResult(statement=restored, cached=True, imports_s=0.0, work_s=0.0)
    switch_on_onednn([*inputs.values(), *(Path(item.uri) for item in outside if item.uri)])
    imports_s = _import(spec)
    root = Path(os.environ.get(CACHE) or Path.cwd() / ".regrow") / CHECKPOINTS
    with scratch_for(spec.name, key, root=root, resumes=spec.resumes) as scratch:
        with contextlib.ExitStack() as stack:
            places = {name: stack.enter_context(new_directory(path)) for name, path in outputs.items()}
            context = StepContext(
                step=spec.name, params=settled, inputs=dict(inputs), outputs=places, scratch=scratch
            )
            started = datetime.datetime.now(datetime.UTC)
            clock = time.monotonic()
            with disk_errors(next(iter(outputs.values()), statement)):
                spec.run(context)
            work_s = time.monotonic() - clock
            made = make_statement(
                step=spec.name,
                outputs=places,
                dependencies=[*outside, *used, *context.dependencies],
                parameters=params.model_dump(mode="json"),
                cache_key=key,
                code=code,
                surroundings=surroundings(),
                started=started,
                finished=datetime.datetime.now(datetime.UTC),
                figures=context.figures,
                mlflow_runs=context.mlflow_runs,
            )
            _withdraw(statement)
        with new_directory(statement) as place:
            made.write(place)
        if spec.cached and store is not None:
            _keep(store, outputs=outputs, statement=statement)
    return StepResult(statement=made, cached=False, imports_s=imports_s, work_s=work_s)


def _check_ports(spec: StepSpec[Any], inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    known = {item.name for item in spec.inputs}
    for item in spec.required:
        if item.name not in inputs:
            raise RegrowError(f"step '{spec.name}': input '{item.name}' is missing: {item.help}")
    for name, path in inputs.items():
        if name not in known:
            raise RegrowError(
                f"step '{spec.name}': has no input '{name}'; it takes {', '.join(sorted(known))}"
            )
        if not path.is_dir():
            raise RegrowError(f"{path}: input '{name}' of step '{spec.name}' is not a directory")
    if set(outputs) != {item.name for item in spec.outputs}:
        raise RegrowError(
            f"step '{spec.name}': its outputs are {', '.join(item.name for item in spec.outputs)}"
        )


def _used(spec: StepSpec[Any], name: str, path: Path) -> Resource:
    """The input ``name`` with its digest, checked against its producer's statement if that lies beside it.

    Raises:
        RegrowError: the input differs from what its producer made; the message names the file.
    """
    files = file_digests(path)
    (port,) = (item for item in spec.inputs if item.name == name)
    beside = path.parent / STATEMENT
    if path.name == port.output != STATEMENT and (beside / FILE_NAME).is_file():
        statement = read_statement(beside)
        if statement.step == port.producer and port.output in statement.subjects:
            statement.verify_files(port.output, path, files)
    return Resource(name=name, digest={"sha256": digest_of_files(files)})


def _withdraw(statement: Path) -> None:
    """Remove a statement before its outputs are replaced, so that it never lies beside other outputs."""
    (statement / FILE_NAME).unlink(missing_ok=True)


def _import(spec: StepSpec[Any]) -> float:
    """Import the step's slow libraries now, so that their time does not count as the step's work."""
    clock = time.monotonic()
    for module in spec.imports:
        importlib.import_module(module)
    return time.monotonic() - clock


def _cache_key(spec: StepSpec[Any], params: Parameters, *, code: str, resources: list[Resource]) -> str:
    versions = {name: importlib.metadata.version(name) for name in spec.packages}
    return text_digest(
        canonical_json(
            {
                "step": spec.name,
                "parameters": params.model_dump(mode="json"),
                "resources": {item.name: dict(item.digest) for item in resources},
                "code": code,
                "packages": {**versions, "python": platform.python_version()},
            }
        )
    )


def _store(spec: StepSpec[Any], key: str) -> Path | None:
    root = os.environ.get(CACHE)
    return Path(root) / spec.name / key if root else None


def _restore(
    spec: StepSpec[Any], store: Path, *, outputs: Mapping[str, Path], statement: Path
) -> Statement | None:
    """Take outputs from the cache if they match their statement; discard a damaged entry."""
    if not (store / "statement").is_dir():
        return None
    try:
        found = read_statement(store / "statement")
        if (found.step, found.cache_key) != (spec.name, store.name):
            raise RegrowError(f"{store}: holds the result of step '{found.step}' with key {found.cache_key}")
        found.verify({name: store / name for name in outputs})
    except RegrowError as error:
        emit("notice", message=f"a cached result is damaged and will be made again: {error}")
        shutil.rmtree(store, ignore_errors=True)
        return None
    _withdraw(statement)
    for name, path in outputs.items():
        _link(store / name, path)
    _link(store / "statement", statement)
    return found


def _keep(store: Path, *, outputs: Mapping[str, Path], statement: Path) -> None:
    with new_directory(store) as place:
        for name, path in outputs.items():
            copy_tree(path, place / name)
        copy_tree(statement, place / "statement")


def _link(source: Path, target: Path) -> None:
    with new_directory(target) as place:
        copy_tree(source, place)


@contextlib.contextmanager
def cache_at(directory: Path) -> Iterator[None]:
    """Use ``directory`` as the cache of step results within the block."""
    before = os.environ.get(CACHE)
    os.environ[CACHE] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE]
        else:
            os.environ[CACHE] = before
