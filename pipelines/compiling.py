"""Writing the pipeline for a cluster, and the arguments that a run of it needs."""

from pathlib import Path
from typing import Any

from kfp import compiler

from regrow.config import step_params
from regrow.parameters import canonical_json
from regrow.provenance.code import code_digest
from regrow.provenance.digest import text_digest
from regrow.steps import NAMES, all_specs
from regrow_pipelines.prune_and_recover import prune_and_recover


def code_version() -> str:
    """One digest over the sources of all steps."""
    return text_digest(canonical_json({name: code_digest(spec.module) for name, spec in all_specs().items()}))


def arguments(config: Any) -> dict[str, str]:
    """The pipeline's arguments for a validated configuration."""
    params = {f"{name}_params": _literal(canonical_json(step_params(config, name))) for name in NAMES}
    return {**params, "code_version": code_version()}


def _literal(text: str) -> str:
    """JSON of the same value in which Kubeflow, and Argo below it, find no placeholder of theirs (``{{$.…}}``) to fill.

    In canonical JSON two braces follow each other in strings only, where one may be escaped.
    """
    return text.replace("{{", "{\\u007b")


def compile_pipeline(config: Any, target: Path) -> None:
    """Write the pipeline as YAML, with ``config`` as its parameters' defaults."""
    compiler.Compiler().compile(
        prune_and_recover, package_path=str(target), pipeline_parameters=arguments(config)
    )
