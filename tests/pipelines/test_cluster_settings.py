"""The section `cluster`: merged from two files, and refused in one sentence before anything is compiled."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from regrow.cli.main import cli
from regrow.cluster.overlay import merged
from regrow.cluster.quantities import cores, size
from regrow.config.document import load_config
from regrow.config.keys import keys
from regrow.errors import RegrowError


def write(path: Path, section: object) -> Path:
    path.write_text(json.dumps({"cluster": section}))
    return path


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"defaults": {"cpu": "2x"}}, "cluster.defaults.cpu: '2x' is not an amount of CPU; accepted: cores"),
        ({"defaults": {"cpu": "0"}}, "cluster.defaults.cpu: '0' is zero; accepted: more than 0"),
        ({"defaults": {"memory": "1.5Gi"}}, "cluster.defaults.memory: '1.5Gi' is not an amount of memory"),
        ({"defaults": {"memory": 4}}, "cluster.defaults.memory: '4' is 4 bytes, too little to run in"),
        (
            {"steps": {"train": {"gpu_type": "nvidia"}}},
            "'nvidia' is not accepted; accepted: such as nvidia.com/gpu",
        ),
        (
            {"pipeline_root": "my bucket"},
            "cluster.pipeline_root: 'my bucket' is not accepted; accepted: such as s3://",
        ),
        (
            {
                "defaults": {"retries": {"max_backoff_s": 60}},
                "steps": {"train": {"retries": {"backoff_s": 90}}},
            },
            "steps.train over defaults: retries.max_backoff_s 60 is less than backoff_s 90",
        ),
        ({"defaults": {"memory": True}}, "cluster.defaults.memory: input should be a valid string"),
        ({"steps": {"prepar": {}}}, "cluster.steps: there is no step 'prepar'; did you mean 'prepare'?"),
        ({"steps": {"train": {"cpus": 1}}}, "cluster.steps.train.cpus: unknown key; did you mean 'cpu'?"),
        (
            {"steps": {"prune": {"gpus": 1}}},
            "steps.prune.gpus: 'prune' has no GPU variant; accepted for train, recover",
        ),
        (
            {"defaults": {"gpus": 1}},
            "defaults.gpus: not every step can use a GPU; set gpus in steps: train or recover",
        ),
        ({"images": {"train": "a.example/train"}}, "'a.example/train' is not a fixed version"),
        ({"images": {"train": "a.example:5000/train"}}, "'a.example:5000/train' is not a fixed version"),
        ({"images": {"train": "train:latest"}}, "'train:latest' is not a fixed version"),
        ({"images": {"train": "reg x:1"}}, "'reg x:1' is not the name of an image"),
        ({"images": {"train": "https://reg.io/x"}}, "'https://reg.io/x' is an address"),
        ({"images": {"train": "reg.io/x:"}}, "'reg.io/x:' has no tag after ':'"),
        (
            {"checkpoints": {"every": "5 minutes"}},
            "cluster.checkpoints.every: '5 minutes' is not accepted; accepted: such as 5 epochs or 600 s",
        ),
        ({"checkpoints": {"mount": "here"}}, "mount: 'here' is not accepted; accepted: such as /checkpoints"),
        (
            {"webhook_secret": "https://hooks.example.com/T0/SECRET"},
            "webhook_secret: must be the name of a Kubernetes object",
        ),
        ({"defaults": {"tolerations": 3}}, "cluster.defaults.tolerations: is a list, not a value (found 3)"),
        (
            {"steps": {"train": {"labels": {"app.kubernetes.io/component": "x"}}}},
            "'app.kubernetes.io/component' is set by Regrow itself on every pod; remove it",
        ),
        ({"images": {"trian": "a:1"}}, "cluster.images: there is no image 'trian'; did you mean 'train'?"),
        (
            {"images": {"train": "a:1"}, "steps": {"train": {"gpus": 1}}},
            "images: 'train' runs on GPUs, so the image to name is 'train-gpu', not 'train'",
        ),
        (
            {"defaults": {"memory": "2Gi"}, "steps": {"train": {"shared_memory": "4Gi"}}},
            "steps.train over defaults: shared_memory 4Gi is more than the pod's memory, 2Gi",
        ),
        (
            {"defaults": {"cpu": 4}, "steps": {"train": {"cpu_limit": "500m"}}},
            "steps.train over defaults: cpu_limit 500m is less than the request, cpu 4",
        ),
        (
            {"defaults": {"tolerations": [{"operator": "Exists", "value": "x"}]}},
            "tolerations.0: a toleration with operator: Exists has no value",
        ),
        ({"defaults": {"tolerations": [{}]}}, "a toleration needs a key, or operator: Exists"),
        ({"defaults": {"labels": {"team": "a b"}}}, "'a b' (team) is not a label value"),
        ({"defaults": {"security_context": {"run_as_user": 0}}}, "run_as_user: 0 is root"),
        (
            {"defaults": {"time_limit_s": 5}},
            "cluster.defaults.time_limit_s: is out of range (found 5; accepted: ≥ 60)",
        ),
        ({"namespace": "Regrow"}, "cluster.namespace: 'Regrow' is not a Kubernetes name"),
        (
            {"endpoint": "kubeflow"},
            "cluster.endpoint: 'kubeflow' is not accepted; accepted: such as http://localhost:8888",
        ),
        ([], "cluster: is a section with the keys"),
    ],
)
def test_what_a_cluster_cannot_be_told_is_refused_in_one_sentence(
    tmp_path: Path, section: object, sentence: str
) -> None:
    file = write(tmp_path / "overlay.yaml", section)
    with pytest.raises(RegrowError, match=re.escape(sentence)) as said:
        load_config(None, overlay=file)
    assert str(said.value).startswith(f"{file}: cluster")
    assert "\n" not in str(said.value)
    assert "SECRET" not in str(said.value)


def test_what_goes_together_once_it_is_laid_over_is_no_fault(tmp_path: Path) -> None:
    own = write(tmp_path / "params.yaml", {"defaults": {"cpu": "250m"}})
    config = load_config(own, overlay=write(tmp_path / "over.yaml", {"defaults": {"cpu_limit": "500m"}}))
    assert (config.cluster.defaults.cpu, config.cluster.defaults.cpu_limit) == ("250m", "500m")


def test_an_overlay_has_one_section(tmp_path: Path) -> None:
    (tmp_path / "over.yaml").write_text("[1, 2]\n")
    with pytest.raises(RegrowError, match=r"holds a list; accepted: the section cluster$"):
        load_config(None, overlay=tmp_path / "over.yaml")


def test_an_overlay_is_laid_over_the_section_and_an_option_over_both(tmp_path: Path) -> None:
    own = {
        "namespace": "own",
        "steps": {"train": {"cpu": 2, "labels": {"team": "a"}}},
        "images": {"prune": "p:1"},
    }
    over = {"steps": {"train": {"labels": {"cost": "b"}}, "prune": {"cpu": "500m"}}, "experiment": "there"}
    config = load_config(
        write(tmp_path / "params.yaml", own),
        ["cluster.steps.train.memory=6Gi"],
        overlay=write(tmp_path / "over.yaml", over),
    ).cluster
    assert (config.namespace, config.experiment, config.images) == ("own", "there", {"prune": "p:1"})
    train = config.for_step("train")
    assert (train.cpu, train.memory, train.labels) == ("2", "6Gi", {"team": "a", "cost": "b"})
    assert config.for_step("prune").cpu == "500m"
    assert config.for_step("export") == config.defaults


def test_what_is_wrong_only_together_is_said_of_the_configuration(tmp_path: Path) -> None:
    params = write(tmp_path / "params.yaml", {"defaults": {"memory": "2Gi"}})
    overlay = {"steps": {"train": {"shared_memory": "3Gi"}}}
    with pytest.raises(
        RegrowError, match=r"params\.yaml: cluster: steps\.train over defaults: shared_memory"
    ):
        load_config(params, overlay=overlay)


def test_an_overlay_holds_a_cluster_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text("prune: {sparsity: 0.5}\n")
    with pytest.raises(RegrowError) as said:
        load_config(None, overlay=file)
    assert "overlay.yaml: cluster: is required" in str(said.value)
    assert "overlay.yaml: prune: unknown key" in str(said.value)


def test_the_cluster_decides_nothing_of_the_work(tmp_path: Path) -> None:
    plain, there = load_config(None), load_config(None, ["cluster.defaults.cpu=8"])
    assert there.resolve == plain.resolve
    assert there.cluster != plain.cluster


def test_amounts() -> None:
    assert [float(cores(text)) for text in ("2", "0.5", ".25", "500m")] == [2, 0.5, 0.25, 0.5]
    assert [size(text) for text in ("1024", "1Ki", "2M", "1Gi")] == [1024, 1024, 2_000_000, 2**30]


def test_merging_replaces_lists_and_values_and_leaves_both_alone() -> None:
    own, over = {"a": {"b": [1], "c": 1}, "d": {"e": 1}}, {"a": {"b": [2]}, "d": None}
    assert merged(own, over) == {"a": {"b": [2], "c": 1}, "d": None}
    assert own == {"a": {"b": [1], "c": 1}, "d": {"e": 1}}


def test_every_key_is_listed() -> None:
    names = {key.name for key in keys("cluster")}
    assert {
        "cluster.namespace",
        "cluster.defaults.cpu",
        "cluster.defaults.retries.count",
        "cluster.steps",
        "cluster.defaults.tolerations[].key",
    } <= names
    shown = CliRunner().invoke(cli, ["keys", "cluster"]).output
    assert "regrow-mlflow-credentials" in shown
