"""Each overlay renders, is what Kubernetes' schemas say, and passes the project's own checks."""

import functools
import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest
import yaml

from . import checks
from .rendering import K8S, OVERLAYS, ROOT, Document, documented_secrets, documents, find, label, rendered

PLAIN = ("apps/v1", "batch/v1", "networking.k8s.io/v1", "policy/v1", "rbac.authorization.k8s.io/v1", "v1")


@functools.cache
def _valid(document: str) -> None:
    kubernetes_validate.validate(json.loads(document), kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_documents_are_what_the_schemas_say(overlay: str) -> None:
    found = documents(overlay)
    assert len(found) > 25
    for document in found:
        assert document["apiVersion"] in PLAIN
        _valid(json.dumps(document, sort_keys=True))  # overlays share most documents


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_checks(check: Callable[[list[Document]], checks.Problems], overlay: str) -> None:
    assert list(check(documents(overlay))) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_document_is_there_once_and_has_its_namespace(overlay: str) -> None:
    names = [label(document) for document in documents(overlay)]
    assert len(names) == len(set(names))
    assert all(name.startswith("Namespace ") or name.split()[1][0] != "/" for name in names)


def test_every_file_is_used_by_an_overlay(tmp_path: Any) -> None:
    """A file that no overlay reaches would be tested by nothing."""
    reached = set()

    def reach(folder: Any) -> None:
        here = folder / "kustomization.yaml"
        if here in reached:
            return
        reached.add(here)
        told = yaml.safe_load(here.read_text("utf-8"))
        for name in [*told.get("resources", []), *told.get("components", [])]:
            path = (folder / name).resolve()
            reach(path) if path.is_dir() else reached.add(path)
        for generator in told.get("configMapGenerator", []):
            reached.update(
                (folder / name).resolve() for key in ("files", "envs") for name in generator.get(key, [])
            )

    for overlay in OVERLAYS:
        reach(K8S / "overlays" / overlay)
    others = {K8S / name for name in ("secrets.example.env", "dev-secrets.sh")}
    every = {
        path for path in K8S.rglob("*") if path.is_file() and "pipelines" not in path.relative_to(K8S).parts
    }
    assert every - reached == others


def test_no_secret_that_is_documented_goes_unused() -> None:
    text = "".join(rendered(K8S / "overlays" / overlay) for overlay in OVERLAYS)
    for name, (keys, optional) in documented_secrets().items():
        assert keys
        assert optional or name in text


def test_the_script_makes_the_secrets_that_are_documented() -> None:
    done = subprocess.run(["sh", str(K8S / "dev-secrets.sh")], capture_output=True, text=True, check=True)
    made = list(yaml.safe_load_all(done.stdout))
    for document in made:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        assert all(document["stringData"].values())
    wanted = {name: keys for name, (keys, optional) in documented_secrets().items() if not optional}
    assert {each["metadata"]["name"]: set(each["stringData"]) for each in made} == wanted
    values = {each["metadata"]["name"]: each["stringData"] for each in made}
    keys = {
        credentials["accessKey"]: credentials["secretKey"]
        for identity in json.loads(values["seaweedfs-identities"]["s3.json"])["identities"]
        for credentials in identity["credentials"]
    }
    for name in ("mlflow-server", "regrow-data-credentials"):
        assert keys[values[name]["AWS_ACCESS_KEY_ID"]] == values[name]["AWS_SECRET_ACCESS_KEY"]
    again = subprocess.run(["sh", str(K8S / "dev-secrets.sh")], capture_output=True, text=True, check=True)
    assert again.stdout != done.stdout


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_of_the_contract(overlay: str) -> None:
    found = documents(overlay)
    namespace = "kubeflow" if overlay == "standalone" else "regrow"
    inside = [each for each in found if each["metadata"].get("namespace") == namespace]
    mlflow = find(inside, "ConfigMap", "regrow-mlflow")["data"]
    assert set(mlflow) == {"MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"}
    assert set(find(inside, "ConfigMap", "regrow-data")["data"]) == {"AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}
    files = {"schedules.yaml", "params.yaml", *(["gpu.yaml"] if overlay == "gpu" else [])}
    assert set(find(inside, "ConfigMap", "regrow-schedules")["data"]) == files
    assert find(inside, "PersistentVolumeClaim", "regrow-checkpoints")
    assert find(inside, "ServiceAccount", "regrow-pipeline")
    assert find(inside, "ServiceAccount", "regrow-schedules")
    server = next(
        each["data"]
        for each in found
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("mlflow-server-")
    )
    # The address that runs use is one that the server answers to, and its Service has the port.
    host = mlflow["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert host in server["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    service = find(found, "Service", "mlflow")
    assert host == f"mlflow.{service['metadata']['namespace']}.svc:{service['spec']['ports'][0]['port']}"


def test_gpus_are_asked_for_where_there_are_some() -> None:
    quotas = {
        name: find(documents(name), "ResourceQuota", "regrow")["spec"]["hard"] for name in ("dev", "gpu")
    }
    assert quotas["dev"]["requests.nvidia.com/gpu"] == "0"
    assert int(quotas["gpu"]["requests.nvidia.com/gpu"]) > 0
    data = find(documents("gpu"), "ConfigMap", "regrow-schedules")["data"]
    base = find(documents("dev"), "ConfigMap", "regrow-schedules")["data"]
    assert {name: data[name] for name in base} == base
    placed = yaml.safe_load((K8S / "components" / "gpu" / "gpu.yaml").read_text("utf-8"))["cluster"]
    assert yaml.safe_load(data["gpu.yaml"])["cluster"] == placed
    assert {name for name, step in placed["steps"].items() if step["gpus"]} == {"train", "recover"}


def test_the_gpu_component_goes_onto_prod(tmp_path: Any) -> None:
    kustomization = tmp_path / "kustomization.yaml"
    parts = {"resources": "overlays/prod", "components": "components/gpu"}
    kustomization.write_text(
        "".join(f"{key}: [{_from(tmp_path, K8S / path)}]\n" for key, path in parts.items()), "utf-8"
    )
    assert 'requests.nvidia.com/gpu: "4"' in rendered(tmp_path)


def _from(folder: Any, target: Any) -> str:
    import os

    return os.path.relpath(target, folder)


def test_the_document_names_what_is_there() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    for path in set(re.findall(r"\bk8s/[\w./-]*[\w]", text)):
        assert (ROOT / path).exists(), path
    for name in documented_secrets():
        assert f"| `{name}` |" in text
    named = {each["metadata"]["name"] for overlay in OVERLAYS for each in documents(overlay)}
    accounts = re.findall(r"serviceaccount:regrow:([\w-]+)", text)
    jobs = re.findall(r"\b(?:cronjob|deployment|statefulset|service)/([a-z-]+)", text)
    assert accounts
    assert set(accounts) | (set(jobs) - {"ml-pipeline", "ml-pipeline-ui"}) <= named
