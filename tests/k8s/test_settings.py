"""What the manifests hold for Regrow is what Regrow reads, and both use the same names."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from regrow.cluster.overlay import merged
from regrow.cluster.settings import GPU_STEPS, ClusterSettings
from regrow.config.document import check_pipeline, load_config
from regrow_pipelines import placement
from regrow_pipelines.notices import unseen
from regrow_pipelines.schedules import Schedules

from .rendering import (
    K8S,
    OVERLAYS,
    Document,
    containers,
    documented_secrets,
    documents,
    find,
    pod_template,
    rendered,
    workloads,
)


def scheduled(overlay: str, folder: Path) -> tuple[list[Document], Any, list[dict[str, Any]]]:
    """The documents of the runs' namespace, the configuration of scheduled runs, and the schedules."""
    namespace = "kubeflow" if overlay == "standalone" else "regrow"
    inside = [each for each in documents(overlay) if each["metadata"].get("namespace") == namespace]
    data = find(inside, "ConfigMap", "regrow-schedules")["data"]
    for name, text in data.items():
        (folder / name).write_text(text, "utf-8")
    config = load_config(folder / "params.yaml")
    return inside, config, yaml.safe_load(data["schedules.yaml"])["schedules"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_scheduled_runs_find_what_they_name(overlay: str, tmp_path: Path) -> None:
    inside, config, schedules = scheduled(overlay, tmp_path)
    check_pipeline(config)
    # What docs/retraining.md calls a retraining: a second run of the same ends early.
    assert (config.resolve.when_unchanged, config.train.start) == ("stop", "champion")
    template = pod_template(find(inside, "CronJob", "regrow-schedules"))
    assert template is not None
    over: dict[str, Any] = {}
    for word in containers(template)[0]["args"]:
        if word.startswith("--cluster="):
            over = yaml.safe_load((tmp_path / Path(word.partition("=")[2]).name).read_text("utf-8"))[
                "cluster"
            ]
    assert schedules
    for schedule in schedules:
        section = config.cluster.model_dump(mode="json", exclude_unset=True)
        section = merged(merged(section, over), schedule.get("cluster", {}))
        settings = ClusterSettings.model_validate(section)
        assert settings.namespace == ("kubeflow" if overlay == "standalone" else "regrow")
        assert settings.endpoint is None  # the CronJob's environment has it; elsewhere it is another
        assert find(inside, "ServiceAccount", settings.service_account)
        for sources in (settings.mlflow, settings.data):
            assert sources.secret in documented_secrets()
            assert find(inside, "ConfigMap", sources.config_map or "")["data"]
        assert settings.checkpoints is not None
        assert find(inside, "PersistentVolumeClaim", settings.checkpoints.claim)
        gpus = {name for name in GPU_STEPS if settings.for_step(name).gpus}
        assert gpus == (set(GPU_STEPS) if overlay == "gpu" else set())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_steps_write_checkpoints_as_the_volume_was_prepared(overlay: str, tmp_path: Path) -> None:
    inside, config, _ = scheduled(overlay, tmp_path)
    job = find(inside, "Job", "checkpoints-ready")["spec"]["template"]["spec"]
    for step in ("train", "recover"):
        context = config.cluster.for_step(step).security_context
        assert context.run_as_group == job["securityContext"]["fsGroup"]
        assert context.run_as_user == job["securityContext"]["runAsUser"]


def test_defaults_of_the_settings_are_the_manifests_names(tmp_path: Path) -> None:
    inside, config, _ = scheduled("dev", tmp_path)
    bare = ClusterSettings()
    for field in ("namespace", "service_account", "mlflow", "data"):
        assert getattr(bare, field) == getattr(config.cluster, field)
    secrets = documented_secrets()
    for sources, asked in (
        (bare.mlflow, placement.MLFLOW_CONFIG + placement.MLFLOW_CREDENTIALS),
        (bare.data, placement.DATA_CONFIG + placement.STORE_CREDENTIALS),
    ):
        names = secrets[sources.secret or ""][0] | set(
            find(inside, "ConfigMap", sources.config_map or "")["data"]
        )
        assert set(asked) == names
        assert set(re.findall(r"\w+", type(sources).__doc__ or "")) == names
    assert secrets["regrow-webhook"] == ({"REGROW_WEBHOOK_URL"}, True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_steps_and_servers_come_from_one_registry(overlay: str, tmp_path: Path) -> None:
    inside, _, _ = scheduled(overlay, tmp_path)
    place = find(inside, "ConfigMap", "regrow-images")["data"]
    own = {
        container["image"]
        for _, template in workloads(documents(overlay))
        for container in containers(template)
        if "/regrow-" in container["image"]
    }
    assert own == {
        f"{place['REGROW_REGISTRY']}/regrow-{name}:{place['REGROW_TAG']}" for name in ("mlflow", "pipeline")
    }


def test_a_gpu_overlay_is_one_for_compile(tmp_path: Path) -> None:
    _, config, _ = scheduled("dev", tmp_path)
    placed = yaml.safe_load((K8S / "components" / "gpu" / "gpu.yaml").read_text("utf-8"))["cluster"]
    settings = ClusterSettings.model_validate(
        merged(config.cluster.model_dump(mode="json", exclude_unset=True), placed)
    )
    assert settings.image_key("train") == "train-gpu"
    assert settings.for_step("train").security_context.run_as_user == 10001


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_edit_of_one_file_names_the_registry(overlay: str, tmp_path: Path) -> None:
    """The `sed` of docs/cluster.md; `gpu` is `dev` with GPUs, and its registry stands there."""
    shutil.copytree(K8S, tmp_path / "k8s")
    edited = tmp_path / "k8s" / "overlays" / ("dev" if overlay == "gpu" else overlay) / "kustomization.yaml"
    text = edited.read_text("utf-8").replace("registry.example.com/regrow", "reg.internal/us")
    edited.write_text(text, "utf-8")
    assert "registry.example.com" not in rendered(tmp_path / "k8s" / "overlays" / overlay)


def test_own_schedules_and_gpus_go_together(tmp_path: Path) -> None:
    """As docs/cluster.md says for prod: own files in the overlay, and the component `gpu`."""
    shutil.copytree(K8S, tmp_path / "k8s")
    prod = tmp_path / "k8s" / "overlays" / "prod"
    own = "owner: cronjob\nschedules: [{name: hourly, cron: '11 * * * *', params: params.yaml}]\n"
    (prod / "schedules.yaml").write_text(own, "utf-8")
    shutil.copy(K8S / "base" / "schedules" / "params.yaml", prod / "params.yaml")
    kustomization = yaml.safe_load((prod / "kustomization.yaml").read_text("utf-8"))
    kustomization["components"].append("../../components/gpu")
    merge = {
        "name": "regrow-schedules",
        "namespace": "regrow",
        "behavior": "merge",
        "options": {"disableNameSuffixHash": True},
        "files": ["schedules.yaml", "params.yaml"],
    }
    kustomization["configMapGenerator"].append(merge)
    (prod / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
    found = [each for each in yaml.safe_load_all(rendered(prod)) if each]
    data = find(found, "ConfigMap", "regrow-schedules")["data"]
    assert data["schedules.yaml"] == own
    assert yaml.safe_load(data["gpu.yaml"])["cluster"]["steps"]["train"]["gpus"] == 1
    template = pod_template(find(found, "CronJob", "regrow-schedules"))
    assert template is not None
    assert containers(template)[0]["args"][-1] == "--cluster=/etc/regrow/gpu.yaml"


def test_the_examples_are_not_the_cronjob_s(tmp_path: Path) -> None:
    """It deletes what is not in its file of its owner's: neither the example's nor the default's."""
    data = find(documents("dev"), "ConfigMap", "regrow-schedules")["data"]
    example = yaml.safe_load((K8S.parent / "examples" / "schedules.yaml").read_text("utf-8"))
    owners = {example["owner"], Schedules().owner, yaml.safe_load(data["schedules.yaml"])["owner"]}
    assert len(owners) == 3
    for schedule in example["schedules"]:
        path = K8S.parent / "examples" / schedule["params"]
        assert not list(unseen(load_config(path))), "no pod would have it"
