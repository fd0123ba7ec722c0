"""What a user should know of a configuration before it goes to a cluster, and what is no fault: it may be meant so."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regrow.dataset.sources import Dvc
from regrow.steps import NAMES, SWEEP_NAMES
from regrow.training.options import Resnet50Transfer
from regrow_pipelines.placement import image_of

ADDRESS = re.compile(r"(?!file:)([a-z][a-z0-9+.-]*://|[^/\\]+:)")  # https://…, git@host:path
DOWNLOADED = ("none", "imagenet")
DATA = "data for pods come from git and S3 (kind: dvc, docs/shared-stores.md)"
FILES = "docs/compiling.md says how an image is given one"


def notices(config: Any, *, sweep: bool = False) -> list[str]:
    """Sentences about the configuration: images that no registry holds, files that pods do not see."""
    steps = (*NAMES, "outcome", *(SWEEP_NAMES if sweep else ()))
    found = sorted({image_of(config.cluster, step) for step in steps})
    said = [
        f"image {name} names no registry, so that nodes find it only where they hold it already; set"
        " REGROW_REGISTRY to the registry that `make push-images` filled, or name images in cluster.images"
        for name in found
        if "/" not in name
    ][:1]
    for key, path, readers in unseen(config):
        hint = DATA if key.startswith("prepare.") else FILES
        said.append(f"{key}: pods see {path} only where the images of {readers} hold it; {hint}")
    return said


def unseen(config: Any) -> Iterator[tuple[str, str, str]]:
    """Each path of this machine that ``config`` names: its key, the path, and the steps that read it."""
    source, train = config.prepare.source, config.train
    if isinstance(source, Dvc):
        if not ADDRESS.match(source.repo):
            yield "prepare.source.repo", source.repo, "resolve and prepare"
    elif isinstance(path := getattr(source, "path", None), Path):
        yield "prepare.source.path", str(path), "resolve and prepare"
    if train.import_model is not None:
        yield "train.import.path", train.import_model.path, "resolve and train"
    if isinstance(train.architecture, Resnet50Transfer) and train.architecture.weights not in DOWNLOADED:
        yield "train.architecture.weights", train.architecture.weights, "resolve and train"
