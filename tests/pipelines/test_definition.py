"""Components, compiled pipeline, dvc.yaml and command line say what the StepSpecs say."""

import importlib
import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from regrow.cli.dvc_stages import STAGES, render_stages
from regrow.cli.main import cli
from regrow.config.document import load_config
from regrow.errors import RegrowError
from regrow.steps import NAMES, SWEEP_NAMES, all_specs, get_spec

ROOT = Path(__file__).resolve().parents[2]
TYPES = {
    "dataset": "system.Dataset",
    "model": "system.Model",
    "metrics": "system.Metrics",
    "artifact": "system.Artifact",
}


# What Kubeflow's pages show besides; no other step takes it.
VIEWS = {
    "evaluate": {"confusion": "system.ClassificationMetrics", "page": "system.HTML"},
    "select": {"page": "system.HTML"},
}
EVERY = (*NAMES, *SWEEP_NAMES)
# In the order in which they run.
ORDER = (*NAMES[: NAMES.index("export")], *SWEEP_NAMES, *NAMES[NAMES.index("export") :])

# Inputs that come from `resolve` by value, and what the component calls them; a cached step takes no artifact of its.
BY_VALUE = {
    "prepare": {"data": "resolved"},
    "train": {"start": "start"},
    "evaluate": {"": "rival", "front": "front"},
    "measure": {"": "candidate"},
    "select": {"measurements": "measured", "": "candidates"},
}
# What a component gives by value, besides its version.
GIVEN = {
    "resolve": {"Output": "Boolean", "resolved": "String", "rival": "String", "start": "String"},
    "measure": {"measured": "String"},
    "select": {
        "index": "Integer",
        **dict.fromkeys(("train_params", "prune_params", "recover_params", "front"), "String"),
    },
}


def component(step: str) -> Any:
    return getattr(importlib.import_module(f"regrow_components.{step}"), step)


def output_kind(step: str, output: str) -> str:
    if output == "statement":
        return "artifact"
    return {item.name: item.kind for item in get_spec(step).outputs}[output]


def artifacts(step: str) -> list[Any]:
    """The inputs that come as artifacts."""
    return [item for item in get_spec(step).inputs if item.name not in BY_VALUE.get(step, {})]


@pytest.mark.parametrize("step", EVERY)
def test_every_input_is_the_output_of_an_earlier_step(step: str) -> None:
    for item in get_spec(step).inputs:
        assert ORDER.index(item.producer) < ORDER.index(step)
        assert output_kind(item.producer, item.output)


@pytest.mark.parametrize("step", EVERY)
def test_component_is_its_specification(step: str) -> None:
    spec, found = get_spec(step), component(step).component_spec
    inputs = {name: item.type for name, item in found.inputs.items()}
    assert inputs.pop("params") == "String"
    assert inputs.pop("code_version") == "String"
    if step in ("resolve", "register"):
        assert inputs.pop("run") == "String", "the run's id, for what the exit handler records"
    for name in BY_VALUE.get(step, {}).values():
        assert inputs.pop(name) in ("String", "List")
    expected = {item.name: TYPES[output_kind(item.producer, item.output)] for item in artifacts(step)}
    assert {name: kind.partition("@")[0] for name, kind in inputs.items()} == expected
    outputs = {name: item.type.partition("@")[0] for name, item in found.outputs.items()}
    assert outputs.pop("version") == "String"
    for name, kind in GIVEN.get(step, {}).items():
        assert outputs.pop(name) == kind
    made = {item.name: TYPES[item.kind] for item in spec.outputs}
    assert outputs == made | {"statement": "system.Artifact"} | VIEWS.get(step, {})


@pytest.mark.parametrize("step", EVERY)
def test_component_is_thin_and_installs_nothing(step: str) -> None:
    container = component(step).component_spec.implementation.container
    assert "pip install" not in " ".join(container.command)
    assert container.image.startswith("regrow-") or f"/regrow-{step}:" in container.image
    assert f"regrow-{step}:" in container.image


