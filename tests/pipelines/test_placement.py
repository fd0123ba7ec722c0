"""What a cluster is told of each step, read back with Kubeflow's own definitions and Kubernetes' schemas."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec
from ruamel.yaml import YAML

from regrow.cluster.settings import COMPONENTS, GPU_STEPS, IMAGES, SHARED_IMAGES
from regrow.config.document import load_config
from regrow.errors import RegrowError
from regrow.steps import NAMES
from regrow.training.checkpoints import Interval
from regrow_components.images import image
from regrow_pipelines import compiling, manifest
from regrow_pipelines.placement import ARTIFACTS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/cluster-gpu.yaml"
KUBERNETES = "1.31"
Found = dict[str, Any]


def read(text: str) -> tuple[PipelineSpec, dict[str, KubernetesExecutorConfig], Found]:
    """The pipeline and, by step, what Kubernetes is told, unknown fields refused; the first as written, too."""
    spec, platform = YAML(typ="safe").load_all(text)
    parsed = json_format.ParseDict(spec, PipelineSpec())
    found = json_format.ParseDict(platform, PlatformSpec())
    executors = found.platforms["kubernetes"].deployment_spec.executors
    configs = {
        name.removeprefix("exec-"): json_format.ParseDict(
            json_format.MessageToDict(item), KubernetesExecutorConfig()
        )
        for name, item in executors.items()
    }
    return parsed, configs, spec


def containers(spec: Found) -> dict[str, Found]:
    executors = spec["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): item["container"] for name, item in executors.items()}


def pod(name: str, container: Found, config: KubernetesExecutorConfig) -> Found:
    """The pod that Kubeflow makes of both, as far as they say."""
    wanted = json_format.MessageToDict(config)
    told = container["resources"]
    resources = {
        kind: {"cpu": told[f"resourceCpu{word}"], "memory": told[f"resourceMemory{word}"]}
        for kind, word in (("requests", "Request"), ("limits", "Limit"))
    }
    if "accelerator" in told:
        resources["limits"][told["accelerator"]["resourceType"]] = told["accelerator"]["resourceCount"]
    variables = [dict(item) for item in container.get("env", [])]
    for kind, key, reference in (
        ("configMap", "configMapKey", "configMap"),
        ("secret", "secretKey", "secret"),
    ):
        for source in wanted.get(f"{kind}AsEnv", []):
            for item in source["keyToEnv"]:
                chosen = {
                    "name": source[f"{kind}Name"],
                    "key": item[key],
                    "optional": source.get("optional", False),
                }
                variables.append({"name": item["envVar"], "valueFrom": {f"{reference}KeyRef": chosen}})
    volumes, mounts = [], []
    for item in wanted.get("pvcMount", []):
        volumes.append({"name": item["constant"], "persistentVolumeClaim": {"claimName": item["constant"]}})
        mounts.append({"name": item["constant"], "mountPath": item["mountPath"]})
    for item in wanted.get("emptyDirMounts", []):
        volumes.append(
            {
                "name": item["volumeName"],
                "emptyDir": {"medium": item["medium"], "sizeLimit": item["sizeLimit"]},
            }
        )
        mounts.append({"name": item["volumeName"], "mountPath": item["mountPath"]})
    context = {
        key: int(value) if key != "runAsNonRoot" else value
        for key, value in wanted["securityContext"].items()
    }
    tolerations = [
        {
            key: int(value) if key == "tolerationSeconds" else value
            for key, value in item.items()
            if key != "tolerationJson"
        }
        for item in wanted.get("tolerations", [])
    ]
    spec = {
        "activeDeadlineSeconds": int(wanted["activeDeadlineSeconds"]),
        "nodeSelector": wanted.get("nodeSelector", {}).get("labels", {}),
        "tolerations": tolerations,
        "volumes": volumes,
        "containers": [
            {
                "name": name,
                "image": container["image"],
                "env": variables,
                "resources": resources,
                "securityContext": context,
                "volumeMounts": mounts,
            }
        ],
    }
    labels = wanted["podMetadata"]["labels"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def placed() -> tuple[PipelineSpec, dict[str, KubernetesExecutorConfig], Found]:
    """The pipeline as the example's cluster gets it."""
    return read(compiling.compiled(load_config(ROOT / "params.yaml", overlay=EXAMPLE)))


