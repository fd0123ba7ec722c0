"""Start one run on the cluster: compile, upload if needed, create the run exactly once."""

import datetime
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api
import yaml

from regrow.provenance.digest import text_digest
from regrow_pipelines import compiling
from regrow_pipelines.api import Api
from regrow_pipelines.connection import Connection, Policy
from regrow_pipelines.notices import notices
from regrow_pipelines.prune_and_recover import prune_and_recover

PACKAGE = "pipeline.yaml"
SHOWN = 12
# Kubeflow's own; the C variant reads a compiled pipeline in a tenth of the time.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Args:
        text: its YAML.
        pipeline: its name.
        version: the name of its version, made of the digests of code and YAML: equal packages have equal names.
        arguments: the parameters of a run, as the package has them by default.
    """

    text: str
    pipeline: str
    version: str
    arguments: dict[str, Any]


def package(config: Any, *, sweep: bool = False) -> Package:
    """The pipeline, or the sweep over many, for ``config``.

    Raises:
        RegrowError: no section `sweep` for a sweep, or parameters that do not go together.
    """
    pipeline, given = compiling.swept(config) if sweep else (prune_and_recover, None)
    text = compiling.compiled(config, pipeline=pipeline, parameters=given)
    document = next(iter(yaml.load_all(text, Loader=LOADER)))  # the second one, if any, is the platform's
    parameters = document["root"].get("inputDefinitions", {}).get("parameters", {})
    arguments = {name: item["defaultValue"] for name, item in parameters.items() if "defaultValue" in item}
    code = str(arguments.get("code_version", compiling.code_version()))
    return Package(
        text=text,
        pipeline=document["pipelineInfo"]["name"],
        version=f"{code[:SHOWN]}-{text_digest(text)[:SHOWN]}",
        arguments=arguments,
    )


def connect(settings: Any, policy: Policy | None = None) -> Api:
    """The server that the section ``cluster`` names.

    Raises:
        RegrowError: it names none, or none that can be used.
    """
    return Api(Connection(settings.endpoint, namespace=settings.namespace, policy=policy))


def upload(api: Api, packed: Package) -> kfp_server_api.V2beta1PipelineVersionReference:
    """The pipeline version with the content of ``packed``, uploaded if it is not there."""
    with tempfile.TemporaryDirectory(prefix="regrow-") as folder:
        path = Path(folder) / PACKAGE
        path.write_text(packed.text, "utf-8")
        pipeline, version = api.upload(
            path,
            name=packed.pipeline,
            version=packed.version,
            description=f"Uploaded by Regrow; code and parameters {packed.version}.",
        )
    return kfp_server_api.V2beta1PipelineVersionReference(pipeline_id=pipeline, pipeline_version_id=version)


def runtime(settings: Any, packed: Package) -> kfp_server_api.V2beta1RuntimeConfig:
    """What a run of ``packed`` is given."""
    return kfp_server_api.V2beta1RuntimeConfig(
        parameters=packed.arguments, pipeline_root=settings.pipeline_root
    )


def submit(
    api: Api, config: Any, *, sweep: bool = False, notice: Callable[[str], None]
) -> kfp_server_api.V2beta1Run:
    """A new run of the pipeline on the cluster; ``notice`` is told what its user should know before.

    Raises:
        RegrowError: the pipeline cannot be compiled.
        ApiError: the server cannot be reached or refuses.
    """
    packed = package(config, sweep=sweep)
    for sentence in notices(config, sweep=sweep):
        notice(sentence)
    settings = config.cluster
    body = kfp_server_api.V2beta1Run(
        display_name=_unique(packed.pipeline),
        description=f"Submitted by regrow submit; {packed.version}",
        experiment_id=api.experiment(settings.experiment),
        pipeline_version_reference=upload(api, packed),
        runtime_config=runtime(settings, packed),
        service_account=settings.service_account,
    )
    return api.start_run(body)


def _unique(pipeline: str) -> str:
    """A name that no other run has, so that a lost answer can be looked for."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{pipeline}-{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:8]}"
