"""params.yaml: what is wrong is named, with the nearest valid choice."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from regrow.cli.main import cli
from regrow.config.document import check_pipeline, load_config
from regrow.config.keys import keys
from regrow.config.sections import canonical_json
from regrow.errors import RegrowError
from regrow.steps import NAMES
from regrow.steps.component import run_component

ROOT = Path(__file__).resolve().parents[2]


def load(tmp_path: Path, text: str, *overrides: str) -> object:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return load_config(path, overrides)


OF_OTHER_KINDS = {"schedules.yaml", "cluster-gpu.yaml"}
READY = [path for path in sorted((ROOT / "examples").glob("*.yaml")) if path.name not in OF_OTHER_KINDS]


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *READY])
def test_ready_files_are_valid(path: Path) -> None:
    load_config(path)


def test_defaults_and_overrides(tmp_path: Path) -> None:
    config = load(tmp_path, "", "prune.sparsity=0.9", "train.fit.epochs=3")
    assert config.prune.sparsity == 0.9  # type: ignore[attr-defined]
    assert config.train.fit.epochs == 3  # type: ignore[attr-defined]


def test_numbers_without_a_dot_are_numbers(tmp_path: Path) -> None:
    config = load(tmp_path, "train: {fit: {optimizer: {learning_rate: 1e-4}}}")
    assert config.train.fit.optimizer.learning_rate == 1e-4  # type: ignore[attr-defined]


def test_resolve_looks_at_the_source_of_prepare(tmp_path: Path) -> None:
    config = load(tmp_path, "prepare: {source: {kind: npz, path: a.npz}}\nregister: {model_name: m}")
    assert config.resolve.source == config.prepare.source  # type: ignore[attr-defined]
    assert config.resolve.model_name == "m"  # type: ignore[attr-defined]


def test_resolve_looks_at_what_train_imports(tmp_path: Path) -> None:
    config = load(tmp_path, "train: {import: {path: given.keras}}")
    sections = config.resolve.sections  # type: ignore[attr-defined]
    assert set(sections) == {"train"}
    assert sections["train"]["import_model"]["path"] == "given.keras"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prune: {sparsty: 0.9}", r"prune\.sparsty: unknown key; did you mean 'sparsity'\?"),
        (
            "sparsity: 0.9",
            r"sparsity: unknown key; did you mean 'prune\.sparsity' or 'sweep\.targets\.sparsity'\?",
        ),
        (
            "prepare: {links: anywhere}",
            r"prepare\.links: unknown key; did you mean 'prepare\.source\.links'\?",
        ),
        (
            "prune: {method: 'layers,channels'}",
            r"'layers,channels' is one value; write several .* \[layers, channels\]",
        ),
        ("prune: {channels: {criterion: 'l1,l2'}}", r"criterion: 'l1,l2' is not known"),
        ("register: {model_name: 'a/b'}", r"model_name: 'a/b' is not accepted; accepted: such as flowers or"),
        ("train: {epochs: 3}", r"train\.epochs: unknown key; did you mean 'train\.fit\.epochs'\?"),
        ("train: {sparkle: 3}", r"train\.sparkle: unknown key; accepted: architecture, "),
        ("prun: {}", r"prun: unknown key; did you mean 'prune'\?"),
        ("train: {fit: {epoch: 3}}", r"train\.fit\.epoch: unknown key; did you mean 'epochs'\?"),
        ("prune: {allocation: lump}", r"prune\.allocation: 'lump' is not accepted; did you mean 'lamp'\?"),
        ("prune: {method: chanels}", r"prune\.method: 'chanels' is not accepted; did you mean 'channels'\?"),
        ("prune: {method: [n_m, chanels]}", r"prune\.method\.1: 'chanels' is not accepted"),
        ("prune: {sparsity: much}", r"prune\.sparsity: .*'much'"),
        ("prune: {sparsity: 1.5}", r"prune\.sparsity: .*1\.5"),
        (
            "tracking: {wandb: {mode: ofline}}",
            r"tracking\.wandb\.mode: 'ofline' is not accepted; did you mean 'offline'\?",
        ),
        ("tracking: {wandb: {projct: a}}", r"tracking\.wandb\.projct: unknown key; did you mean 'project'\?"),
        ("tracking: {wandb: {project: a/b}}", r"tracking\.wandb\.project: .*\(found 'a/b'\)"),
        ("tracking: {wandb: {tags: ['']}}", r"tracking\.wandb\.tags\.0: .*at least 1 character"),
        (
            "tracking: {wandb: true}",
            r"tracking\.wandb: is a section with the keys .*mode, project, tags, not a value \(found true\)",
        ),
        ("resolve: {sections: {}}", r"resolve\.sections: is copied from the other sections"),
        (
            "train: {fit: {epochs: true}}",
            r"train\.fit\.epochs: input should be a whole number \(found true\)",
        ),
        ("prune: {sparsity: '0.9'}", r"prune\.sparsity: input should be a number \(found '0\.9'\)"),
        ("train: {fit: {optimizer: sgd}}", r"train\.fit\.optimizer: is a section with the keys .*momentum"),
        ("prepare: {source: {kind: digitz}}", r"prepare\.source\.kind: 'digitz' .* did you mean 'digits'\?"),
        ("prepare: {source: {path: a}}", r"prepare\.source\.kind: is required"),
        ("prepare: {source: {kind: folder}}", r"prepare\.source\.path: is required"),
        ("prune: [", "is not valid YAML \\(line 1, column 9: "),
        ("- a", "holds a list; accepted: sections resolve, "),
        ("a word", "holds the value 'a word'; accepted: sections resolve, "),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RegrowError, match=message):
        load(tmp_path, text)


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(RegrowError) as caught:
        load(tmp_path, "prune: {sparsty: 0.9}\ntrain: {fit: {epoch: 3}}")
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("override", ["prune", "=1", "prune.sparsity.deep=1"])
def test_malformed_overrides(tmp_path: Path, override: str) -> None:
    with pytest.raises(RegrowError, match="--set"):
        load(tmp_path, "prune: {sparsity: 0.5}", override)


def test_missing_file() -> None:
    with pytest.raises(RegrowError, match="no such file"):
        load_config(Path("nowhere.yaml"))


SECRET = "hunter2"


@pytest.mark.parametrize(
    "repo",
    [f"https://me:{SECRET}@host/r.git", f"https://{SECRET}@host/r.git", f"ssh://git:{SECRET}@host/r.git"],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(tmp_path: Path, repo: str) -> None:
    source = f"{{kind: dvc, repo: '{repo}', path: data, format: folder}}"
    with pytest.raises(RegrowError, match=r"repo: contains credentials, .* credential helper") as refused:
        load(tmp_path, f"prepare:\n  source: {source}\n")
    assert SECRET not in str(refused.value)
    section = {"source": {"kind": "dvc", "repo": repo, "path": "data", "format": "folder"}}
    with pytest.raises(RegrowError, match="its parameters are not valid") as refused:
        run_component("prepare", canonical_json(section), inputs={}, outputs={})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "repo", ["git@host:r.git", "ssh://git@host/r.git", "https://host/r.git", "../r", "/a@b/r"]
)
def test_addresses_without_credentials_are_taken(tmp_path: Path, repo: str) -> None:
    source = f"{{kind: dvc, repo: '{repo}', path: data, format: folder}}"
    load(tmp_path, f"prepare:\n  source: {source}\n")


def test_a_fault_on_the_command_line_is_not_said_to_be_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(RegrowError) as caught:
        load(tmp_path, "train: {fit: {epochs: 0}}", "prune.sparsity=high", "train.fit.optimizer={name: sgdd}")
    first, second, third = sorted(str(caught.value).splitlines())
    assert first.startswith("--set prune.sparsity=high: prune.sparsity: input should be a number")
    assert second.startswith(
        "--set train.fit.optimizer={name: sgdd}: train.fit.optimizer.name: 'sgdd' is not"
    )
    assert third.startswith(f"{tmp_path / 'params.yaml'}: train.fit.epochs: ")


def test_a_choice_lists_what_is_accepted_once(tmp_path: Path) -> None:
    with pytest.raises(RegrowError) as caught:
        load(tmp_path, "train: {fit: {schedule: x}}")
    assert str(caught.value).count("accepted") == 2  # "is not accepted; accepted: …"


def test_every_key_is_listed_with_type_default_and_meaning() -> None:
    found = {key.name: key for key in keys()}
    assert found["train.fit.epochs"] == (
        "train.fit.epochs",
        "whole number",
        "30",
        "largest number of passes over the training split",
    )
    # A section may give what is in it other defaults than it has elsewhere.
    assert found["recover.fit.epochs"].default == "15"
    assert found["recover.fit.schedule"].default == "linear_decay"
    assert found["train.fit.optimizer.name"].type == "adam | sgd"
    assert found["prepare.source (kind: csv).label"].default == "required"
    assert found["augment.operations (name: crop).padding"].type == "whole number"
    assert found["train.import.path"].meaning.startswith(".keras file")
    assert not any(name.startswith("resolve.fingerprint") for name in found)
    assert not [key.name for key in found.values() if not key.meaning]
    names = {key.name for key in keys("tracking")}
    wandb = {f"tracking.wandb{key}" for key in ("", ".project", ".entity", ".mode", ".group", ".tags")}
    assert names == {"tracking.uri", "tracking.experiment", *wandb}
    with pytest.raises(RegrowError, match="has no section 'prun'; did you mean 'prune'"):
        keys("prun")
    inner = {key.name for key in keys("prune.channels")}
    assert "prune.channels.floor" in inner
    assert all(name.startswith("prune.channels.") for name in inner)
    with pytest.raises(RegrowError, match=r"section 'prune' .* has no 'chanels'; did you mean 'channels'"):
        keys("prune.chanels")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "export.formats=[keras]",
            r"gate\.size_format: needs 'tflite_int8', which is not in export\.formats",
        ),
        (
            "export.formats=[tflite_int8]",
            r"gate\.latency_format: needs 'tflite_fp32', .* in export\.formats",
        ),
        (
            "evaluate.latency.formats=[onnx]",
            r"gate\.latency_format: .* not in evaluate\.latency\.formats \(onnx\)",
        ),
    ],
)
def test_a_gate_that_nothing_could_pass_is_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RegrowError, match=rf"^my\.yaml: register\.{message}"):
        check_pipeline(load(tmp_path, "", override), where=Path("my.yaml"))
    limits = ["register.gate.max_size_ratio=null", "register.gate.max_latency_ratio=null"]
    check_pipeline(load(tmp_path, "", override, *limits))
    check_pipeline(load(tmp_path, ""))


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        ("kind: csv, path: a.csv, label: a", False),
        ("kind: remote, url: 's3://b/a.csv', format: csv, label: a", False),
        ("kind: dvc, repo: a, path: a.csv, format: csv, label: a", False),
        ("kind: csv, path: a.csv, label: a, shape: [8, 8, 1]", True),
        ("kind: npz, path: a.npz", True),
    ],
)
def test_a_table_and_an_architecture_for_images_are_refused_at_the_start(
    tmp_path: Path, source: str, taken: bool
) -> None:
    text = f"prepare: {{source: {{{source}}}}}\ntrain: {{architecture: %s}}"
    check_pipeline(load(tmp_path, text % "mlp"))
    imported = text % "null" + "\n  import: {path: model.keras}"
    check_pipeline(load(tmp_path, imported.replace("{architecture: null}", "\n  architecture: null")))
    for name in ("lenet5", "{name: resnet8}"):
        given = load(tmp_path, text % name)
        if taken:
            check_pipeline(given)
            continue
        with pytest.raises(
            RegrowError, match=r"^my\.yaml: train\.architecture: '.*' takes images, .* accepted: mlp"
        ):
            check_pipeline(given, where=Path("my.yaml"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "recover.multi_task={tasks: [rotation]}",
            r"tasks: 'rotation' is not a section; accepted: a list such as \[{kind: rot",
        ),
        (
            "recover.multi_task={tasks: []}",
            r"tasks: is empty; accepted: a list such as .*; multi_task: null for no",
        ),
        (
            "recover.multi_task={tasks: [{kind: rotatio}]}",
            r"kind: 'rotatio' is not accepted; did you mean 'rotation'",
        ),
        (
            "recover.stop_when=0.95",
            r"stop_when: 0\.95 is not a condition; accepted: 'accuracy >= parent - 0\.01'",
        ),
        (
            "recover.stop_when='accuracy >= parent + 0.01'",
            r"only '-' may follow parent",
        ),
        (
            "recover.fit={early_stopping: false}",
            r"early_stopping: false is not a section; use null to switch it off",
        ),
        ("train.fit.early_stopping=true", r"early_stopping: true is not a section; use {} for the defaults"),
    ],
)
def test_settings_of_recovery_that_are_written_otherwise_say_how(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(RegrowError, match=message) as caught:
        load(tmp_path, "", override)
    assert "\n" not in str(caught.value)


def test_a_label_column_that_preparation_does_not_read_is_refused(tmp_path: Path) -> None:
    tasks = "recover.multi_task={tasks: [{kind: label, name: colour}]}"
    with pytest.raises(
        RegrowError,
        match=r"^params\.yaml: recover\.multi_task\.tasks: prepare\.source has no auxiliary label 'colour'"
        r".*accepted: none;",
    ):
        check_pipeline(load(tmp_path, "", tasks), where=Path("params.yaml"))
    table = (
        "prepare: {source: {kind: csv, path: a.csv, label: shape, further_labels: [%s]}}\n"
        "train: {architecture: mlp}"
    )
    with pytest.raises(
        RegrowError, match=r"accepted: size; list the column in prepare\.source\.further_labels"
    ):
        check_pipeline(load(tmp_path, table % "size", tasks))
    check_pipeline(load(tmp_path, table % "colour", tasks))


def test_what_file_and_command_line_come_to_together_names_both(tmp_path: Path) -> None:
    with pytest.raises(
        RegrowError, match=r"params\.yaml with --set prune\.target\.macs=0\.5: prune: target applies to"
    ):
        load(tmp_path, "prune: {method: magnitude}", "prune.target.macs=0.5")
    with pytest.raises(
        RegrowError, match=r"with --set prnue\.n=2: prnue: unknown key; did you mean 'prune'\?"
    ):
        load(tmp_path, "", "prnue.n=2")


def test_one_pattern_needs_no_list(tmp_path: Path) -> None:
    config = load(tmp_path, "prune: {skip: conv1}", "prune.method=n_m")
    assert config.prune.skip == ("conv1",)  # type: ignore[attr-defined]


def test_where_runs_are_shown_is_no_parameter_of_a_step(tmp_path: Path) -> None:
    plain = load(tmp_path, "")
    shown = load(tmp_path, "", "tracking.wandb.project=x", "tracking.wandb.tags=[a]")
    assert shown.tracking.wandb.project == "x"  # type: ignore[attr-defined]
    for name in NAMES:
        assert canonical_json(getattr(plain, name)) == canonical_json(getattr(shown, name))


@pytest.mark.parametrize("name", ["a.decisions", "a.Decisions", "a.decisions ", "a b.decisions.decisions"])
def test_no_model_has_the_name_of_a_log_of_decisions(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegrowError, match=r"register.model_name: .* ends in '.decisions'"):
        load(tmp_path, f"register: {{model_name: '{name}'}}")
    for given in (name, f"models:/{name}/3"):
        done = CliRunner().invoke(cli, ["rollback", given])
        assert "ends in '.decisions'" in str(done.exception)
    load(tmp_path, "register: {model_name: decisions}")
    load(tmp_path, "register: {model_name: a.decisions.b}")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("recover.epoch=3", "recover.epoch: unknown key; did you mean 'recover.fit.epochs'?"),
        ("train.batchsize=3", "train.batchsize: unknown key; did you mean 'train.fit.batch_size'?"),
        ("export.formats=tflite", "accepted: a list such as [tflite_int8], of keras, saved_model, "),
        ("evaluate.latency.formats=onnx", "accepted: a list such as [onnx], of tflite_fp32, "),
    ],
)
def test_a_key_further_down_and_the_items_of_a_list_are_named(override: str, says: str) -> None:
    with pytest.raises(RegrowError) as caught:
        load_config(None, [override])
    assert says in str(caught.value)


def test_a_default_asks_for_no_export_that_is_not_made() -> None:
    config = load_config(None, ["export.formats=[tflite_fp32, tflite_int8]"])
    check_pipeline(config)
    assert config.evaluate.latency.formats is None
    with pytest.raises(
        RegrowError, match=r"register\.gate\.size_against: needs 'onnx', which is not in export"
    ):
        check_pipeline(
            load_config(
                None, ["export.formats=[tflite_fp32, tflite_int8]", "register.gate.size_against=onnx"]
            )
        )


def test_a_key_of_another_pruning_method_is_said_not_to_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    check_pipeline(
        load_config(None, ["prune.method=channels", "prune.target.macs=0.5", "prune.sparsity=0.9"])
    )
    assert "prune: not used with method channels: sparsity" in capsys.readouterr().err
    check_pipeline(load_config(None, ["prune.sparsity=0.9"]))
    assert "not used" not in capsys.readouterr().err
