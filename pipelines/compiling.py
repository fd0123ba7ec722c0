"""Compile the pipeline for a cluster, with the arguments of a run."""

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kfp import compiler

from regrow.cluster.settings import ClusterSettings
from regrow.config.document import step_params
from regrow.config.sections import canonical_json
from regrow.config.sweep import candidates, check_sweep, resolve_params, section
from regrow.provenance.code import code_digest
from regrow.provenance.digest import text_digest
from regrow.steps import NAMES, SWEEP_NAMES
from regrow.steps.by_value import literal
from regrow_components.versions import step_code
from regrow_pipelines.placement import for_cluster
from regrow_pipelines.prune_and_recover import prune_and_recover
from regrow_pipelines.sweep import sweep_pipeline

OUTCOME = "regrow.registry.outcome"  # what the exit handler does; it is no step


def code_version() -> str:
    """One digest over the sources of all that the images run: every step, a sweep's too, and the exit handler."""
    codes = {name: step_code(name) for name in (*NAMES, *SWEEP_NAMES)}
    return text_digest(canonical_json({**codes, "outcome": code_digest(OUTCOME)}))


def arguments(config: Any) -> dict[str, str]:
    """The pipeline's arguments for a validated configuration: each step's parameters and code version."""
    params = {f"{name}_params": literal(canonical_json(step_params(config, name))) for name in NAMES}
    codes = {f"{name}_code": step_code(name) for name in NAMES}
    return {**params, **codes, "code_version": code_version()}


def compiled(
    config: Any, *, pipeline: Any = prune_and_recover, parameters: Mapping[str, Any] | None = None
) -> str:
    """``pipeline`` as YAML, placed by ``config.cluster``, with ``parameters`` (default: ``config``'s) as defaults."""
    given = arguments(config) if parameters is None else parameters
    # Kubeflow walks over the whole stack for each thing that is set on a task: that of a new thread is short.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_compiled, config.cluster, pipeline, given).result()


def _compiled(settings: ClusterSettings, pipeline: Any, given: Mapping[str, Any]) -> str:
    placed = for_cluster(settings, pipeline=pipeline)
    with tempfile.TemporaryDirectory(prefix="regrow-") as folder:
        target = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(placed, package_path=str(target), pipeline_parameters=dict(given))
        return target.read_text("utf-8")


def sweep_arguments(config: Any) -> dict[str, Any]:
    """The sweep's arguments for a validated configuration; ``candidates`` are texts, which Kubeflow leaves alone."""
    found = {
        name: value
        for name, value in arguments(config).items()
        if name not in ("prune_params", "recover_params")
    }
    for name in SWEEP_NAMES:
        found[f"{name}_params"] = literal(canonical_json(step_params(config, name)))
        found[f"{name}_code"] = step_code(name)
    return {
        **found,
        "resolve_params": literal(canonical_json(resolve_params(config))),
        "candidates": [
            {
                "candidate": literal(canonical_json(item.identity)),
                "train_params": literal(canonical_json(item.train)),
                "prune_params": literal(canonical_json(item.prune)),
                "recover_params": literal(canonical_json(item.recover)),
            }
            for item in candidates(config)
        ],
    }


def swept(config: Any) -> tuple[Any, dict[str, Any]]:
    """The sweep that ``config``'s section `sweep` describes, and its arguments.

    Raises:
        RegrowError: there is no section `sweep`, its candidates' parameters do not go
            together, or they would be weighed by a file that is not exported.
    """
    check_sweep(config)
    wanted = section(config)
    pipeline = sweep_pipeline(train_seeds=wanted.train_seeds, parallelism=wanted.workers)
    return pipeline, sweep_arguments(config)
