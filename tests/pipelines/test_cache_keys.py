"""Kubeflow's cache serves nothing that older code made, nor what was made of other data; equal work it does serve.

Its key on a cluster holds values and, of artifacts, names. The local cache, which looks at their paths too, is told
here to do the same; the rest is Kubeflow's own.
"""

import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import regrow
import regrow_components
import regrow_pipelines
from regrow.config.document import load_config
from regrow.config.sections import canonical_json
from regrow.dataset.sources import identify
from regrow.errors import RegrowError
from regrow.provenance.code import PACKAGE, code_digest
from regrow.steps import NAMES, SWEEP_NAMES, all_specs
from regrow_components.versions import require_code
from regrow_pipelines.compiling import arguments, compiled

SCRIPT = """
import json, os, sys
from pathlib import Path
from kfp import dsl, local
from kfp.dsl import Dataset, Input
from kfp.local.cache import LocalCache
from regrow_components.prepare import prepare
from regrow_pipelines.interpreter import plain_interpreter
from regrow_pipelines.prune_and_recover import versions

plain = LocalCache._serialize_value_for_key
LocalCache._serialize_value_for_key = staticmethod(
    lambda value: {"name": value.name} if isinstance(value, dsl.Artifact) else plain(value)
)


@dsl.component(base_image="look:1", packages_to_install=[], install_kfp_package=False)
def look(code_version: str, dataset: Input[Dataset]) -> str:
    from pathlib import Path

    from regrow.dataset.directory import open_dataset

    return str(open_dataset(Path(dataset.path)).size("train"))


@dsl.pipeline(name="two-steps")
def two_steps(params: str, resolved: str, prepare_code: str, look_code: str):
    first = prepare(params=params, code_version=prepare_code, resolved=resolved)
    look(code_version=versions(look_code, first), dataset=first.outputs["dataset"])


local.init(local.SubprocessRunner(use_venv=False), pipeline_root="root", enable_caching=True)
for number, run in enumerate(json.loads(Path("runs.json").read_text())):
    print(f"RUN {number}", flush=True)
    os.environ["PYTHONPATH"] = run.pop("sources")
    Path("data.csv").write_text(run.pop("data"))
    with plain_interpreter():
        two_steps(**run, look_code="1")
"""


def edited_copy(target: Path, name: str) -> tuple[str, str]:
    """A copy of the library with a line added to the file ``name``, and the version of `prepare`'s code there."""
    shutil.copytree(PACKAGE, target / "regrow", ignore=shutil.ignore_patterns("__pycache__"))
    with (target / "regrow" / name).open("a") as file:
        file.write("\n# Edited.\n")
    code = "from regrow.provenance.code import code_digest; print(code_digest('regrow.steps.prepare'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    return str(target), done.stdout.strip()