def test_compiled_pipeline_wires_every_port(tmp_path: Path) -> None:
    target = tmp_path / "pipeline.yaml"
    done = CliRunner().invoke(cli, ["compile", "--params", str(ROOT / "params.yaml"), "-o", str(target)])
    assert done.exit_code == 0, done.output
    document = next(YAML(typ="safe").load_all(target.read_text()))
    tasks: dict[str, Any] = dict(document["root"]["dag"]["tasks"])
    for child in document["components"].values():
        tasks |= child.get("dag", {}).get("tasks", {})
    for name, spec in all_specs().items():
        wired = set(tasks[name].get("inputs", {}).get("artifacts", {}))
        assert wired == {item.name for item in artifacts(name)}, name
        assert bool(tasks[name]["cachingOptions"].get("enableCache")) == spec.cached, name
    defaults = document["root"]["inputDefinitions"]["parameters"]
    assert json.loads(defaults["prune_params"]["defaultValue"])["sparsity"] == 0.8


def test_dvc_yaml_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_config(Path("params.yaml"))
    assert Path("dvc.yaml").read_text() == render_stages(
        config, params_file=Path("params.yaml"), workspace=Path("work")
    )


def test_stages_are_the_specifications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    stages = YAML(typ="safe").load(Path("dvc.yaml").read_text())["stages"]
    assert tuple(stages) == STAGES
    for name, stage in stages.items():
        spec = get_spec(name)
        outs = [next(iter(item)) if isinstance(item, dict) else item for item in stage["outs"]]
        assert outs == [f"work/{name}/{item.name}" for item in spec.outputs] + [f"work/{name}/statement"]
        for item in spec.inputs:
            assert (f"work/{item.producer}/{item.output}" in stage["deps"]) == (item.producer in STAGES)
            option = f"--{item.name.replace('_', '-')} work/{item.producer}/{item.output}"
            assert (option in stage["cmd"]) == (item.producer in STAGES)
        assert stage["params"] == [name]
        assert "--only-named" in stage["cmd"]
        assert {f"regrow/steps/{name}.py", "requirements.lock"} <= set(stage["deps"])


@pytest.mark.parametrize("step", EVERY)
def test_command_line_verb_is_the_specification(step: str) -> None:
    spec = get_spec(step)
    found = cli.get_command(click.Context(cli), step)
    assert found is not None
    options = {option for parameter in found.params for option in parameter.opts}
    for item in [*spec.inputs, *spec.outputs]:
        assert f"--{item.name.replace('_', '-')}" in options
    shown = CliRunner().invoke(cli, [step, "--help"]).output
    assert spec.summary.split()[0] in shown


def test_schema_has_a_section_per_step() -> None:
    schema = json.loads(CliRunner().invoke(cli, ["schema"]).output)
    assert set(schema["properties"]) == {*NAMES, "tracking", "sweep", "cluster"}
    assert schema["additionalProperties"] is False


def test_a_gate_that_nothing_could_pass_is_not_compiled(tmp_path: Path) -> None:
    arguments = ["compile", "-o", str(tmp_path / "p.yaml"), "--set", "export.formats=[keras]"]
    arguments += ["--set", "register.gate.size_format=onnx", "--set", "register.gate.max_size_ratio=0.2"]
    with pytest.raises(RegrowError, match=r"register\.gate\.size_format"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["compile", "dvc-yaml"])
def test_an_output_that_cannot_be_written_is_said(tmp_path: Path, command: str) -> None:
    arguments = [command, "--params", str(ROOT / "params.yaml"), "-o", str(tmp_path / "missing/p.yaml")]
    with pytest.raises(
        RegrowError, match=r"missing/p\.yaml: cannot be written \(No such file or directory\)"
    ):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_a_pipeline_file_that_kubeflow_does_not_take_is_said(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match=r"p\.txt: .* accepted: one that ends in \.yaml"):
        CliRunner().invoke(cli, ["compile", "-o", str(tmp_path / "p.txt")], catch_exceptions=False)