def test_both_documents_are_what_kubeflow_defines(placed: Any) -> None:
    spec, configs, _ = placed
    assert spec.pipeline_info.name == "regrow-prune-and-recover"
    assert set(NAMES) <= set(configs)
    assert set(spec.root.input_definitions.parameters) >= {"code_version", "train_code", "train_params"}


def test_every_step_becomes_a_pod_that_kubernetes_takes(placed: Any) -> None:
    _, configs, spec = placed
    for name, container in containers(spec).items():
        made = pod(name, container, configs[name])
        kubernetes_validate.validate(made, KUBERNETES, strict=True)
        assert made["metadata"]["labels"]["app.kubernetes.io/component"] == name
        assert made["spec"]["containers"][0]["securityContext"]["runAsNonRoot"] is True
        assert 0 < made["spec"]["activeDeadlineSeconds"] <= 86400


def test_a_sweep_is_placed_as_the_pipeline_is(tmp_path: Path) -> None:
    params = tmp_path / "params.json"
    params.write_text(
        json.dumps({"sweep": {"targets": [{"sparsity": 0.8}], "methods": ["magnitude"], "seeds": [0]}})
    )
    config = load_config(params, overlay=EXAMPLE)
    pipeline, parameters = compiling.swept(config)
    _, configs, spec = read(compiling.compiled(config, pipeline=pipeline, parameters=parameters))
    found = containers(spec)
    assert {"measure", "select", "prune", "prune-2", "recover", "recover-2"} <= set(found)
    for name, container in found.items():
        made = pod(name, container, configs[name])
        kubernetes_validate.validate(made, KUBERNETES, strict=True)
        step = name.removesuffix("-2")
        assert made["metadata"]["labels"]["app.kubernetes.io/component"] == step
        assert ("nvidia.com/gpu" in made["spec"]["containers"][0]["resources"]["limits"]) == (
            step in GPU_STEPS
        )


def test_training_gets_gpus_and_the_rest_does_not(placed: Any) -> None:
    _, configs, spec = placed
    for name, container in containers(spec).items():
        made = pod(name, container, configs[name])["spec"]
        limits = made["containers"][0]["resources"]["limits"]
        assert (limits.get("nvidia.com/gpu") == "1") == (name in GPU_STEPS), name
        assert (f"regrow-{name}-gpu" in container["image"]) == (name in GPU_STEPS), name
        shared = [item for item in made["volumes"] if item.get("emptyDir", {}).get("medium") == "Memory"]
        assert bool(shared) == (name in GPU_STEPS)
        assert bool(made["tolerations"]) == bool(made["nodeSelector"]) == (name in GPU_STEPS)
        claims = [item for item in made["volumes"] if "persistentVolumeClaim" in item]
        assert bool(claims) == (name in GPU_STEPS)
        environment = {item["name"]: item.get("value") for item in container["env"]}
        assert (environment.get("REGROW_CHECKPOINTS") == "/checkpoints") == (name in GPU_STEPS)
        assert environment["REGROW_IMAGE"] == container["image"]


def test_credentials_are_named_and_only_where_they_are_needed(placed: Any) -> None:
    _, configs, spec = placed
    secrets = {name: {item.secret_name for item in config.secret_as_env} for name, config in configs.items()}
    mlflow, data = "regrow-mlflow-credentials", "regrow-data-credentials"
    assert {name for name in NAMES if mlflow in secrets[name]} == {"resolve", "train", "recover", "register"}
    assert {name for name in NAMES if data in secrets[name]} == {"resolve", "prepare"}
    values = {item["name"] for container in containers(spec).values() for item in container["env"]}
    assert values == {"REGROW_IMAGE", "REGROW_CHECKPOINTS"}
    assert not re.search(r"(?i)password\W+[^A-Z_ ]", str(spec["deploymentSpec"]))


