"""The CronJob's own command line, ConfigMaps and token, against a server that speaks Kubeflow's API."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cluster.kfp_server import KubeflowServer, serving

from .rendering import containers, documents, find, pod_template, resolved

RESOURCES = {"experiments": "experiments", "pipelines": "pipelines", "recurringruns": "jobs", "runs": "runs"}


def asked(method: str, path: str) -> tuple[str, str] | None:
    """What Kubeflow's API server asks the Kubernetes API about a request: resource and verb; None: nothing."""
    words = re.sub(r"\?.*", "", path).strip("/").split("/")[2:]  # after apis/v2beta1
    if not words or words[0] == "healthz":
        return None
    if words[:2] == ["pipelines", "upload"]:
        return "pipelines", "create"
    if words[:2] == ["pipelines", "upload_version"]:
        return "pipelines/versions", "create"
    resource, rest = RESOURCES[words[0]], words[1:]
    if words[0] == "pipelines" and rest[1:2] == ["versions"]:
        resource, rest = "pipelines/versions", rest[2:]
    if rest and ":" in rest[-1]:
        return resource, rest[-1].rpartition(":")[2]
    verbs = {"GET": "get" if rest else "list", "POST": "create", "DELETE": "delete"}
    return resource, verbs[method]


@pytest.mark.parametrize(
    ("overlay", "times"), [("gpu", 1), pytest.param("standalone", 2, marks=pytest.mark.slow)]
)
def test_the_cronjob_makes_the_schedules(overlay: str, times: int, tmp_path: Path) -> None:
    namespace = "kubeflow" if overlay == "standalone" else "regrow"
    inside = [each for each in documents(overlay) if each["metadata"].get("namespace") == namespace]
    template = pod_template(find(inside, "CronJob", "regrow-schedules"))
    assert template is not None
    (container,) = containers(template)
    line, environment, secret = resolved(inside, namespace, container)
    assert not secret
    mounted, scratch, token = (tmp_path / name for name in ("etc", "scratch", "token"))
    for folder in (mounted, scratch, token):
        folder.mkdir()
    (token / "token").write_text("of-the-service-account")
    kubeflow = KubeflowServer(token="of-the-service-account", multi_user=overlay != "standalone")
    with serving(kubeflow) as server:
        for name, text in find(inside, "ConfigMap", "regrow-schedules")["data"].items():
            (mounted / name).write_text(text, "utf-8")
        assert environment["KF_PIPELINES_ENDPOINT"] == "http://ml-pipeline.kubeflow.svc:8888"
        environment["KF_PIPELINES_ENDPOINT"] = server.url
        moves = {"/etc/regrow": mounted, "/var/run/secrets/kubeflow/pipelines": token, "/scratch": scratch}
        for here, there in moves.items():
            line = [word.replace(here, str(there)) for word in line]
            environment = {key: value.replace(here, str(there)) for key, value in environment.items()}
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        said = []
        for _ in range(times):
            done = subprocess.run(
                line, env=environment, cwd=scratch, capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said.append(done.stdout)
        assert "+ nightly: created" in said[0]
        assert all("nothing to do" in each for each in said[1:])
        (made,) = server.recurring.values()
        assert (made.service_account, made.mode) == ("regrow-pipeline", "ENABLE")
        # Each request is one that the Role allows.
        rules = find(inside, "Role", "regrow-schedules")["rules"]
        allowed = {
            (resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]
        }
        needed = {asked(method, path) for method, path in server.requests} - {None}
        assert len(needed) > 4
        assert needed <= allowed
        # Every step's image is of the registry that the overlay names.
        place = find(inside, "ConfigMap", "regrow-images")["data"]
        documents_sent = [each for package in server.packages.values() for each in package]
        used = set(re.findall(r"image: (\S+)", yaml.safe_dump_all(documents_sent, width=1000)))
        suffix = "-gpu" if overlay == "gpu" else ""
        assert f"{place['REGROW_REGISTRY']}/regrow-train{suffix}:{place['REGROW_TAG']}" in used
        assert all(image.startswith(place["REGROW_REGISTRY"] + "/") for image in used)


@pytest.mark.slow
def test_the_account_for_submitting_may_do_what_submit_asks(tmp_path: Path) -> None:
    found = documents("dev")
    for name, text in find(found, "ConfigMap", "regrow-schedules")["data"].items():
        (tmp_path / name).write_text(text, "utf-8")
    rules = find(found, "Role", "regrow-submit")["rules"]
    allowed = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    with serving(KubeflowServer(token="of-the-account")) as server:
        for words in (
            ["submit", "--no-wait", "--params", "params.yaml"],
            ["schedule", "diff", "schedules.yaml"],
            ["schedule", "list"],
        ):
            done = subprocess.run(
                ["regrow", *words],
                env={
                    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "HOME": str(tmp_path),
                    "KF_PIPELINES_ENDPOINT": server.url,
                    "REGROW_KFP_TOKEN": "of-the-account",
                    **find(found, "ConfigMap", "regrow-images")["data"],
                },
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert len(server.runs) == 1
        needed = {asked(method, path) for method, path in server.requests} - {None}
        assert {("runs", "create"), ("jobs", "list")} <= needed
        assert needed <= allowed
