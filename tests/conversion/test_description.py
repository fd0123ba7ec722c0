"""Exports explain themselves: what the README beside them says works, and `signature.json` is what the files are."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.conversion.description import README, describe_exports, label_lines
from regrow.conversion.formats import FILES, FORMATS, convert, export_format, timed
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.model_files.files import load_model
from regrow.steps.export import ExportParams
from regrow.storage.artifacts import read_json


@pytest.fixture(scope="module")
def described(trained: Path, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("described")
    model = load_model(trained / "parent")
    for name in FORMATS:
        convert(model, name, folder, digits.calibration(64))
    describe_exports(folder, digits.info, role="recovered")
    return folder


def blocks(folder: Path) -> dict[str, str]:
    """The Python of the README: ``begin``, ``end`` and that of each file."""
    text = (folder / README).read_text("utf-8")
    found = re.findall(r"(?:^## (\S+)\n.*?)?^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    (_, begin), (_, end), *files = found
    return {"begin": begin, "end": end, **dict(files)}


@pytest.mark.parametrize("name", FORMATS)
def test_the_readme_s_lines_give_the_right_classes(
    described: Path, digits: Dataset, trained: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = blocks(described)
    lines = code[FILES[name]].strip().split("\n")
    assert len(lines) <= 5
    monkeypatch.chdir(described)
    features, labels = digits.features("test")[:100], digits.labels("test")[:100]
    space: dict[str, Any] = {}
    exec(code["begin"], space)
    assert (space["x"].shape, space["x"].dtype) == ((1, 8, 8, 1), np.uint8)
    said: list[str] = []
    space["print"] = said.extend
    program = compile(code[FILES[name]] + code["end"], name, "exec")
    one_at_a_time = name.startswith("tflite")
    for x in features[:, None] if one_at_a_time else [features]:
        space["x"] = np.asarray(x)
        exec(program, space)
    right = np.mean([word == digits.classes[label] for word, label in zip(said, labels, strict=True)])
    answers = load_model(trained / "parent").predict(np.asarray(features, np.float32), verbose=0)
    assert right == pytest.approx((answers.argmax(1) == labels).mean(), abs=0.02)
    assert right > 0.8


def test_the_signature_says_what_the_files_are(described: Path, digits: Dataset) -> None:
    from ai_edge_litert.interpreter import Interpreter

    told = read_json(described / "signature.json")
    assert told["input"] == {
        "name": "features",
        "shape": [8, 8, 1],
        "range": [0.0, 16.0],
        "data_dtype": "uint8",
    }
    assert told["output"] == {"name": "probabilities", "classes": [str(digit) for digit in range(10)]}
    assert set(told["files"]) == set(FILES.values())
    for name in timed():
        if name == "onnx":
            continue
        interpreter = Interpreter(model_path=str(described / FILES[name]))
        found = told["files"][FILES[name]]
        pairs = (("input", interpreter.get_input_details()), ("output", interpreter.get_output_details()))
        for side, (entry,) in pairs:
            assert found[side]["dtype"] == np.dtype(entry["dtype"]).name
            assert found[side]["shape"] == entry["shape"].tolist()
            scale, zero = entry["quantization"]
            assert (found[side].get("scale", 0.0), found[side].get("zero_point", 0)) == (scale, zero)
        assert found["keeps_state"] is False
    assert told["files"]["model.onnx"]["input"]["shape"] == [None, 8, 8, 1]


@pytest.mark.parametrize(
    ("classes", "text"),
    [(["a", "b c"], "a\nb c\n"), (["one\ntwo", "three\r\nfour\x85five"], "one two\nthree four five\n")],
)
def test_labels_are_one_a_line(classes: list[str], text: str) -> None:
    assert label_lines(classes) == text
    assert len(text.splitlines()) == len(classes)


def test_only_files_that_are_there_are_described(described: Path, digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((described / "model.onnx").read_bytes())
    describe_exports(tmp_path, digits.info, role="parent")
    assert set(read_json(tmp_path / "signature.json")["files"]) == {"model.onnx"}
    assert set(blocks(tmp_path)) == {"begin", "end", "model.onnx"}
    assert "# The model before pruning" in (tmp_path / README).read_text("utf-8")


def test_a_format_from_outside_is_known_everywhere_and_takes_no_place_of_another() -> None:
    def load(path: Path) -> Any:
        return None

    @export_format("extra", file="extra.bin", load=load, usage="answer = None")
    def to_extra(model: Any, target: Path, calibration: Any) -> None: ...

    try:
        assert ExportParams.model_validate({"formats": ["extra"]}).formats == ("extra",)
        assert "extra" in ExportParams.model_json_schema()["properties"]["formats"]["items"]["enum"]
        assert "extra" not in ExportParams().formats and "extra" not in timed()
        for name, file in (("onnx", "other.onnx"), ("other", "model.onnx")):
            with pytest.raises(RegrowError, match=r"'onnx' has this name, or the file model\.onnx"):
                export_format(name, file=file, load=load, usage="")(load)  # type: ignore[arg-type]
    finally:
        del FORMATS["extra"], FILES["extra"]
    with pytest.raises(RegrowError, match="'extra' is not known to the process that converts"):
        convert(None, "extra", Path(), np.zeros(1))
