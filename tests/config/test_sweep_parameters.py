"""The section `sweep`: which candidates it comes to, and which mistakes it names."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from regrow.cli.main import cli
from regrow.config.document import load_config, step_params
from regrow.config.sweep import candidates, check_sweep, resolve_params
from regrow.errors import RegrowError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def load(sweep: Any, **sections: Any) -> Any:
        path = tmp_path / "p.json"
        path.write_text(json.dumps({"sweep": sweep, **sections}))
        return load_config(path)

    return load


def test_targets_go_with_the_methods_that_take_them(config: Any) -> None:
    found = candidates(
        config(
            {
                "targets": [
                    {"macs": 0.5},
                    {"sparsity": 0.8},
                    {"n": 2, "m": 4},
                    {"macs": 0.6, "sparsity": 0.7},
                ],
                "methods": ["channels", "magnitude", "n_m", ["channels", "magnitude"]],
            }
        )
    )
    assert [item.name for item in found] == [
        "channels macs 0.5",
        "magnitude sparsity 0.8",
        "n_m 2:4",
        "channels+magnitude macs 0.6 sparsity 0.7",
    ]
    assert [item.index for item in found] == [0, 1, 2, 3]
    assert found[0].prune.method == ("channels",) and found[0].prune.target.macs == 0.5  # type: ignore[union-attr]
    assert found[1].prune.target is None and found[1].prune.sparsity == 0.8
    assert (found[2].prune.n, found[2].prune.m) == (2, 4)
    assert found[3].prune.sparsity == 0.7


def test_seeds_change_recovery_alone_and_keep_equal_prunings_apart_in_time(config: Any) -> None:
    sweep = {"targets": [{"macs": 0.5}, {"macs": 0.3}], "methods": ["channels"], "seeds": [3, 4]}
    found = candidates(config(sweep, recover={"fit": {"seed": 9, "epochs": 2}}))
    assert [item.seed for item in found] == [3, 3, 4, 4]
    assert [(item.recover.seed, item.recover.fit.seed) for item in found] == [(3, 3), (3, 3), (4, 4), (4, 4)]
    assert found[0].prune == found[2].prune and found[0].train == found[2].train
    assert found[0].group == found[2].group != found[1].group
    assert found[0].recover.fit.epochs == 2


def test_train_seeds_give_each_a_parent(config: Any) -> None:
    sweep = {"targets": [{"macs": 0.5}], "methods": ["channels"], "seeds": [3, 4], "train_seeds": True}
    found = candidates(config(sweep, train={"architecture": "mlp", "fit": {"epochs": 3, "seed": 1}}))
    assert [(item.train.seed, item.train.fit.seed) for item in found] == [(3, 3), (4, 4)]
    assert found[0].train.fit.epochs == 3


def test_an_imported_parent_has_no_seeds(config: Any) -> None:
    found = config({**GOOD, "train_seeds": True}, train={"import": {"path": "model.keras"}})
    with pytest.raises(RegrowError, match=r"sweep\.train_seeds: is true, but an imported parent"):
        candidates(found)


def test_what_belongs_to_another_method_is_left_out(config: Any) -> None:
    sweep = {"targets": [{"macs": 0.5}, {"sparsity": 0.5}], "methods": ["channels", "magnitude"]}
    prune = {"target": {"macs": 0.9}, "method": "channels", "rounds": 3, "skip": "head"}
    channels, magnitude = candidates(config(sweep, prune=prune))
    assert channels.prune.rounds == 3 and magnitude.prune.rounds == 1
    assert channels.prune.skip == magnitude.prune.skip == ("head",)


def test_a_method_has_its_own_options(config: Any) -> None:
    own = {
        "method": "channels",
        "name": "distilled",
        "prune": {"channels": {"criterion": "taylor"}},
        "recover": {"distill": {"logits": {}}, "fit": {"optimizer": {"name": "sgd"}}},
    }
    base = {"recover": {"fit": {"epochs": 7, "optimizer": {"name": "adam", "learning_rate": 0.5}}}}
    plain, other = candidates(config({"targets": [{"macs": 0.5}], "methods": ["channels", own]}, **base))
    assert other.name == "distilled macs 0.5"
    assert other.prune.channels.criterion == "taylor" and plain.prune.channels.criterion == "relative_l2"
    assert other.recover.distill is not None and plain.recover.distill is None
    assert other.recover.fit.epochs == 7
    # Another optimizer does not inherit the rate of this one.
    assert other.recover.fit.optimizer.name == "sgd" and other.recover.fit.optimizer.learning_rate != 0.5


GOOD: dict[str, Any] = {"targets": [{"macs": 0.5}], "methods": ["channels"]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"targets": []}, r"sweep\.targets: is empty"),
        ({"methods": []}, r"sweep\.methods: is empty"),
        ({"seeds": []}, r"sweep\.seeds: is empty"),
        ({"methods": [[]]}, r"sweep\.methods\.0\.method: is empty; accepted: layers, channels"),
        ({"methods": ["chanels"]}, r"'chanels' is not accepted; did you mean 'channels'"),
        (
            {"targets": [{"macs": 0.5}, {"sparsity": 0.5}]},
            "none of the methods channels accepts target 'sparsity 0.5'",
        ),
        ({"methods": ["channels", "n_m"]}, "method 'n_m' accepts none of the targets macs 0.5"),
        (
            {"targets": [{"latency_ms": 1}], "methods": ["layers"]},
            "none of the methods layers accepts target 'latency_ms 1'",
        ),
        ({"targets": [{}]}, r"sweep\.targets\.0: is empty; accepted: macs"),
        ({"targets": [{"macs": 0.5, "bytes": 0.5}]}, "takes one of macs, parameters, bytes, latency_ms"),
        ({"targets": [{"n": 2}]}, "needs n and m together"),
        ({"targets": [{"macs": 0.5}] * 2}, "targets contains 'macs 0.5' twice"),
        ({"methods": ["channels", {"method": "channels"}]}, "methods contains 'channels' twice; rename one"),
        (
            {"methods": [{"method": "channels", "prune": {"target": {"macs": 0.9}}}]},
            "prune.target is set by",
        ),
        (
            {"methods": [{"method": "channels", "recover": {"seed": 7}}]},
            "seed of recover is set by sweep.seeds",
        ),
        (
            {"methods": [{"method": "channels", "recover": {"fit": {"seed": 7}}}]},
            "seed of recover is set by",
        ),
        ({"seeds": [1, 1]}, "seeds contains '1' twice"),
        ({"rule": {}}, r"sweep\.rule: takes exactly one of smallest_within .* found none"),
        ({"rule": {"smallest_within": 2}}, r"sweep\.rule\.smallest_within: is out of range .*≤ 1"),
        ({"format": "keras"}, r"sweep\.format: 'keras' is not known"),
        ({"workers": 0}, r"sweep\.workers"),
        ({"sedes": [1]}, r"sweep\.sedes: unknown key; did you mean 'seeds'"),
    ],
)
def test_mistakes_are_named(config: Any, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RegrowError, match=says) as caught:
        config({**GOOD, **changes})
    assert len(str(caught.value).splitlines()) == 1


def test_options_that_do_not_go_together_name_the_candidate(config: Any) -> None:
    own = {"method": "channels", "prune": {"channels": {"criterion": "tayler"}}}
    with pytest.raises(
        RegrowError, match=r"candidate 'channels macs 0.5': prune: channels\.criterion: 'tayler'"
    ):
        candidates(config({**GOOD, "methods": [own]}))


def test_a_fault_of_the_whole_section_has_no_empty_field(config: Any) -> None:
    with pytest.raises(RegrowError, match=r"candidate 'n_m 8:4': prune: n is 8 and m is 4"):
        candidates(config({"targets": [{"n": 8, "m": 4}], "methods": ["n_m"]}))


def test_without_a_section_there_is_nothing_to_sweep() -> None:
    with pytest.raises(RegrowError, match="sweep: the parameters have no such section"):
        candidates(load_config(ROOT / "params.yaml"))


def test_a_format_that_is_not_shipped_is_refused(config: Any) -> None:
    with pytest.raises(RegrowError, match=r"sweep\.format: 'tflite_int8' is not in export\.formats \(onnx\)"):
        check_sweep(config(GOOD, export={"formats": ["onnx"]}))
    check_sweep(config({**GOOD, "format": "onnx"}, export={"formats": ["onnx"]}))


def test_candidates_are_weighed_as_export_and_evaluate_would(config: Any) -> None:
    found = config(
        {**GOOD, "format": "onnx"},
        export={"calibration_examples": 17, "seed": 5},
        evaluate={"latency": {"rounds": 33}},
    )
    measure = step_params(found, "measure").model_dump()
    wanted = {"format": "onnx", "calibration_examples": 17, "seed": 5, "rounds": 33}
    assert {name: measure[name] for name in wanted} == wanted


def test_another_sweep_is_other_work_but_other_workers_are_not(config: Any) -> None:
    prints = [
        resolve_params(config({**GOOD, **changes})).fingerprint
        for changes in ({}, {"seeds": [1]}, {"rule": {"smallest_within": 0.2}}, {"workers": 7})
    ]
    assert len(set(prints)) == 3 and prints[0] == prints[3]


def test_the_command_says_a_mistake_before_anything_runs(tmp_path: Path) -> None:
    arguments = ["sweep", "--params", str(ROOT / "params.yaml"), "--workspace", str(tmp_path / "work")]
    with pytest.raises(RegrowError, match="sweep: the parameters have no such section"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    example = ["sweep", "--params", str(ROOT / "examples/sweep.yaml"), "--set", "sweep.seeds=[]"]
    with pytest.raises(RegrowError, match=r"--set sweep\.seeds=\[\]: sweep\.seeds: is empty"):
        CliRunner().invoke(cli, example, catch_exceptions=False)
    assert not (tmp_path / "work").exists()


def test_the_example_comes_to_six_candidates() -> None:
    found = load_config(ROOT / "examples/sweep.yaml")
    check_sweep(found)
    assert [item.name for item in candidates(found)] == [
        f"{group} seed {seed}"
        for seed in (0, 1)
        for group in ("channels macs 0.5", "channels macs 0.25", "magnitude sparsity 0.8")
    ]


def test_methods_are_those_of_prune_unless_given(config: Any) -> None:
    targets = [{"macs": 0.5}, {"macs": 0.25}]
    for prune, method in (
        (None, ("channels",)),
        ({"method": "channels"}, ("channels",)),
        ({"method": "layers"}, ("layers",)),
        ({"target": {"macs": 0.9}}, ("channels",)),
    ):
        found = candidates(config({"targets": targets}, **({} if prune is None else {"prune": prune})))
        assert [item.prune.method for item in found] == [method, method]
        assert [item.prune.target.macs for item in found] == [0.5, 0.25]  # type: ignore[union-attr]
    zeros = candidates(config({"targets": [{"sparsity": 0.5}]}, prune={"sparsity": 0.8}))
    assert [(item.prune.method, item.prune.sparsity) for item in zeros] == [(("magnitude",), 0.5)]
    both = {"method": ["channels", "magnitude"]}
    found = candidates(config({"targets": [{"macs": 0.4, "sparsity": 0.5}]}, prune=both))
    assert (found[0].prune.method, found[0].prune.target.macs) == (("channels", "magnitude"), 0.4)  # type: ignore[union-attr]


def test_a_method_beside_a_sweep_has_its_first_target(config: Any) -> None:
    sweep = {
        "targets": [{"sparsity": 0.5}, {"macs": 0.3}, {"macs": 0.6}],
        "methods": ["channels", "magnitude"],
    }
    assert config(sweep, prune={"method": "channels"}).prune.target.macs == 0.3
    assert config(sweep, prune={"method": "channels", "target": {"macs": 0.7}}).prune.target.macs == 0.7
    assert config(sweep, prune={"method": "magnitude"}).prune.target is None
    with pytest.raises(RegrowError, match="method 'channels' needs a target"):
        config(None, prune={"method": "channels"})
    with pytest.raises(RegrowError, match=r"none of the methods n_m accepts target 'macs 0\.5'"):
        config({"targets": [{"macs": 0.5}]}, prune={"method": "n_m"})
