"""``schedules.yaml``: read, refused, and turned into recurring runs with the real pipeline."""

import datetime
import json
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow_pipelines.schedules import (
    Desired,
    configured,
    default_params,
    desired,
    read_schedules,
    server_settings,
)

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime.datetime(2027, 1, 10, 12, tzinfo=datetime.UTC)


def written(folder: Path, text: str, params: str = "prune: {target: {macs: 0.5}}\n") -> Path:
    (folder / "params.yaml").write_text(params)
    path = folder / "schedules.yaml"
    path.write_text(text)
    return path


def wanted(path: Path) -> list[Desired]:
    found = read_schedules(path)
    items = configured(found, path=path, params=default_params(path))
    return desired(items, found, path=path, now=NOW)


def test_the_example_is_read_as_it_stands() -> None:
    nightly, weekly = wanted(ROOT / "examples" / "schedules.yaml")
    assert (nightly.name, nightly.cron, nightly.enabled, nightly.concurrency) == (
        "nightly",
        "0 30 1 * * 1-6",
        True,
        1,
    )
    assert nightly.next_start.isoformat() == "2027-01-11T02:30:00+01:00"
    assert not nightly.catch_up
    assert json.loads(weekly.packed.arguments["prune_params"])["sparsity"] == 0.9
    assert not weekly.enabled


def test_parameters_and_cluster_are_laid_over_the_file_s(tmp_path: Path) -> None:
    text = """
schedules:
  - name: nightly
    cron: "30 2 * * *"
    params: params.yaml
    set: {prune.target: {macs: 0.25}, register.model_name: nightly}
    cluster: {experiment: trials, steps: {train: {gpus: 1}}}
"""
    (item,) = wanted(
        written(tmp_path, text, "cluster: {service_account: robot, steps: {train: {memory: 9Gi}}}\n")
    )
    assert json.loads(item.packed.arguments["prune_params"])["target"]["macs"] == 0.25
    assert (item.settings.experiment, item.settings.service_account) == ("trials", "robot")
    assert (item.settings.steps["train"].gpus, item.settings.steps["train"].memory) == (1, "9Gi")


def test_a_file_is_laid_between_params_and_the_schedule_s_own(tmp_path: Path) -> None:
    text = """
schedules:
  - {name: a, cron: "30 2 * * *", cluster: {steps: {train: {cpu: 3}}}}
"""
    path = written(tmp_path, text, "cluster: {steps: {train: {memory: 9Gi}}}\n")
    (tmp_path / "gpu.yaml").write_text("cluster: {steps: {train: {gpus: 1, cpu: 8}}}\n")
    found = read_schedules(path)
    ((_, config),) = configured(
        found, path=path, params=tmp_path / "params.yaml", overlay=tmp_path / "gpu.yaml"
    )
    train = config.cluster.for_step("train")
    assert (train.gpus, train.cpu, train.memory) == (1, "3", "9Gi")


def test_the_same_file_makes_the_same_fingerprint_and_a_change_another(tmp_path: Path) -> None:
    text = "schedules: [{name: a, cron: '30 2 * * *'}]\n"
    first, again = wanted(written(tmp_path, text)), wanted(written(tmp_path, text))
    assert first[0].fingerprint == again[0].fingerprint
    for changed in (
        "schedules: [{name: a, cron: '31 2 * * *'}]\n",
        "schedules: [{name: a, cron: '30 2 * * *', set: {train.fit.epochs: 2}}]\n",
        "schedules: [{name: a, cron: '30 2 * * *', concurrency: 2}]\n",
        "schedules: [{name: a, cron: '30 2 * * *', cluster: {service_account: robot}}]\n",
    ):
        assert wanted(written(tmp_path, changed))[0].fingerprint != first[0].fingerprint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "has no sections; accepted: owner, scheduler_time_zone, schedules"),
        ("schedules: [\n", "is not valid YAML"),
        ("schedules: 3\n", r"schedules: is a list, not a value \(found 3\)"),
        ("owner: a\nowner: b\n", r'not valid YAML \(line 2, column 1: found duplicate key "owner"\)'),
        (
            "schedules: [{name: a, cron: '0 2 * * *', set: 3}]\n",
            r"schedules\.0\.set: is a section, not a value \(found 3\)",
        ),
        (
            "schedules: [{name: a, cron: '0 2 * * *', cluster: {steps: {train: {cpus: 1}}}}]\n",
            r"schedules\.yaml: schedule 'a': cluster\.steps\.train\.cpus: unknown key; did you mean 'cpu'",
        ),
        ("schedule: []\n", "unknown key; did you mean 'schedules'"),
        ("schedules: [{name: a}]\n", r"schedules\.0\.cron: is required"),
        ("schedules: [{name: a, cron: '30 2 * *'}]\n", "five fields"),
        ("schedules: [{name: a, cron: '0 2 L * *'}]\n", "does not support 'L'"),
        ("schedules: [{name: a, cron: '0 2 * * *', time_zone: Berlin}]\n", "not a time zone"),
        ("scheduler_time_zone: Mars\n", "not a time zone"),
        (
            "schedules: [{name: A b, cron: '0 2 * * *'}]\n",
            "name: 'A b' is not accepted; accepted: such as nightly",
        ),
        ("schedules: [{name: a, cron: '0 2 * * *', concurrency: 0}]\n", "accepted: ≥ 1 and ≤ 10"),
        (
            "schedules: [{name: a, cron: '0 2 * * *'}, {name: a, cron: '0 3 * * *'}]\n",
            "'a' occurs 2 times",
        ),
        (
            "schedules: [{name: a, cron: '0 2 * * *', params: no.yaml}]\n",
            "schedule 'a': .*no.yaml: no such file",
        ),
        (
            "schedules: [{name: a, cron: '0 2 * * *', set: {prune.sparsty: 1}}]\n",
            "schedule 'a': --set prune.sparsty=1: prune.sparsty: unknown",
        ),
        (
            "schedules: [{name: a, cron: '30 0 1 * *', time_zone: Europe/Berlin}]\n",
            "schedule 'a': cron .* cannot be converted to UTC",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RegrowError, match=said) as error:
        wanted(written(tmp_path, text))
    assert str(tmp_path) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match=r"none\.yaml: no such file"):
        read_schedules(tmp_path / "none.yaml")


def test_one_file_is_for_one_namespace(tmp_path: Path) -> None:
    text = (
        "schedules: [{name: a, cron: '0 2 * * *', cluster: {namespace: one}}, {name: b, cron: '0 2 * * *'}]\n"
    )
    path = written(tmp_path, text)
    items = configured(read_schedules(path), path=path, params=None)
    with pytest.raises(RegrowError, match="namespace: is one for 'a' and regrow for 'b'"):
        server_settings(items, path=path, params=None)
    assert server_settings(items[:1], path=path, params=None).namespace == "one"
    assert server_settings([], path=path, params=None).namespace == "regrow"