@pytest.mark.slow
def test_changed_code_and_changed_data_are_worked_on_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{number / 10},{'xy'[number % 2]}" for number in range(40)]
    before, after = ("\n".join(["a,label", *part, ""]) for part in (rows, [*rows[1:], "9.5,x"]))
    config = {"prepare": {"source": {"kind": "csv", "path": "data.csv", "label": "label"}}}
    Path("params.json").write_text(json.dumps(config))
    params = arguments(load_config(Path("params.json")))["prepare_params"]
    source = load_config(Path("params.json")).prepare.source
    own = (str(PACKAGE.parent), code_digest("regrow.steps.prepare"))
    reader = edited_copy(tmp_path / "reader", "dataset/splitting.py")
    pruning = edited_copy(tmp_path / "pruning", "pruning/n_m.py")

    def run(code: tuple[str, str], data: str) -> dict[str, str]:
        Path("data.csv").write_text(data)
        found = [item.to_json() for item in identify(source)]
        resolved = canonical_json({"source": source.model_dump(mode="json"), "resources": found})
        given = {"params": params, "resolved": resolved, "prepare_code": code[1]}
        return {**given, "sources": code[0], "data": data}

    runs = [run(own, before), run(own, before), run(reader, before), run(pruning, before), run(own, after)]
    Path("runs.json").write_text(json.dumps(runs))
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        env={**os.environ, "REGROW_TRACKING": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown[-3000:]
    parts = re.split(r"RUN \d", done.stdout)[1:]
    worked = [set(re.findall(r"Executing task '?(\w+)", re.sub(r"\x1b\[\d+m", "", part))) for part in parts]
    nothing, everything = set(), {"prepare", "look"}
    assert worked == [everything, nothing, everything, nothing, everything], shown[-3000:]


def cached_tasks(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    graphs = [document["root"], *document["components"].values()]
    tasks = {name: task for graph in graphs for name, task in graph.get("dag", {}).get("tasks", {}).items()}
    return {name: task for name, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache")}


def test_what_a_cached_step_works_on_is_known_to_it_by_value() -> None:
    document = next(iter(YAML(typ="safe").load_all(compiled(load_config(None)))))
    tasks = cached_tasks(document)
    assert set(tasks) == {name for name, spec in all_specs().items() if spec.cached}
    for name, task in tasks.items():
        inputs = task["inputs"]
        code = inputs["parameters"]["code_version"]
        shown = code.get("componentInputParameter") or code["runtimeValue"]["constant"]
        assert f"pipelinechannel--{name}_code" in shown
        for artifact, found in inputs.get("artifacts", {}).items():
            if "taskOutputArtifact" in found:
                producer = found["taskOutputArtifact"]["producerTask"]
                assert f"pipelinechannel--{producer}-version" in shown, (name, artifact)
            else:
                assert (name, artifact) == ("evaluate", "champion")
                assert (
                    inputs["parameters"]["rival"]["componentInputParameter"]
                    == "pipelinechannel--resolve-rival"
                )
    assert (
        tasks["prepare"]["inputs"]["parameters"]["resolved"]["componentInputParameter"]
        == "pipelinechannel--resolve-resolved"
    )
    assert (
        tasks["train"]["inputs"]["parameters"]["start"]["componentInputParameter"]
        == "pipelinechannel--resolve-start"
    )


def step_codes(edited: str, folder: Path) -> dict[str, str]:
    """The code versions of all steps, and of the whole, where a line has been added to the file ``edited``, if any."""
    code = "import json; from regrow_pipelines.compiling import arguments;"
    code += "from regrow.config.document import load_config;"
    code += "print(json.dumps({k: v for k, v in arguments(load_config(None)).items() if not k.endswith('_params')}))"
    for name, package in (
        ("regrow", regrow),
        ("regrow_components", regrow_components),
        ("regrow_pipelines", regrow_pipelines),
    ):
        source = Path(package.__file__).parent
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "requirements"))
    if edited:
        with (folder / edited).open("a") as file:
            file.write("\n# Edited.\n")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_step_s_code_is_its_own_and_what_runs_and_shows_it(tmp_path: Path) -> None:
    before = step_codes("", tmp_path / "before")
    assert set(before) == {"code_version", *(f"{name}_code" for name in NAMES)}
    for file in ("regrow/steps/by_value.py", "regrow/steps/execution.py", "regrow_components/views.py"):
        after = step_codes(file, tmp_path / file)
        assert all(after[name] != before[name] for name in before), file
    file = "regrow/steps/prune.py"
    after = step_codes(file, tmp_path / file)
    assert {name for name in before if after[name] != before[name]} == {"prune_code", "code_version"}
    # What other images run: a run in containers compares the whole with what their labels say.
    for file in ("regrow/steps/measure.py", "regrow/steps/select.py", "regrow/registry/webhook.py"):
        after = step_codes(file, tmp_path / file)
        assert {name for name in before if after[name] != before[name]} == {"code_version"}, file


def test_an_image_of_other_code_does_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubeflow would keep what it makes as the result of the code that the pipeline was compiled from."""
    given = arguments(load_config(None))["prune_code"]
    monkeypatch.setenv("REGROW_IMAGE", "registry.example.com/regrow-prune:1")
    require_code("prune", f"{given}+abc+def")
    with pytest.raises(
        RegrowError, match=r"regrow-prune:1 has different code .* from that of the compiled pipeline"
    ):
        require_code("prune", f"{'0' * 64}+abc+def")
    monkeypatch.delenv("REGROW_IMAGE")
    require_code("prune", "0")


@pytest.mark.parametrize("name", [*NAMES, *SWEEP_NAMES])
def test_each_component_checks_its_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    component = importlib.import_module(f"regrow_components.{name}")
    function = getattr(component, name).python_func
    monkeypatch.setenv("REGROW_IMAGE", "image:1")
    wanted = dict.fromkeys(inspect.signature(function).parameters)
    with pytest.raises(RegrowError, match=f"step '{name}': the image image:1 has different code"):
        function(**{**wanted, "code_version": "0"})
