"""The overlays as `kubectl kustomize` renders them, and how to find one's way in them."""

import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
K8S = ROOT / "k8s"
OVERLAYS = ("dev", "gpu", "prod", "standalone")
Document = dict[str, Any]


def kubectl() -> str:
    """The program that is installed beside this Python."""
    beside = Path(sys.executable).with_name("kubectl")
    return str(beside) if beside.exists() else str(shutil.which("kubectl"))


@functools.cache
def rendered(folder: Path) -> str:
    """The YAML of a kustomization."""
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # deprecations are said there
    return done.stdout


def documents(overlay: str) -> list[Document]:
    """A fresh copy of an overlay's documents, to look at or to break."""
    return [
        document
        for document in yaml.load_all(rendered(K8S / "overlays" / overlay), Loader=yaml.CSafeLoader)
        if document
    ]


def label(document: Document) -> str:
    """``Kind namespace/name``, for messages."""
    metadata = document["metadata"]
    return f"{document['kind']} {metadata.get('namespace', '')}/{metadata['name']}"


def find(found: list[Document], kind: str, name: str) -> Document:
    """The one document of this kind and name."""
    (one,) = [each for each in found if each["kind"] == kind and each["metadata"]["name"] == name]
    return one


def pod_template(document: Document) -> Document | None:
    """The template of the pods that the document makes, or None."""
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: Document | None = (
        spec.get("template") if document["kind"] in ("Deployment", "StatefulSet", "Job", "CronJob") else None
    )
    return template


def containers(template: Document) -> list[Document]:
    """All containers of a pod, initial ones first."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def workloads(found: list[Document]) -> Iterator[tuple[Document, Document]]:
    """Each document that makes pods, with its template."""
    for document in found:
        template = pod_template(document)
        if template is not None:
            yield document, template


def documented_secrets() -> dict[str, tuple[set[str], bool]]:
    """Name of each Secret in ``secrets.example.env`` → its keys, and whether it may be absent."""
    secrets: dict[str, tuple[set[str], bool]] = {}
    keys: set[str] = set()
    for line in (K8S / "secrets.example.env").read_text("utf-8").splitlines():
        head = re.match(r"# secret (\S+)( optional)?", line)
        if head:
            keys = set()
            secrets[head[1]] = (keys, bool(head[2]))
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            assert not value, f"{key}: an example holds no value"
            keys.add(key)
    return secrets


def resolved(
    found: list[Document], namespace: str, container: Document
) -> tuple[list[str], dict[str, str], set[str]]:
    """The command line and environment of a container as the kubelet would make them.

    Returns:
        The command line with ``$(NAME)`` filled in, the environment without Secrets, and as ``SECRET.KEY`` in order
        of the variables' names those that come from Secrets.
    """
    maps = {
        each["metadata"]["name"]: each.get("data", {})
        for each in found
        if each["kind"] == "ConfigMap" and each["metadata"]["namespace"] == namespace
    }
    environment: dict[str, str] = {}
    secret: set[str] = set()
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            environment |= maps[source["configMapRef"]["name"]]
        else:
            name = source["secretRef"]["name"]
            secret |= {f"{name}.{key}" for key in documented_secrets()[name][0]}
    for variable in container.get("env", []):
        if "value" in variable:
            environment[variable["name"]] = variable["value"]
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["key"] == variable["name"], "Secrets' keys are the variables' names"
            secret.add(f"{reference['name']}.{reference['key']}")
    words = [*container.get("command", []), *container.get("args", [])]
    line = [re.sub(r"\$\((\w+)\)", lambda match: environment[match[1]], word) for word in words]
    return line, environment, secret
