"""Running a step: whole outputs, honest cache, a statement that holds."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.provenance.digest import tree_digest
from regrow.provenance.statement import Resource, read_statement
from regrow.steps.execution import StepResult, cache_at, execute
from regrow.steps.spec import Input, Output, StepContext, StepSpec


class CopyParams(Parameters):
    times: int = 1
    fail: bool = False


CALLS: list[int] = []


def copy(context: StepContext[CopyParams]) -> None:
    CALLS.append(context.params.times)
    text = (context.inputs["source"] / "text").read_text()
    (context.outputs["copy"] / "text").write_text(text * context.params.times)
    if context.params.fail:
        raise RegrowError("source/text: cannot be copied")
    context.figures["letters"] = len(text) * context.params.times
    context.mlflow_runs.append("abc123")
    context.dependencies.append(Resource(name="letters", digest={"md5": "0"}))


SPEC = StepSpec(
    name="copy",
    summary="Copy text.",
    inputs=[Input(name="source", producer="write", output="text", help="the text")],
    outputs=[Output(name="copy", kind="artifact", help="the copy")],
    params=CopyParams,
    run=copy,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "text").write_text("abc")
    CALLS.clear()
    return folder


def run(source: Path, target: Path, **params: Any) -> StepResult:
    return execute(
        SPEC,
        CopyParams(**params),
        inputs={"source": source},
        outputs={"copy": target / "copy"},
        statement=target / "statement",
    )


def test_outputs_and_statement(source: Path, tmp_path: Path) -> None:
    result = run(source, tmp_path / "a", times=2)
    assert (tmp_path / "a/copy/text").read_text() == "abcabc"
    statement = read_statement(tmp_path / "a/statement")
    assert statement.step == "copy"
    assert statement.parameters == {"times": 2, "fail": False}
    assert statement.figures == {"letters": 6}
    assert statement.mlflow_runs == ["abc123"]
    assert statement.subjects == {"copy": tree_digest(tmp_path / "a/copy")}
    names = {item["name"]: item.get("digest") for item in statement.dependencies}
    assert names["source"] == {"sha256": tree_digest(source)}
    assert names["letters"] == {"md5": "0"}
    assert "sha256" in names["code"]
    assert not result.cached


def test_a_failed_step_leaves_neither_output_nor_statement(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="cannot be copied"):
        run(source, tmp_path / "a", fail=True)
    assert list((tmp_path / "a").iterdir()) == []


def test_the_cache_answers_equal_work_only(source: Path, tmp_path: Path) -> None:
    with cache_at(tmp_path / "cache"):
        run(source, tmp_path / "a")
        again = run(source, tmp_path / "b")
        assert again.cached
        assert (tmp_path / "b/copy/text").read_text() == "abc"
        assert not run(source, tmp_path / "c", times=3).cached
        (source / "text").write_text("abd")
        assert not run(source, tmp_path / "d").cached
    assert CALLS == [1, 3, 1]


def test_a_damaged_cache_entry_is_made_again(source: Path, tmp_path: Path) -> None:
    with cache_at(tmp_path / "cache"):
        run(source, tmp_path / "a")
        (stored,) = (tmp_path / "cache").rglob("copy/text")
        stored.unlink()
        stored.write_text("abx")
        result = run(source, tmp_path / "b")
    assert not result.cached
    assert (tmp_path / "b/copy/text").read_text() == "abc"


def test_a_cache_entry_under_another_key_is_not_served(source: Path, tmp_path: Path) -> None:
    with cache_at(tmp_path / "cache"):
        run(source, tmp_path / "a")
        (other,) = (tmp_path / "cache/copy").iterdir()
        key = run(source, tmp_path / "b", times=2).statement.cache_key
        shutil.rmtree(tmp_path / "cache/copy" / key)
        shutil.copytree(other, tmp_path / "cache/copy" / key)
        result = run(source, tmp_path / "c", times=2)
    assert not result.cached
    assert (tmp_path / "c/copy/text").read_text() == "abcabc"


def producer(context: StepContext[CopyParams]) -> None:
    (context.outputs["text"] / "text").write_text("abc")
    (context.outputs["more"] / "more").write_text(str(context.params.times))


WRITE = StepSpec(
    name="write",
    summary="Write text.",
    inputs=[],
    outputs=[Output(name=name, kind="artifact", help=name) for name in ("text", "more")],
    params=CopyParams,
    run=producer,
)


def write(target: Path, **params: Any) -> StepResult:
    return execute(
        WRITE,
        CopyParams(**params),
        inputs={},
        outputs={name: target / name for name in ("text", "more")},
        statement=target / "statement",
    )


def test_an_input_that_its_producer_did_not_make_is_refused(source: Path, tmp_path: Path) -> None:
    write(tmp_path / "write")
    run(tmp_path / "write/text", tmp_path / "a")
    (tmp_path / "write/text/text").write_text("abd")
    with pytest.raises(RegrowError, match=r"write/text/text: has sha256 .* the statement of step 'write'"):
        run(tmp_path / "write/text", tmp_path / "b")
    assert not (tmp_path / "b").exists()
    assert CALLS == [1], "a step that cannot trust its input does not begin"


def test_a_statement_of_something_else_beside_an_input_does_not_concern_it(
    source: Path, tmp_path: Path
) -> None:
    write(tmp_path / "write")
    run(source, tmp_path / "write")  # its statement takes the place of the producer's
    (tmp_path / "write/text/text").write_text("abd")
    assert run(tmp_path / "write/text", tmp_path / "b").statement.figures == {"letters": 3}


@pytest.mark.parametrize("cached", [False, True])
def test_killed_between_two_renames_no_statement_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    from regrow.storage import artifacts

    with cache_at(tmp_path / "cache"):
        if cached:
            write(tmp_path / "elsewhere", times=2)
        write(tmp_path / "a")
        replace, replaced = artifacts._replace, []

        def killed(scratch: Path, target: Path) -> None:
            if target.parent == tmp_path / "a" and replaced:
                raise KeyboardInterrupt
            replaced.append(target)
            replace(scratch, target)

        monkeypatch.setattr(artifacts, "_replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "a", times=2)
    assert len(replaced) == 1, "one output is new, the other old"
    assert not (tmp_path / "a/statement/statement.json").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda copy: (copy / "text").write_text("abx"), "has sha256"),
        (lambda copy: (copy / "more").write_text(""), "is not in the statement"),
        (lambda copy: (copy / "text").unlink(), "is missing"),
    ],
)
def test_verify_names_the_file(source: Path, tmp_path: Path, damage: Any, message: str) -> None:
    run(source, tmp_path / "a")
    damage(tmp_path / "a/copy")
    with pytest.raises(RegrowError, match=message):
        read_statement(tmp_path / "a/statement").verify({"copy": tmp_path / "a/copy"})


def test_a_foreign_statement_is_refused(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "a")
    path = tmp_path / "a/statement/statement.json"
    document = json.loads(path.read_text())
    document["subject"] = []
    path.write_text(json.dumps(document))
    with pytest.raises(RegrowError, match="is not a statement"):
        read_statement(tmp_path / "a/statement")


def test_missing_and_unknown_inputs_are_named(source: Path, tmp_path: Path) -> None:
    places = {"outputs": {"copy": tmp_path / "a"}, "statement": tmp_path / "s"}
    with pytest.raises(RegrowError, match="input 'source' is missing"):
        execute(SPEC, CopyParams(), inputs={}, **places)
    with pytest.raises(RegrowError, match="has no input 'sauce'"):
        execute(SPEC, CopyParams(), inputs={"source": source, "sauce": source}, **places)
    with pytest.raises(RegrowError, match="is not a directory"):
        execute(SPEC, CopyParams(), inputs={"source": tmp_path / "nowhere"}, **places)
