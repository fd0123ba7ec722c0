"""The compiled sweep: a loop over candidates, what it gives collected, and one way on."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from regrow.config.document import load_config
from regrow.config.sweep import candidates
from regrow.steps import NAMES, get_spec
from regrow_pipelines import compiling

LOOP = {"prune", "recover", "measure"}


@pytest.fixture(params=[False, True], ids=["one parent", "parents by seed"])
def compiled(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, dict[str, Any], bool]:
    sweep = {
        "targets": [{"macs": 0.5}, {"sparsity": 0.8}],
        "methods": ["channels", "magnitude"],
        "seeds": [0, 1],
        "train_seeds": request.param,
        "workers": 3,
    }
    (tmp_path / "p.json").write_text(json.dumps({"sweep": sweep}))
    config = load_config(tmp_path / "p.json")
    pipeline, parameters = compiling.swept(config)
    text = compiling.compiled(config, pipeline=pipeline, parameters=parameters)
    (tmp_path / "sweep.yaml").write_text(text, "utf-8")
    return config, next(YAML(typ="safe").load_all((tmp_path / "sweep.yaml").read_text())), request.param


def _dags(document: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [item["dag"]["tasks"] for item in document["components"].values() if "dag" in item]
    return [document["root"]["dag"]["tasks"], *inner]


def dag(document: dict[str, Any], component: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"][component]["dag"]["tasks"]
    return found


def parts(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The tasks after the condition, the loop's task, and the tasks in the loop."""
    every = {name: task for part in _dags(document) for name, task in part.items()}
    (condition,) = (task for task in every.values() if "condition" in task.get("triggerPolicy", {}))
    tasks = dag(document, condition["componentRef"]["name"])
    (loop,) = (task for task in tasks.values() if "parameterIterator" in task)
    return tasks, loop, dag(document, loop["componentRef"]["name"])


def test_candidates_are_tried_in_a_loop(compiled: Any) -> None:
    config, document, own_parents = compiled
    _, loop, inside = parts(document)
    assert set(inside) == LOOP | ({"train"} if own_parents else set())
    assert loop["iteratorPolicy"]["parallelismLimit"] == 3
    given = document["root"]["inputDefinitions"]["parameters"]["candidates"]["defaultValue"]
    assert [json.loads(item["candidate"]) for item in given] == [item.identity for item in candidates(config)]
    assert [json.loads(item["recover_params"])["seed"] for item in given] == [0, 0, 1, 1]
    assert all(
        isinstance(value, str) for item in given for value in item.values()
    )  # integers would become floats


def test_what_was_measured_is_collected_and_one_goes_on(compiled: Any) -> None:
    _, document, _ = compiled
    tasks, loop, _ = parts(document)
    (name,) = (name for name, task in tasks.items() if task is loop)
    measured = tasks["select"]["inputs"]["parameters"]["measured"]["taskOutputParameter"]
    assert measured["producerTask"] == name and "measured" in measured["outputParameterKey"]
    for step in ("prune", "recover"):
        (again,) = (task for key, task in tasks.items() if key.startswith(step))
        chosen = again["inputs"]["parameters"]["params"]["taskOutputParameter"]
        assert chosen == {"producerTask": "select", "outputParameterKey": f"{step}_params"}
    front = tasks["evaluate"]["inputs"]["parameters"]["front"]["taskOutputParameter"]
    assert front == {"producerTask": "select", "outputParameterKey": "front"}


def test_only_the_chosen_one_meets_test_split_and_registry(compiled: Any) -> None:
    _, document, _ = compiled
    tasks, _, inside = parts(document)
    for step in ("export", "evaluate", "register"):
        assert step in tasks and not any(name.startswith(step) for name in inside)
    taken = tasks["register"]["inputs"]["artifacts"]
    for step in ("prune", "recover", "evaluate"):
        assert taken[f"{step}_statement"]["taskOutputArtifact"]["producerTask"].startswith(step)


def test_every_port_is_wired_and_cached_as_specified(compiled: Any) -> None:
    _, document, _ = compiled
    tasks, _, inside = parts(document)
    (resolve,) = (part["resolve"] for part in _dags(document) if "resolve" in part)
    every = {**inside, **tasks, "resolve": resolve}
    by_value = {"data", "start", "front", "measurements"}
    for step in (*NAMES, "measure", "select"):
        task = next(task for name, task in every.items() if name == step or name.startswith(f"{step}-"))
        taken = set(task.get("inputs", {}).get("artifacts", {}))
        # What a cached step takes of `resolve` and of `select` comes by value.
        wanted = {item.name for item in get_spec(step).inputs}
        assert wanted - taken <= (by_value if get_spec(step).cached else set()), step
        assert bool(task["cachingOptions"].get("enableCache")) == get_spec(step).cached, step
