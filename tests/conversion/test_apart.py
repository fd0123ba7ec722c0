"""A converter that dies, hangs or refuses takes nothing but its own format with it."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from regrow.conversion import apart
from regrow.conversion.formats import FILES
from regrow.errors import RegrowError

FORMATS = ["tflite_fp32", "onnx"]
# Speaks as `regrow.conversion.worker` does, writes empty files, and comes to its end at one format of one model.
WORKER = """
import json, os, pathlib, sys, time
role, name, how, pipe = sys.argv[1:]
folder = sys.stdin.readline().strip()
job = json.loads(pathlib.Path(folder, "job.json").read_text())
files = {files}
def emit(**event):
    os.write(int(pipe), json.dumps(event).encode() + bytes([10]))
for model, formats in job["left"].items():
    emit(event="model", model=model)
    for each in formats:
        emit(event="begins", format=each)
        pathlib.Path(job["models"][model]["target"], files[each]).write_text("")
        if (model, each) == (role, name):
            if how == "hang":
                time.sleep(600)
            if how == "exit":
                os._exit(3)
            os.kill(os.getpid(), int(how))
        emit(event="done", parity=dict(passed=True, process=os.getpid()))
emit(event="ends")
"""


def convert(folder: Path, **options: Any) -> apart.Conversions:
    models = {role: {"source": role, "target": str(folder / role)} for role in ("parent", "recovered")}
    for place in (*models, "scratch"):
        (folder / place).mkdir()
    job = {"models": models, "formats": FORMATS}
    return apart.convert_apart(folder / "scratch", job, report=lambda role, name: None, **options)


def files(folder: Path) -> dict[str, set[str]]:
    return {role: {path.name for path in (folder / role).iterdir()} for role in ("parent", "recovered")}


def ends(monkeypatch: pytest.MonkeyPatch, name: str, how: str, role: str = "parent") -> None:
    command = [sys.executable, "-c", WORKER.replace("{files}", json.dumps(FILES)), role, name, how]
    monkeypatch.setattr(apart, "worker_command", lambda module: command)


def test_one_process_converts_all_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch, "none", "exit")
    found = convert(tmp_path, goes_on=False)
    assert not found.failed
    assert {role: list(of) for role, of in found.parity.items()} == {"parent": FORMATS, "recovered": FORMATS}
    assert len({parity["process"] for of in found.parity.values() for parity in of.values()}) == 1


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (str(int(signal.SIGSEGV)), "the converter died (signal 11, SIGSEGV)"),
        (str(int(signal.SIGKILL)), "died (signal 9, SIGKILL, as the system does where memory runs out)"),
        ("exit", "the converter ended with status 3"),
    ],
)
def test_what_is_left_is_converted_after_a_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, message: str
) -> None:
    ends(monkeypatch, "tflite_fp32", how)
    found = convert(tmp_path, goes_on=True)
    assert [list(formats) for formats in found.parity.values()] == [["onnx"], ["onnx"]]
    assert list(found.failed) == ["tflite_fp32"]
    assert found.failed["tflite_fp32"].startswith("parent: cannot be exported as tflite_fp32: ")
    assert found.failed["tflite_fp32"].endswith(message)
    assert list(files(tmp_path).values()) == [{FILES["onnx"]}] * 2


def test_a_death_at_the_second_model_costs_the_first_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(monkeypatch, "tflite_fp32", str(int(signal.SIGSEGV)), role="recovered")
    found = convert(tmp_path, goes_on=True)
    assert found.failed["tflite_fp32"].startswith("recovered: cannot be exported as tflite_fp32: ")
    assert [list(formats) for formats in found.parity.values()] == [FORMATS, ["onnx"]]
    first, second = ({parity["process"] for parity in of.values()} for of in found.parity.values())
    assert len(first) == len(second) == 1
    assert first != second


def test_a_death_ends_it_where_nothing_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch, "tflite_fp32", str(int(signal.SIGABRT)))
    found = convert(tmp_path, goes_on=False)
    assert not any(found.parity.values())
    assert "(signal 6, SIGABRT)" in found.failed["tflite_fp32"]
    assert not any(files(tmp_path).values())


def test_a_converter_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch, "onnx", "hang")
    found = convert(tmp_path, goes_on=False, limit_s=5)
    assert found.failed["onnx"].endswith("cannot be exported as onnx: it took longer than 5 seconds")
    assert list(found.parity["parent"]) == ["tflite_fp32"]
    assert not found.parity["recovered"]


def test_a_process_that_dies_before_it_converts_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "worker_command", lambda module: [sys.executable, "-c", "raise SystemExit(7)"])
    with pytest.raises(RegrowError, match=r"cannot be converted: the converter ended with status 7"):
        convert(tmp_path, goes_on=True)


def test_an_interrupt_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    original = apart.subprocess.Popen

    def popen(*args: Any, **kwargs: Any) -> Any:
        started.append(original(*args, **kwargs))
        return started[-1]

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(apart.subprocess, "Popen", popen)
    monkeypatch.setattr(apart.select, "select", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path, goes_on=True)
    assert started[0].returncode == -signal.SIGKILL
