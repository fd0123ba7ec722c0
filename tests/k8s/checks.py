"""What `kubernetes-validate` does not see. Each check gives sentences; none: all is well."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from zoneinfo import available_timezones

from croniter import croniter

from .rendering import Document, containers, documented_secrets, label, pod_template, workloads

# Labels of pods that others make: Argo for each run, Kubeflow's profile controller.
FOREIGN = [{"workflows.argoproj.io/workflow": "prune-and-recover-x1"}, {"app": "ml-pipeline-ui-artifact"}]
SERVERS = ("Deployment", "StatefulSet")
Problems = Iterator[str]


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector chooses something with these labels; an empty one chooses everything."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        value, wanted = labels.get(rule["key"]), rule.get("values", [])
        holds = {
            "In": value in wanted,
            "NotIn": value not in wanted,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[rule["operator"]]:
            return False
    return True


def _pods(found: list[Document], namespace: str) -> list[Document]:
    """Metadata and ports of the pods that the documents make in a namespace, and of those that others make there."""
    own = [t for d, t in workloads(found) if d["metadata"].get("namespace") == namespace]
    foreign = [{"metadata": {"labels": labels}, "spec": {"containers": []}} for labels in FOREIGN]
    return [*own, *foreign]


def _ports(template: Document) -> dict[str | int, int]:
    ports: dict[str | int, int] = {}
    for container in containers(template):
        for port in container.get("ports", []):
            ports[port["containerPort"]] = port["containerPort"]
            if "name" in port:
                ports[port["name"]] = port["containerPort"]
    return ports


def schedules(found: list[Document]) -> Problems:
    """Cron expressions of five fields, known time zones, and what keeps CronJobs from piling up."""
    for document in found:
        if document["kind"] != "CronJob":
            continue
        spec, where = document["spec"], label(document)
        cron = spec["schedule"]
        if len(cron.split()) != 5 or not croniter.is_valid(cron):
            yield f"{where}: schedule '{cron}' is not a cron expression of five fields"
        if spec.get("timeZone") not in available_timezones():
            yield f"{where}: timeZone '{spec.get('timeZone')}' is unknown"
        if spec.get("concurrencyPolicy") != "Forbid":
            yield f"{where}: concurrencyPolicy is not Forbid"
        missing = {"startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"} - set(
            spec
        )
        if missing:
            yield f"{where}: lacks {', '.join(sorted(missing))}"
        if "backoffLimit" not in spec["jobTemplate"]["spec"]:
            yield f"{where}: lacks backoffLimit"


def selectors(found: list[Document]) -> Problems:
    """Whoever selects pods finds some; workloads find their own."""
    for document in found:
        spec, where = document.get("spec", {}), label(document)
        namespace = document["metadata"].get("namespace", "")
        chosen: dict[str, Any] | None = None
        if document["kind"] == "Service":
            chosen = {"matchLabels": spec["selector"]}
        elif document["kind"] == "NetworkPolicy":
            chosen = spec["podSelector"]
        elif document["kind"] in ("PodDisruptionBudget", *SERVERS):
            chosen = spec["selector"]
        if chosen is None:
            continue
        template = pod_template(document)
        labels = (
            [template["metadata"].get("labels", {})]
            if template
            else [pod["metadata"].get("labels", {}) for pod in _pods(found, namespace)]
        )
        if not any(matches(chosen, each) for each in labels):
            yield f"{where}: its selector finds no pod"
        if template:
            spread = template["spec"].get("topologySpreadConstraints", [])
            if any(not matches(each["labelSelector"], labels[0]) for each in spread):
                yield f"{where}: topologySpreadConstraints do not select its own pods"


def peers(found: list[Document]) -> Problems:
    """Each pod that a NetworkPolicy names in its own namespace exists; a port that it names is one that they have."""
    for document in found:
        if document["kind"] != "NetworkPolicy":
            continue
        where, namespace = label(document), document["metadata"]["namespace"]
        pods = _pods(found, namespace)
        targets = [
            p for p in pods if matches(document["spec"]["podSelector"], p["metadata"].get("labels", {}))
        ]
        for side, direction in (("ingress", "from"), ("egress", "to")):
            for rule in document["spec"].get(side, []):
                others = []
                for peer in rule[direction]:
                    if "podSelector" in peer and "namespaceSelector" not in peer:
                        found_now = [
                            p for p in pods if matches(peer["podSelector"], p["metadata"].get("labels", {}))
                        ]
                        others += found_now
                        if not found_now:
                            yield f"{where}: {side} names pods that are not there"
                ends = targets if side == "ingress" else others
                known = {port for pod in ends for port in _ports(pod)}
                for port in rule.get("ports", []):
                    if known and port["port"] not in known:
                        yield f"{where}: {side} port {port['port']} is none of its pods' ports"


def port_names(found: list[Document]) -> Problems:
    """Ports that Services and probes name exist."""
    for document in found:
        where = label(document)
        if document["kind"] == "Service":
            pods = _pods(found, document["metadata"]["namespace"])
            chosen = [
                p
                for p in pods
                if matches({"matchLabels": document["spec"]["selector"]}, p["metadata"]["labels"])
            ]
            for port in document["spec"]["ports"]:
                if any(port["targetPort"] not in _ports(pod) for pod in chosen):
                    yield f"{where}: targetPort {port['targetPort']} is no port of its pods"
        template = pod_template(document)
        for container in containers(template) if template else []:
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                port = container.get(kind, {}).get("httpGet", {}).get("port")
                if port is not None and port not in _ports(template or {}):
                    yield f"{where}: {kind} asks port {port}, which the container does not have"


def references(found: list[Document]) -> Problems:
    """Every ConfigMap, Secret, claim and ServiceAccount that pods refer to exists, with the key that is asked for."""
    there = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each
        for each in found
    }
    for document, template in workloads(found):
        where, namespace, spec = label(document), document["metadata"]["namespace"], template["spec"]
        account = spec.get("serviceAccountName")
        if ("ServiceAccount", namespace, account) not in there:
            yield f"{where}: ServiceAccount '{account}' is not there"
        volumes = {each["name"] for each in spec.get("volumes", [])}
        volumes |= {each["metadata"]["name"] for each in document["spec"].get("volumeClaimTemplates", [])}
        asked = _asked_by_volumes(spec)
        for container in containers(template):
            asked += _asked(container)
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{where}: volume '{mount['name']}' is not there"
            yield from _unfilled(where, container, there, namespace)
        for kind, name, key in asked:
            yield from _lacking(where, (kind, namespace, name), key, there)


Known = dict[tuple[str, str, str], Document]


def _lacking(where: str, wanted: tuple[str, str, str], key: str | None, there: Known) -> Problems:
    kind, _, name = wanted
    if kind == "Secret":
        secrets = documented_secrets()
        if name not in secrets or (key and key not in secrets[name][0]):
            yield f"{where}: Secret '{name}', key '{key}', is not in secrets.example.env"
    elif wanted not in there:
        yield f"{where}: {kind} '{name}' is not there"
    elif key and key not in there[wanted].get("data", {}):
        yield f"{where}: {kind} '{name}' has no key '{key}'"


def _asked_by_volumes(spec: Document) -> list[tuple[str, str, str | None]]:
    kinds = {"configMap": ("ConfigMap", "name"), "secret": ("Secret", "secretName")}
    kinds["persistentVolumeClaim"] = ("PersistentVolumeClaim", "claimName")
    return [
        (kind, volume[source][field], None)
        for volume in spec.get("volumes", [])
        for source, (kind, field) in kinds.items()
        if source in volume
    ]


def bindings(found: list[Document]) -> Problems:
    """Roles, accounts and Services that are named elsewhere than in pods."""
    there = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in found
    }
    for document in found:
        if document["kind"] == "RoleBinding":
            namespace = document["metadata"]["namespace"]
            if ("Role", namespace, document["roleRef"]["name"]) not in there:
                yield f"{label(document)}: Role '{document['roleRef']['name']}' is not there"
            for subject in document["subjects"]:
                if ("ServiceAccount", subject.get("namespace", namespace), subject["name"]) not in there:
                    yield f"{label(document)}: ServiceAccount '{subject['name']}' is not there"
        if document["kind"] == "StatefulSet":
            name = document["spec"]["serviceName"]
            if ("Service", document["metadata"]["namespace"], name) not in there:
                yield f"{label(document)}: Service '{name}' is not there"


def _asked(container: Document) -> list[tuple[str, str, str | None]]:
    asked: list[tuple[str, str, str | None]] = []
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            asked.append(("ConfigMap", source["configMapRef"]["name"], None))
        if "secretRef" in source:
            asked.append(("Secret", source["secretRef"]["name"], None))
    for variable in container.get("env", []):
        origin = variable.get("valueFrom", {})
        if "configMapKeyRef" in origin:
            asked.append(("ConfigMap", origin["configMapKeyRef"]["name"], origin["configMapKeyRef"]["key"]))
        if "secretKeyRef" in origin:
            asked.append(("Secret", origin["secretKeyRef"]["name"], origin["secretKeyRef"]["key"]))
    return asked


def _unfilled(
    where: str, container: Document, there: dict[tuple[str, str, str], Document], namespace: str
) -> Problems:
    """``$(NAME)`` of a command line whose variable is not there stays as it is written: nobody is told."""
    known = {variable["name"] for variable in container.get("env", [])}
    for source in container.get("envFrom", []):
        name = source.get("configMapRef", {}).get("name", "")
        known |= set(there.get(("ConfigMap", namespace, name), {}).get("data", {}))
    for word in [*container.get("command", []), *container.get("args", [])]:
        for name in re.findall(r"\$\((\w+)\)", word):
            if name not in known:
                yield f"{where}: the command line asks for $({name}), which is not in its environment"


def images(found: list[Document]) -> Problems:
    """Each image has its registry and a version or a digest."""
    pinned = re.compile(r"[\w.-]+(:\d+)?/[\w./-]+(:v?\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})")
    for document, template in workloads(found):
        for container in containers(template):
            if not pinned.fullmatch(container["image"]):
                yield f"{label(document)}: image '{container['image']}' is not pinned: registry, version or digest"


def confinement(found: list[Document]) -> Problems:
    """What the Pod Security Standard `restricted` asks for, a file system nobody writes to, no token unasked."""
    for document, template in workloads(found):
        where, pod = label(document), template["spec"]
        context = pod.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{where}: does not say runAsNonRoot and a user other than root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{where}: seccompProfile is not RuntimeDefault"
        if any(pod.get(each) for each in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{where}: shares the node's namespaces"
        if any("hostPath" in volume for volume in pod.get("volumes", [])):
            yield f"{where}: mounts a path of the node"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{where}: mounts a token for the Kubernetes API"
        for container in containers(template):
            own = container.get("securityContext", {})
            if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
                yield f"{where}: container '{container['name']}' may gain privileges"
            if own.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{where}: container '{container['name']}' keeps capabilities"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{where}: container '{container['name']}' can write to its image"
            if own.get("runAsNonRoot") is False or own.get("runAsUser") == 0:
                yield f"{where}: container '{container['name']}' runs as root"


def resources(found: list[Document]) -> Problems:
    """Requests and limits of CPU and memory, everywhere, and no request above its limit."""
    for document, template in workloads(found):
        for container in containers(template):
            where = f"{label(document)}: container '{container['name']}'"
            stated = container.get("resources", {})
            for name in ("cpu", "memory"):
                low, high = (stated.get(side, {}).get(name) for side in ("requests", "limits"))
                if low is None or high is None:
                    yield f"{where}: lacks a request or a limit of {name}"
                elif quantity(low) > quantity(high):
                    yield f"{where}: asks for more {name} ({low}) than its limit ({high})"
        for volume in template["spec"].get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{label(document)}: emptyDir '{volume['name']}' has no sizeLimit"


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number.

    Raises:
        KeyError: unknown unit.
    """
    units = {
        "": 1,
        "m": 1e-3,
        "k": 1e3,
        "M": 1e6,
        "G": 1e9,
        "T": 1e12,
        "Ki": 2**10,
        "Mi": 2**20,
        "Gi": 2**30,
        "Ti": 2**40,
    }
    number, unit = re.fullmatch(r"([\d.]+)(\D*)", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * units[unit]


def quota(found: list[Document]) -> Problems:
    """What the documents start fits into the quota of its namespace with room for runs, and into the limits."""
    for document in found:
        if document["kind"] != "ResourceQuota":
            continue
        namespace, hard = document["metadata"]["namespace"], document["spec"]["hard"]
        for side in ("requests", "limits"):
            for name in ("cpu", "memory"):
                used = sum(
                    each["spec"].get("replicas", 1) * quantity(container["resources"][side][name])
                    for each, template in workloads(found)
                    if each["metadata"]["namespace"] == namespace
                    for container in containers(template)
                )
                if used > 0.5 * quantity(hard[f"{side}.{name}"]):
                    yield f"{label(document)}: {side}.{name} leaves runs less than half"


def probes(found: list[Document]) -> Problems:
    """Servers say when they have started, are ready and alive; a slow start is not taken for a death."""
    for document, template in workloads(found):
        if document["kind"] not in SERVERS:
            continue
        for container in template["spec"]["containers"]:
            where = f"{label(document)}: container '{container['name']}'"
            missing = {"startupProbe", "readinessProbe", "livenessProbe"} - set(container)
            if missing:
                yield f"{where}: lacks {', '.join(sorted(missing))}"
                continue
            start = container["startupProbe"]
            if start["periodSeconds"] * start["failureThreshold"] < 120:
                yield f"{where}: gives less than 120 s to start"


def rights(found: list[Document]) -> Problems:
    """No wildcard, nothing cluster-wide, no Secret but by name, no way into other pods."""
    for document in found:
        if document["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            yield f"{label(document)}: is cluster-wide"
        if document["kind"] != "Role":
            continue
        for rule in document["rules"]:
            if any("*" in rule.get(part, []) for part in ("apiGroups", "resources", "verbs")):
                yield f"{label(document)}: has a wildcard"
            if "secrets" in rule["resources"] and not rule.get("resourceNames"):
                yield f"{label(document)}: reads every Secret"
            if {"pods/exec", "pods/attach", "pods/portforward"} & set(rule["resources"]):
                yield f"{label(document)}: gets into pods"
            if {"escalate", "bind", "impersonate"} & set(rule["verbs"]):
                yield f"{label(document)}: may give itself more rights"


def secrecy(found: list[Document]) -> Problems:
    """No Secret among the documents, no variable that is called a password with its value in the open."""
    for document in found:
        if document["kind"] == "Secret":
            yield f"{label(document)}: a Secret lies among the manifests"
        if document["kind"] == "ConfigMap":
            pairs = list(document.get("data", {}).items())
        else:
            template = pod_template(document)
            pairs = [
                (each["name"], each["value"])
                for container in (containers(template) if template else [])
                for each in container.get("env", [])
                if "value" in each
            ]
        for name, value in pairs:
            if re.search(r"PASSWORD|SECRET|ACCESS_KEY", name):
                yield f"{label(document)}: {name} is written in the open"
            if re.search(r"://[^/\s:@]+:[^/\s@]+@", value):
                yield f"{label(document)}: {name} has a password in an address"


def closed(found: list[Document]) -> Problems:
    """A namespace of Regrow's own lets nothing in or out by default, has a quota and limits."""
    for document in found:
        if document["kind"] != "Namespace":
            continue
        name = document["metadata"]["name"]
        inside = [each for each in found if each["metadata"].get("namespace") == name]
        denies = [
            each
            for each in inside
            if each["kind"] == "NetworkPolicy"
            and each["spec"]["podSelector"] == {}
            and set(each["spec"]["policyTypes"]) == {"Ingress", "Egress"}
            and not each["spec"].get("ingress")
            and not each["spec"].get("egress")
        ]
        if not denies:
            yield f"{label(document)}: nothing closes it by default"
        for kind in ("ResourceQuota", "LimitRange"):
            if not any(each["kind"] == kind for each in inside):
                yield f"{label(document)}: has no {kind}"


CHECKS: tuple[Callable[[list[Document]], Problems], ...] = (
    schedules,
    selectors,
    peers,
    port_names,
    references,
    bindings,
    images,
    confinement,
    resources,
    quota,
    probes,
    rights,
    secrecy,
    closed,
)
