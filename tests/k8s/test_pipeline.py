"""The pipeline's own manifest: what Kubeflow's models accept, and nothing in it that the overlays lack."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from .checks import quantity
from .rendering import K8S, documented_secrets, documents, find, rendered


@pytest.fixture(scope="module")
def pipeline() -> list[Any]:
    found = list(yaml.load_all(rendered(K8S / "pipelines"), Loader=yaml.CSafeLoader))
    assert [each["kind"] for each in found] == ["Pipeline", "PipelineVersion"]
    return found


def references(executors: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Kind, name and keys of all that a step cannot do without."""
    for executor in executors.values():
        for source in executor.get("configMapAsEnv", []):
            if not source.get("optional"):
                keys = [key["configMapKey"] for key in source["keyToEnv"]]
                yield "ConfigMap", source["configMapNameParameter"]["runtimeValue"]["constant"], keys
        for source in executor.get("secretAsEnv", []):
            keys = [key["secretKey"] for key in source["keyToEnv"]]
            yield "Secret", source["secretNameParameter"]["runtimeValue"]["constant"], keys
        for mount in executor.get("pvcMount", []):
            yield "PersistentVolumeClaim", mount["pvcNameParameter"]["runtimeValue"]["constant"], []


def test_kubeflows_models_accept_it(pipeline: list[Any]) -> None:
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2

    head, version = pipeline
    assert {each["apiVersion"] for each in pipeline} == {"pipelines.kubeflow.org/v2beta1"}
    assert version["spec"]["pipelineName"] == head["metadata"]["name"]
    assert {each["metadata"]["namespace"] for each in pipeline} == {"regrow"}
    spec = json_format.ParseDict(version["spec"]["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    assert spec.root.dag.tasks
    for executor in version["spec"]["platformSpec"]["platforms"]["kubernetes"]["deploymentSpec"][
        "executors"
    ].values():
        json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


@pytest.mark.parametrize("overlay", ["dev", "gpu", "prod"])
def test_every_overlay_has_what_its_steps_name(pipeline: list[Any], overlay: str) -> None:
    platform = pipeline[1]["spec"]["platformSpec"]["platforms"]["kubernetes"]
    found, secrets = documents(overlay), documented_secrets()
    named = list(references(platform["deploymentSpec"]["executors"]))
    assert {name for _, name, _ in named} >= {"regrow-mlflow", "regrow-mlflow-credentials"}
    for kind, name, keys in named:
        have = secrets[name][0] if kind == "Secret" else set(find(found, kind, name).get("data", {}))
        assert set(keys) <= have, f"{kind} {name}"


def test_each_step_fits_into_the_limits_of_the_namespace(pipeline: list[Any]) -> None:
    limits = find(documents("dev"), "LimitRange", "regrow")["spec"]["limits"]
    (most,) = [each["max"] for each in limits if each["type"] == "Container"]
    executors = pipeline[1]["spec"]["pipelineSpec"]["deploymentSpec"]["executors"]
    assert executors
    for name, executor in executors.items():
        resources = executor["container"]["resources"]
        assert quantity(resources["resourceCpuLimit"]) <= quantity(most["cpu"]), name
        assert quantity(resources["resourceMemoryLimit"]) <= quantity(most["memory"]), name
