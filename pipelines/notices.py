"""Warnings about a configuration before it goes to a cluster; none is an error."""

import re
from collections.abc import Iterator
from typing import Any

from regrow.config.params_file import EXAMPLE, is_example
from regrow.config.sections import named_files
from regrow.dataset.sources import Dvc
from regrow.steps import NAMES, SWEEP_NAMES
from regrow_pipelines.placement import image_of

ADDRESS = re.compile(r"(?!file:)([a-z][a-z0-9+.-]*://|[^/\\]+:)")  # https://…, git@host:path
DATA = "for data in pods use git and S3 (kind: dvc, docs/shared-stores.md)"
FILES = "docs/compiling.md shows how to add it to an image"


def notices(config: Any, *, sweep: bool = False) -> list[str]:
    """Sentences about the configuration: images that no registry holds, files that pods do not see."""
    steps = (*NAMES, "outcome", *(SWEEP_NAMES if sweep else ()))
    found = sorted({image_of(config.cluster, step) for step in steps})
    said = [
        (
            f"image {name} has no registry, so nodes find it only if they already have it; set REGROW_REGISTRY "
            "to the registry used by `make push-images`, or name the images in cluster.images"
        )
        for name in found
        if "/" not in name
    ][:1]
    for key, path, readers in unseen(config):
        hint = DATA if key.startswith("prepare.") else FILES
        said.append(f"{key}: pods can read {path} only if the images of {readers} contain it; {hint}")
    said += _unread(config)
    return [f"{EXAMPLE} (prepare.source)", *said] if is_example(config) else said


def unseen(config: Any) -> Iterator[tuple[str, str, str]]:
    """Each path of this machine that ``config`` names: its key, the path, and the steps that read it."""
    source = config.prepare.source
    if isinstance(source, Dvc) and not ADDRESS.match(source.repo):
        yield "prepare.source.repo", source.repo, "resolve and prepare"
    for step in NAMES[1:]:
        for key, path in named_files(getattr(config, step), step):
            yield key, str(path), f"resolve and {step}"


def _unread(config: Any) -> Iterator[str]:
    """What of the section `tracking` has no effect on a cluster."""
    given = config.tracking.model_fields_set
    place = f"pods take it from the ConfigMap {config.cluster.mlflow.config_map} (cluster.mlflow)"
    for key, name in (("uri", "MLFLOW_TRACKING_URI"), ("experiment", "MLFLOW_EXPERIMENT_NAME")):
        if key in given:
            yield f"tracking.{key}: applies only to this machine; {place}, key {name}"
    if config.tracking.wandb is not None:
        yield (
            "tracking.wandb: applies only to this machine; pods need REGROW_WANDB in their environment "
            "(docs/tracking.md)"
        )
