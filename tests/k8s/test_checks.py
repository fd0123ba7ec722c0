"""The checks find what is broken: one thing is broken in `dev`, one sentence says so."""

from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest

from . import checks
from .rendering import Document, documents, find

Break = Callable[[list[Document]], Any]


def pod(found: list[Document], kind: str = "Deployment", name: str = "mlflow") -> Any:
    spec = find(found, kind, name)["spec"]
    return (spec["jobTemplate"]["spec"] if kind == "CronJob" else spec)["template"]["spec"]


def first(found: list[Document], kind: str = "Deployment", name: str = "mlflow") -> Any:
    return pod(found, kind, name)["containers"][0]


def put(where: Any, key: Any, value: Any) -> None:
    where[key] = value


def without(found: list[Document], kind: str, name: str) -> None:
    found.remove(find(found, kind, name))


def renamed_variable(found: list[Document]) -> None:
    for variable in first(found)["env"]:
        if variable["name"] == "PGPASSWORD":
            variable["valueFrom"]["secretKeyRef"]["key"] = "password"


def service_port(found: list[Document]) -> Any:
    return find(found, "Service", "mlflow")["spec"]["ports"][0]


def hard(found: list[Document]) -> Any:
    return find(found, "ResourceQuota", "regrow")["spec"]["hard"]


def data(found: list[Document]) -> Any:
    return find(found, "ConfigMap", "regrow-data")["data"]


