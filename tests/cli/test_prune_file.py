"""`regrow prune MODEL` and `regrow inspect --groups`: a model file alone, from the command line."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from regrow.cli.main import cli
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.graph.costs import count_macs
from regrow.graph.kernels import sparsity
from regrow.model_files.files import load_model
from regrow.pruning.pruning import Pruning
from regrow.storage.artifacts import read_json
from tests.deferred import deferred
from tests.pruning.every_layer import plain_kernels

tf_keras = deferred("tf_keras")

# What is left of a model of eight channels, of which four stay, in one of the few ways that there are.
SMALLER = ("--set", "prune.target.macs=0.45")


@pytest.fixture
def file(small_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    small_model.save(tmp_path / "mine.h5")
    return tmp_path / "mine.h5"


def regrow(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def refused(*arguments: str) -> str:
    result = regrow(*arguments)
    assert isinstance(result.exception, RegrowError), result.output
    message = str(result.exception)
    assert "\n" not in message
    return message


def test_fewer_macs_without_data(file: Path, small_model: Any, tmp_path: Path) -> None:
    # A params.yaml that happens to lie there is not this file's.
    (tmp_path / "params.yaml").write_text("prune: {method: magnitude, sparsity: 0.9}\n")
    result = regrow("prune", "mine.h5", *SMALLER)
    assert result.exception is None, result.output
    model = load_model(tmp_path / "mine-pruned")
    assert count_macs(model) / count_macs(small_model) == pytest.approx(0.45, rel=0.03)
    Pruning.read(tmp_path / "mine-pruned/pruning").verify(model)
    report = read_json(tmp_path / "mine-pruned/report.json")["channels"]
    assert f"{report['after']['macs']:,}" in result.output
    assert f"{report['before']['bytes']:,}" in result.output
    shrunk = [group for group in report["groups"] if group["after"] < group["before"]]
    assert shrunk
    assert all(f"{group['before']} → {group['after']}" in result.output for group in shrunk)
    assert "left whole: head: they are the model's outputs" in result.output
    assert "mine-pruned: written\n" in result.output
    again = regrow("prune", "mine.h5", *SMALLER)
    assert again.exception is None, "its own results are replaced"
    assert "mine-pruned: written, replacing an earlier result\n" in again.output
    assert "prune: 3/3 done" in again.output


def test_a_sequence_into_a_named_directory(file: Path, tmp_path: Path) -> None:
    result = regrow(
        "prune", "mine.h5", *SMALLER, "--set", "prune.method=[channels,magnitude]", "-o", "out/small"
    )
    assert result.exception is None, result.output
    assert sparsity(load_model(tmp_path / "out/small")) == pytest.approx(0.8, abs=0.01)
    assert regrow("inspect", "out/small").exception is None


def test_a_dataset_may_be_named_for_a_criterion(file: Path, digits: Dataset) -> None:
    taylor = (*SMALLER, "--set", "prune.channels.criterion=taylor", "--set", "prune.channels.rescore=1")
    assert "'taylor' needs calibration examples; give a dataset that" in refused("prune", "mine.h5", *taylor)
    result = regrow("prune", "mine.h5", *taylor, "--dataset", str(digits.path))
    assert result.exception is None, result.output


def test_examples_of_another_shape_are_refused(digits: Dataset, tmp_path: Path) -> None:
    import tf_keras as keras

    layers = keras.layers
    other = keras.Sequential(
        [layers.Input((28, 28, 1)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(10)]
    )
    other.save(tmp_path / "other.keras")
    options = (*SMALLER, "--set", "prune.channels.criterion=apoz", "-o", str(tmp_path / "out"))
    message = refused("prune", str(tmp_path / "other.keras"), *options, "--dataset", str(digits.path))
    assert message == "calibration: examples have shape (8, 8, 1), but the model takes (28, 28, 1)"
    assert not (tmp_path / "out").exists()


def test_mistakes_are_one_sentence_each(file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    assert "no such model file" in refused("prune", "absent.h5", *SMALLER)
    assert "notes.txt: is not a model file" in refused("prune", "mine/notes.txt", *SMALLER)
    assert "cannot be reached" in refused("prune", "mine.h5", "--set", "prune.target.macs=0.001")
    assert "'nothing' matches no layer" in refused(
        "prune", "mine.h5", *SMALLER, "--set", "prune.skip=[nothing]"
    )
    assert "holds other files" in refused("prune", "mine.h5", *SMALLER, "-o", "mine")
    accepted = (
        "accepted: a new directory, or one that holds an earlier result; model.keras, pruning, report.json "
        "are written there"
    )
    assert (
        refused("prune", "mine.h5", *SMALLER, "-o", "mine/notes.txt")
        == f"-o mine/notes.txt: is a file; {accepted}"
    )
    named = refused("prune", "mine.h5", *SMALLER, "-o", "small.keras")
    assert named == f"-o small.keras: is the name of a file; {accepted}"
    assert "contains the input model" in refused("prune", "mine.h5", *SMALLER, "-o", ".")
    assert "--parent: cannot be used with a MODEL" in refused(
        "prune", "mine.h5", *SMALLER, "--parent", "mine"
    )
    assert "-o: applies only to a MODEL" in refused("prune", "-o", "out")
    gradual = ("--set", "prune.schedule=gradual")
    assert "'gradual' needs training data" in refused("prune", "mine.h5", *gradual)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.h5"]


@pytest.mark.parametrize(
    "options",
    [
        (*SMALLER, "--set", "prune.channels.criterion=taylor"),
        (*SMALLER, "--set", "prune.method=layers", "--set", "prune.layers.criterion=apoz"),
        (*SMALLER, "--set", "prune.rounds=2"),
        ("--set", "prune.schedule=gradual"),
    ],
)
def test_what_needs_a_dataset_is_refused_before_tensorflow_is_imported(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    code = "import sys; from regrow.cli.main import main\ntry: main()\nfinally: print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "prune", "mine.h5", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "False\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert "--dataset" in line


def test_code_and_subclasses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tf_keras as keras

    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(4)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

    monkeypatch.chdir(tmp_path)
    lambdas = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4), keras.layers.Lambda(lambda x: x + 1)]
    )
    lambdas.save("lambda.keras")
    own = Own()
    own(np.zeros((1, 4), np.float32))
    own.save("own", save_format="tf")
    own.save("own.keras")
    assert "layer 'lambda' carries Python code" in refused("prune", "lambda.keras", *SMALLER)
    subclassed = "is a model of class 'Own', a subclassed one; accepted: Functional and Sequential models"
    assert refused("prune", "own.keras", *SMALLER) == f"own.keras: {subclassed}"
    assert "own: " in refused("prune", "own", *SMALLER)


def test_a_value_for_another_section_is_refused(file: Path) -> None:
    message = refused("prune", "mine.h5", *SMALLER, "--set", "train.fit.epochs=3")
    assert message == (
        "--set train.fit.epochs=3: section 'train' does not apply to a model file; accepted: prune.KEY=VALUE"
    )


def test_a_layer_that_no_rule_knows_is_named_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tf_keras

    layers = tf_keras.layers
    monkeypatch.chdir(tmp_path)
    inputs = layers.Input((6, 6, 4))
    x = layers.Conv2D(8, 3, activation="relu", name="free")(inputs)
    x = layers.Conv2D(8, 3, name="before")(x)
    x = layers.Discretization(bin_boundaries=[0.0])(x)
    x = layers.Conv2D(6, 1, name="after")(tf_keras.layers.Rescaling(1.0)(x))
    tf_keras.Model(inputs, layers.GlobalAveragePooling2D()(x)).save("odd.keras")
    result = regrow("prune", "odd.keras", "--set", "prune.target.macs=0.5")
    assert result.exception is None, result.output
    found = read_json(tmp_path / "odd-pruned/report.json")["channels"]["left_whole"]
    assert list(found) == ["discretization"]
    assert f"not followed: {found['discretization']}" in " ".join(result.output.split())


def test_groups_are_printed(file: Path) -> None:
    result = regrow("inspect", "mine.h5", "--groups")
    assert result.exception is None, result.output
    paragraphs = [
        [line.strip() for line in text.splitlines()] for text in result.output.strip().split("\n\n")
    ]
    assert [lines[0] for lines in paragraphs][:2] == ["mine.h5", "conv1, conv2: 8 channels"]
    assert len(paragraphs) == 1 + 3
    assert paragraphs[1][1:3] == ["also cut     norm1", "taken in by  conv2, hidden"]
    assert re.fullmatch(r"one saves    [\d,]+ MACs, [\d,]+ parameters", paragraphs[1][3])
    assert paragraphs[3][1:] == ["stay         all: they are the model's outputs"]


def test_keys_of_other_methods_are_said_to_be_of_no_use(file: Path) -> None:
    result = CliRunner().invoke(
        cli, ["prune", "mine.h5", *SMALLER, "--set", "prune.layers.blocks=1", "--set", "prune.n=1"]
    )
    assert result.exit_code == 0, result.output
    assert "prune: not used with method channels: layers, n" in result.output


def test_nothing_is_done_where_nothing_is_asked(file: Path, tmp_path: Path) -> None:
    message = refused("prune", "mine.h5")
    assert "mine.h5: no target is given; for example, --set prune.target.macs=0.5" in message
    assert refused("prune", "mine.h5", "--set", "train.fit.epochs=3") == message
    assert refused("prune", "mine.h5", "--set", "target.macs=0.5") == (
        "--set target.macs=0.5: 'target' is a key of section 'prune'; accepted: --set prune.target.macs=0.5"
    )
    assert not (tmp_path / "mine-pruned").exists()


@pytest.mark.parametrize("method", ["n_m", "magnitude"])
@pytest.mark.parametrize("library", ["tf_keras", "keras"])
def test_kernels_inside_layers_are_zeroed_and_counted(
    method: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Film and text, most of whose weights lie in wrapped and recurrent layers; the files of both libraries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    keras = importlib.import_module(library)
    layers = keras.layers
    keras.utils.set_random_seed(0)
    film = keras.Input((4, 12, 12, 4))
    x = layers.TimeDistributed(layers.Conv2D(8, 3, padding="same"), name="each")(film)
    x = layers.ConvLSTM2D(12, 3, padding="same", name="film")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, name="conv")(x))
    text = keras.Input((6,))
    y = layers.Bidirectional(layers.GRU(8, return_sequences=True), name="both")(
        layers.Embedding(20, 8, name="words")(text)
    )
    y = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4, name="attention")(y, y))
    keras.Model([film, text], layers.Dense(4, name="head")(layers.Concatenate()([x, y]))).save("given.keras")
    words = ("--set", "prune.skip=words") if method == "n_m" else ()
    result = regrow(
        "prune", "given.keras", "--set", f"prune.method={method}", "--set", "prune.sparsity=0.5", *words
    )
    assert result.exception is None, result.output
    found = plain_kernels(tf_keras.models.load_model("given-pruned/model.keras", compile=False))
    zeros, total = sum(int((a == 0).sum()) for a in found.values()), sum(a.size for a in found.values())
    spared = found["words/embeddings"].size if method == "n_m" else 0
    assert zeros / total == pytest.approx(0.5 * (1 - spared / total), abs=1e-3)
    report = read_json(tmp_path / "given-pruned/report.json")
    assert report["sparsity"] == zeros / total
    assert f"{zeros / total:.1%}" in result.output
    shown = regrow("inspect", "given-pruned/model.keras").output
    assert f"{zeros / total:.1%}" in shown


def test_latency_of_both_models_is_printed(file: Path, tmp_path: Path) -> None:
    result = regrow("prune", "mine.h5", *SMALLER, "--latency")
    assert result.exception is None, result.output
    found = read_json(tmp_path / "mine-pruned/report.json")["latency"]
    for name, shown in (("tflite_fp32", "fp32 TFLite"), ("tflite_int8", "int8 TFLite")):
        ms, share = found["ms"][name], found["ratio"][name]["pruned"]
        row = re.search(rf"ms, {shown} +│ +([\d.]+) │ +([\d.]+) │ +([\d.]+)%", result.output)
        assert row, result.output
        shown_ms = [float(value) for value in row.groups()[:2]]
        assert shown_ms == pytest.approx([ms["parent"], ms["pruned"]], abs=6e-4)  # the last digit is rounded
        assert float(row[3]) == pytest.approx(100 * share, abs=0.06)
    text = " ".join(result.output.split())
    assert (
        "one example, one thread, in turns, on this machine; int8 is calibrated on random values from" in text
    )
    assert "--latency measures" not in text


def test_without_it_time_is_said_to_be_another_thing(file: Path) -> None:
    lines = regrow("prune", "mine.h5", *SMALLER).output.strip()
    told = (
        "fewer MACs rarely mean proportionally less time: --latency measures both models as fp32 and int8 "
        "TFLite"
    )
    assert told in " ".join(lines.split())
    zeros = regrow("prune", "mine.h5", "--set", "prune.sparsity=0.5").output
    assert "--latency" not in zeros


def test_latency_is_of_a_model(file: Path) -> None:
    shown = regrow("inspect", "mine.h5", "--latency")
    assert shown.exception is None, shown.output
    assert re.search(r"int8 TFLite +│ +[\d.]+", shown.output), shown.output
    assert refused("prune", "--latency") == (
        "--latency: applies only to a MODEL file; in the pipeline, `evaluate` measures latency"
    )