def test_how_often_checkpoints_are_kept_is_a_setting() -> None:
    config = load_config(None, ["cluster.checkpoints={every: 600 s, days: 2}"])
    _, _, spec = read(compiling.compiled(config))
    for name, container in containers(spec).items():
        found = {item["name"]: item["value"] for item in container["env"] if "CHECKPOINT" in item["name"]}
        wanted = {"REGROW_CHECKPOINTS": "/checkpoints", "REGROW_CHECKPOINT_EVERY": "600 s"}
        wanted |= {"REGROW_CHECKPOINTS_DAYS": "2.0"}
        assert found == (wanted if name in GPU_STEPS else {})
    assert Interval("600 s").is_due(1) is False
    with pytest.raises(RegrowError, match=r"cluster\.checkpoints\.every"):
        load_config(None, ["cluster.checkpoints={every: often}"])


def test_the_end_of_a_run_is_told_whoever_is_to_know() -> None:
    config = load_config(None, ["cluster.webhook_secret=regrow-webhook"])
    _, configs, _ = read(compiling.compiled(config))
    told = {
        name
        for name, item in configs.items()
        if "regrow-webhook" in {secret.secret_name for secret in item.secret_as_env}
    }
    assert told == {"outcome"}
    assert "regrow-mlflow" in {item.config_map_name for item in configs["outcome"].config_map_as_env}


def test_every_step_is_tried_again_with_growing_waits(placed: Any) -> None:
    _, _, spec = placed
    graphs = [spec["root"], *spec["components"].values()]
    tasks = {name: task for graph in graphs for name, task in graph.get("dag", {}).get("tasks", {}).items()}
    for name in NAMES:
        policy = tasks[name]["retryPolicy"]
        assert policy["maxRetryCount"] == (5 if name in GPU_STEPS else 2), name
        assert policy["backoffFactor"] > 1
        assert {policy["backoffDuration"], policy["backoffMaxDuration"]} == {"30s", "600s"}


def test_an_image_of_the_cluster_s_own_is_used_for_its_step_only() -> None:
    digest = f"registry.example.com/regrow-prune@sha256:{'0' * 64}"
    config = load_config(None, [f"cluster.images.prune={digest}"])
    found = {name: item["image"] for name, item in containers(read(compiling.compiled(config))[2]).items()}
    assert found["prune"] == digest
    assert {name: found[name] for name in NAMES if name != "prune"} == {
        name: image(name) for name in NAMES if name != "prune"
    }


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REGROW_TAG", "latest", "is not a fixed version"),
        ("REGROW_TAG", "", "has no tag after ':'"),
        ("REGROW_TAG", "a b", "is not the name of an image"),
        ("REGROW_REGISTRY", "https://registry.example.com", "is an address"),
    ],
)
def test_an_image_of_the_environment_is_checked_as_one_of_the_settings(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RegrowError, match=f"REGROW_REGISTRY, REGROW_TAG: .* {said}"):
        compiling.compiled(load_config(None))


def test_where_no_credentials_are_wanted_none_are_asked_for() -> None:
    config = load_config(
        None, ["cluster.mlflow.secret=null", "cluster.data={config_map: null, secret: null}"]
    )
    _, configs, _ = read(compiling.compiled(config))
    assert not any(config.secret_as_env for config in configs.values())
    assert {item.config_map_name for config in configs.values() for item in config.config_map_as_env} == {
        "regrow-mlflow"
    }


