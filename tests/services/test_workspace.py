"""The project's own stages with DVC's remote in S3: what one working copy made another has without a run."""

import shutil
from pathlib import Path

import pytest

from regrow.provenance.digest import tree_digest
from regrow.provenance.statement import read_statement
from tests.cli.test_dvc import Repository, make_repository, stages_run
from tests.services.servers import ObjectStore

pytestmark = pytest.mark.services
MADE = ("prepare/dataset", "augment/overlay")


def test_results_travel_through_s3(tmp_path: Path, store: ObjectStore) -> None:
    store.make_bucket("results")
    (tmp_path / "one").mkdir()
    one = make_repository(tmp_path / "one")
    one.environment |= store.environment
    one.run("dvc", "remote", "add", "-d", "store", "s3://results/dvc")
    assert stages_run(one.run("dvc", "repro", "augment")) == ["prepare", "augment"]
    one.commit("made")
    one.run("dvc", "push", "-q", "prepare", "augment")
    assert store.keys("results")

    one.run("git", "clone", "-q", str(tmp_path / "one"), str(tmp_path / "two"))
    two = Repository(tmp_path / "two")
    two.environment |= store.environment
    shutil.rmtree(tmp_path / "one/.dvc/cache")
    two.run("dvc", "pull", "-q", "prepare", "augment")
    for name in MADE:
        assert tree_digest(tmp_path / "two/work" / name) == tree_digest(tmp_path / "one/work" / name)
        step, _, output = name.partition("/")
        statement = read_statement(tmp_path / "two/work" / step / "statement")
        statement.verify({output: tmp_path / "two/work" / name})
    assert stages_run(two.run("dvc", "repro", "augment")) == [], "what was pulled is up to date"
    two.configure("augment: {mode: online}", "augment: {mode: online, seed: 1}")
    assert stages_run(two.run("dvc", "repro", "augment")) == ["augment"]