HOST = {"name": "node", "hostPath": {"path": "/"}}
CRON = ("CronJob", "regrow-schedules")
BROKEN: list[tuple[Any, str, Break]] = [
    (
        checks.schedules,
        "cron expression",
        lambda f: put(find(f, *CRON)["spec"], "schedule", "*/15 * * * * *"),
    ),
    (checks.schedules, "cron expression", lambda f: put(find(f, *CRON)["spec"], "schedule", "61 * * * *")),
    (checks.schedules, "unknown", lambda f: put(find(f, *CRON)["spec"], "timeZone", "Europe/Atlantis")),
    (checks.schedules, "Forbid", lambda f: put(find(f, *CRON)["spec"], "concurrencyPolicy", "Allow")),
    (checks.schedules, "startingDeadline", lambda f: find(f, *CRON)["spec"].pop("startingDeadlineSeconds")),
    (
        checks.selectors,
        "finds no pod",
        lambda f: put(find(f, "Service", "mlflow")["spec"]["selector"], "app", "x"),
    ),
    (
        checks.selectors,
        "finds no pod",
        lambda f: put(
            find(f, "PodDisruptionBudget", "postgresql")["spec"]["selector"],
            "matchLabels",
            {"app": "postgres"},
        ),
    ),
    (
        checks.selectors,
        "select",
        lambda f: put(
            find(f, "Deployment", "mlflow")["spec"]["template"]["metadata"], "labels", {"app": "mlflow"}
        ),
    ),
    (
        checks.peers,
        "not there",
        lambda f: put(
            find(f, "NetworkPolicy", "seaweedfs")["spec"]["ingress"][0]["from"][0],
            "podSelector",
            {"matchLabels": {"app.kubernetes.io/name": "mlfow"}},
        ),
    ),
    (
        checks.peers,
        "port 5433",
        lambda f: put(
            find(f, "NetworkPolicy", "mlflow-stores")["spec"]["egress"][0]["ports"][0], "port", 5433
        ),
    ),
    (
        checks.port_names,
        "targetPort web",
        lambda f: put(service_port(f), "targetPort", "web"),
    ),
    (checks.port_names, "asks port web", lambda f: put(first(f)["livenessProbe"]["httpGet"], "port", "web")),
    (checks.references, "ConfigMap 'regrow-data'", lambda f: without(f, "ConfigMap", "regrow-data")),
    (
        checks.references,
        "'regrow-checkpoints'",
        lambda f: without(f, "PersistentVolumeClaim", "regrow-checkpoints"),
    ),
    (checks.references, "ServiceAccount 'mlflow'", lambda f: without(f, "ServiceAccount", "mlflow")),
    (checks.bindings, "Role 'regrow-pipeline'", lambda f: without(f, "Role", "regrow-pipeline")),
    (checks.references, "key 'password'", renamed_variable),
    (
        checks.references,
        "$(BUCKET)",
        lambda f: first(f)["args"].append("--artifacts-destination=s3://$(BUCKET)"),
    ),
    (
        checks.references,
        "volume 'scratch'",
        lambda f: put(pod(f, *CRON), "volumes", pod(f, *CRON)["volumes"][1:]),
    ),
    (
        checks.images,
        "not pinned",
        lambda f: put(first(f), "image", "registry.example.com/regrow-mlflow:latest"),
    ),
    (checks.images, "not pinned", lambda f: put(first(f), "image", "registry.example.com/regrow-mlflow")),
    (checks.images, "not pinned", lambda f: put(first(f), "image", "regrow-mlflow:0.1.0")),
    (checks.confinement, "gain privileges", lambda f: put(first(f)["securityContext"], "privileged", True)),
    (checks.confinement, "runAsNonRoot", lambda f: put(pod(f)["securityContext"], "runAsNonRoot", False)),
    (checks.confinement, "runs as root", lambda f: put(first(f)["securityContext"], "runAsUser", 0)),
    (checks.confinement, "keeps capabilities", lambda f: first(f)["securityContext"].pop("capabilities")),
    (
        checks.confinement,
        "write to its image",
        lambda f: first(f)["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    (checks.confinement, "token", lambda f: pod(f).pop("automountServiceAccountToken")),
    (
        checks.confinement,
        "path of the node",
        lambda f: pod(f)["volumes"].append(HOST),
    ),
    (checks.resources, "limit of memory", lambda f: first(f)["resources"]["limits"].pop("memory")),
    (checks.resources, "more cpu", lambda f: put(first(f)["resources"]["requests"], "cpu", "2500m")),
    (checks.resources, "sizeLimit", lambda f: put(pod(f)["volumes"][0], "emptyDir", {})),
    (
        checks.quota,
        "requests.memory",
        lambda f: put(hard(f), "requests.memory", "4Gi"),
    ),
    (checks.probes, "lacks livenessProbe", lambda f: first(f).pop("livenessProbe")),
    (checks.probes, "120 s", lambda f: put(first(f)["startupProbe"], "failureThreshold", 3)),
    (
        checks.rights,
        "wildcard",
        lambda f: put(find(f, "Role", "regrow-schedules")["rules"][0], "verbs", ["*"]),
    ),
    (
        checks.rights,
        "every Secret",
        lambda f: find(f, "Role", "regrow-pipeline")["rules"][-2].pop("resourceNames"),
    ),
    (checks.rights, "cluster-wide", lambda f: put(find(f, "Role", "regrow-pipeline"), "kind", "ClusterRole")),
    (
        checks.secrecy,
        "in the open",
        lambda f: put(data(f), "AWS_SECRET_ACCESS_KEY", "x"),
    ),
    (
        checks.secrecy,
        "in an address",
        lambda f: put(data(f), "URL", "postgresql://a:b@c/d"),
    ),
    (checks.closed, "nothing closes it", lambda f: without(f, "NetworkPolicy", "default-deny")),
    (checks.closed, "no LimitRange", lambda f: without(f, "LimitRange", "regrow")),
]


@pytest.mark.parametrize(("check", "said", "broken"), BROKEN, ids=[f"{c.__name__}-{s}" for c, s, _ in BROKEN])
def test_a_check_finds_what_is_broken(check: Any, said: str, broken: Break) -> None:
    found = documents("dev")
    broken(found)
    problems = list(check(found))
    assert problems
    assert all(said in problem for problem in problems), problems


def test_each_check_has_been_seen_to_fail() -> None:
    assert {check for check, _, _ in BROKEN} == set(checks.CHECKS)


def test_strict_validation_finds_a_misspelt_field() -> None:
    document = find(documents("dev"), "Deployment", "mlflow")
    document["spec"]["template"]["spec"]["securityContex"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