def variables(config: KubernetesExecutorConfig) -> dict[str, str]:
    """By variable, the ConfigMap or Secret that a step's pod takes it from; each from one."""
    pairs = [
        *((key.env_var, item.secret_name) for item in config.secret_as_env for key in item.key_to_env),
        *(
            (key.env_var, item.config_map_name)
            for item in config.config_map_as_env
            for key in item.key_to_env
        ),
    ]
    found = dict(pairs)
    assert len(found) == len(pairs), "of two, which one counts is the cluster's affair"
    return found


KEY = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_a_key_for_artifacts_goes_to_the_steps_that_read_or_write_them_past_the_server() -> None:
    """`recover` streams metrics only, `prepare` reads data with a key of its own."""
    config = load_config(None, ["cluster.mlflow.artifact_store={secret: artifacts-key}"])
    found = {name: variables(item) for name, item in read(compiling.compiled(config))[1].items()}
    given = {name for name, item in found.items() if "artifacts-key" in item.values()}
    assert given == {"resolve", "train", "register", "outcome"}
    for name in given:
        assert {key for key, source in found[name].items() if source == "artifacts-key"} == KEY
        assert found[name]["MLFLOW_S3_ENDPOINT_URL"] == "regrow-mlflow"
        region = "regrow-data" if name == "resolve" else "regrow-mlflow"
        assert found[name]["AWS_DEFAULT_REGION"] == region
    assert {found["prepare"][key] for key in KEY} == {"regrow-data-credentials"}
    assert found["resolve"]["AWS_ENDPOINT_URL"] == found["prepare"]["AWS_ENDPOINT_URL"] == "regrow-data"
    with_key = {name for name, item in found.items() if KEY & set(item)}
    assert with_key == {*given, "prepare"}


def test_where_artifacts_go_through_the_server_no_step_gets_a_key_for_them() -> None:
    _, configs, _ = read(compiling.compiled(load_config(None)))
    found = {name: variables(item) for name, item in configs.items()}
    assert {name for name, item in found.items() if KEY & set(item)} == {"resolve", "prepare"}
    assert not any("MLFLOW_S3_ENDPOINT_URL" in item for item in found.values())


def test_a_pod_with_an_identity_of_its_own_gets_the_store_s_address_only() -> None:
    config = load_config(None, ["cluster.mlflow.artifact_store={secret: null}", "cluster.data.secret=null"])
    found = {name: variables(item) for name, item in read(compiling.compiled(config))[1].items()}
    assert {name for name, item in found.items() if "MLFLOW_S3_ENDPOINT_URL" in item} == {
        "resolve",
        "train",
        "register",
        "outcome",
    }
    assert not any(KEY & set(item) for item in found.values())


def test_images_of_steps_that_reach_the_store_themselves_hold_its_client() -> None:
    for step in ARTIFACTS:
        name = SHARED_IMAGES.get(step, step)
        text = (ROOT / f"components/requirements/{name}.txt").read_text("utf-8")
        assert re.search(r"^boto3==", text, re.MULTILINE), step


def test_the_same_work_has_the_same_parameters_on_every_cluster() -> None:
    plain, there = load_config(ROOT / "params.yaml"), load_config(ROOT / "params.yaml", overlay=EXAMPLE)
    assert plain.cluster != there.cluster
    assert compiling.arguments(plain) == compiling.arguments(there)


def test_settings_know_the_steps_and_their_images() -> None:
    assert set(NAMES) <= set(COMPONENTS)
    own = {name for name in COMPONENTS if name not in SHARED_IMAGES}
    assert set(IMAGES) == own | {f"{name}-gpu" for name in GPU_STEPS}
    components = {
        path.stem for path in (ROOT / "components").glob("*.py") if "@dsl.component" in path.read_text()
    }
    assert components <= set(COMPONENTS)


def test_the_checked_in_pipeline_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGROW_REGISTRY", "REGROW_TAG"):
        monkeypatch.delenv(name, raising=False)
    text = manifest.manifest(load_config(ROOT / "params.yaml"), commit=False)
    found = (ROOT / "k8s/pipelines/prune-and-recover.yaml").read_text("utf-8")
    assert found == text, "run `make pipelines`"
