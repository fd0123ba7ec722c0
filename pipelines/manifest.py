"""The pipeline as resources of Kubernetes, ``Pipeline`` and ``PipelineVersion``, which GitOps applies.

Kubeflow refuses any change to the spec of a version that is there; its name therefore holds a digest of all of it. The
commit stands in ``codeSourceURL`` and ``tags``, where Kubeflow's pages show it: another commit is another version.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from regrow import __version__
from regrow.config.sections import canonical_json
from regrow.errors import RegrowError
from regrow.provenance.digest import text_digest
from regrow.provenance.environment import Surroundings, surroundings
from regrow_pipelines.compiling import arguments, code_version
from regrow_pipelines.placement import for_cluster
from regrow_pipelines.prune_and_recover import prune_and_recover

SHOWN = 12
COMMIT_TAG = "git-commit"
CODE_TAG = "code-version"
RELEASE_TAG = "regrow-version"
HEADER = (
    "# Written by `regrow compile --manifest`: edit params.yaml or the pipeline instead, and write it anew.\n"
)


def manifest(
    config: Any,
    *,
    commit: bool,
    pipeline: Any = prune_and_recover,
    parameters: Mapping[str, Any] | None = None,
) -> str:
    """``pipeline`` as YAML of Kubernetes resources, with ``parameters`` (default: ``config``'s) as defaults.

    Args:
        commit: whether the git commit is named.

    Raises:
        RegrowError: the commit is to be named, but there is none, or the code is not what it holds.
    """
    around = _committed(surroundings()) if commit else None
    placed = for_cluster(config.cluster, pipeline=pipeline)
    options = KubernetesManifestOptions(
        pipeline_name=placed.name, namespace=config.cluster.namespace, include_pipeline_manifest=True
    )
    with tempfile.TemporaryDirectory(prefix="regrow-") as folder:
        target = Path(folder) / "manifest.yaml"
        compiler.Compiler().compile(
            placed,
            package_path=str(target),
            pipeline_parameters=dict(arguments(config) if parameters is None else parameters),
            kubernetes_manifest_format=True,
            kubernetes_manifest_options=options,
        )
        documents = list(yaml.safe_load_all(target.read_text("utf-8")))
    for document in documents:
        document["metadata"]["labels"] = {"app.kubernetes.io/part-of": "regrow"}
        if document["kind"] == "PipelineVersion":
            _name(document, around)
    text: str = yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True, width=120)
    return HEADER + text


def _name(version: dict[str, Any], around: Surroundings | None) -> None:
    """Say which code the ``PipelineVersion`` is of, and name it by all that it holds."""
    spec = version["spec"]
    spec["tags"] = {CODE_TAG: code_version()[:SHOWN], RELEASE_TAG: __version__}
    if around is not None:
        spec["tags"][COMMIT_TAG] = around.git_commit
        if url := source_url(around.git_url, around.git_commit):
            spec["codeSourceURL"] = url
    content = {key: value for key, value in spec.items() if key != "displayName"}
    name = f"{spec['pipelineName']}-{text_digest(canonical_json(content))[:SHOWN]}"
    version["metadata"]["name"] = spec["displayName"] = name


def source_url(remote: str, commit: str) -> str:
    """Where the sources of ``commit`` are; empty where ``remote`` is no address that others can reach."""
    scheme, separator, rest = remote.partition("://")
    if separator and scheme in ("http", "https"):
        return f"{remote.removesuffix('.git').rstrip('/')}/tree/{commit}"
    if separator and scheme != "file":
        return f"git+{scheme}://{rest}@{commit}"
    host, colon, path = remote.partition(":")
    return f"git+ssh://{host}/{path}@{commit}" if colon and "/" not in host and not separator else ""


def _committed(around: Surroundings) -> Surroundings:
    if not around.git_commit:
        raise RegrowError(
            "--manifest: there is no git commit here to name in the manifest; commit, or add --no-commit"
        )
    if around.git_dirty:
        raise RegrowError(
            f"--manifest: the working tree is not what commit {around.git_commit[:SHOWN]} holds, which the manifest"
            " would name; commit the changes, or add --no-commit"
        )
    return around
