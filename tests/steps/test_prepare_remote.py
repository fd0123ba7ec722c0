"""The step ``prepare`` on a file that comes from a web server."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.provenance.digest import source_digest
from regrow.steps.execution import StepResult, execute
from regrow.steps.prepare import SPEC, PrepareParams
from tests.dataset.test_preparation import rgba_file
from tests.dataset.test_remote import Web, web

__all__ = ["web"]  # a fixture


def pets() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(32):
            archive.writestr(f"{('cat', 'dog')[number % 2]}/{number}.png", rgba_file(number, 255))
    return file.getvalue()


def prepare(root: Path, url: str, sha256: str) -> StepResult:
    source = {"kind": "remote", "url": url, "format": "archive", "sha256": sha256}
    return execute(
        SPEC,
        PrepareParams.model_validate({"source": source, "image": {"mode": "rgb"}}),
        inputs={},
        outputs={"dataset": root / "dataset", "data_report": root / "data_report"},
        statement=root / "statement",
    )


def test_the_statement_says_where_the_data_came_from_and_what_came(web: Web, tmp_path: Path) -> None:
    data = web.files["/pets.zip"] = pets()
    url, digest = f"{web.address}/pets.zip", hashlib.sha256(data).hexdigest()
    result = prepare(tmp_path / "a", url, digest)
    by_name = {item["name"]: item for item in result.statement.dependencies}
    assert (by_name["raw_data"]["uri"], by_name["raw_data"]["digest"]) == (url, {"sha256": digest})
    (tmp_path / "copy").write_bytes(data)
    assert by_name["raw_data_content"]["digest"] == {"sha256": source_digest(tmp_path / "copy")}
    report = json.loads((tmp_path / "a/data_report/report.json").read_text())
    assert report["classes"] == ["cat", "dog"]
    assert report["source"][0]["uri"] == url
    web.files["/pets.zip"] = data + b"more"
    with pytest.raises(RegrowError, match=r"does not match prepare\.source\.sha256"):
        prepare(tmp_path / "b", url, digest)
    assert not (tmp_path / "b/dataset").exists()
