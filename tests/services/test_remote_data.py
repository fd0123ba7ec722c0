"""Raw data straight from S3: a file, a folder, what identifies them, and what goes wrong."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from regrow.dataset.readers import list_examples
from regrow.dataset.sources import Remote, Source, fetch_remote, identify
from regrow.errors import RegrowError
from tests.services.pods import Pod
from tests.services.servers import ObjectStore

pytestmark = pytest.mark.services
BUCKET = "pictures"


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


FILES = {f"pets/{('cat', 'dog')[i % 2]}/{i}.png": picture(i) for i in range(24)}


def packed(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


PACKED = packed(FILES)


@pytest.fixture(scope="module")
def bucket(store: ObjectStore) -> ObjectStore:
    store.make_bucket(BUCKET)
    client = store.client()
    for name, data in FILES.items():
        client.put_object(Bucket=BUCKET, Key=name, Body=data)
    client.put_object(Bucket=BUCKET, Key="pets.zip", Body=PACKED)
    return store


@pytest.fixture(autouse=True)
def _login(bucket: ObjectStore, plain_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.reading.items():
        monkeypatch.setenv(name, value)


def source(path: str, **options: Any) -> Remote:
    found: Remote = TypeAdapter(Source).validate_python(
        {"kind": "remote", "url": f"s3://{path}", "format": "folder", **options}
    )
    return found


@pytest.mark.parametrize("path", ["pets", "pets/"])
def test_a_folder(bucket: ObjectStore, tmp_path: Path, path: str) -> None:
    asked = source(f"{BUCKET}/{path}")
    (found,) = identify(asked)
    assert len(found.digest["etags_sha256"]) == 64
    assert found.annotations == {"files": 24, "bytes": sum(map(len, FILES.values()))}
    place = fetch_remote(asked, tmp_path / "raw", digest=found.digest)
    listing = list_examples(asked.at(place))
    assert sorted(set(listing.labels)) == ["cat", "dog"]  # type: ignore[type-var]
    assert {f"pets/{listing.names[i]}": data for i, data in listing.stream()} == FILES


def test_a_file_and_its_change(bucket: ObjectStore, tmp_path: Path) -> None:
    asked = source(f"{BUCKET}/pets.zip", format="archive")
    (before,) = identify(asked)
    assert before.digest["etag"]
    place = fetch_remote(asked, tmp_path / "raw", digest=before.digest)
    assert place.read_bytes() == PACKED
    bucket.client().put_object(Bucket=BUCKET, Key="pets.zip", Body=packed(dict(list(FILES.items())[:20])))
    (after,) = identify(asked)
    assert after.digest != before.digest
    with pytest.raises(RegrowError, match="changed during the step"):
        fetch_remote(asked, tmp_path / "raw", digest=before.digest)


def test_a_changed_file_in_a_folder_is_another_folder(bucket: ObjectStore) -> None:
    client = bucket.client()
    client.put_object(Bucket=BUCKET, Key="two/a/1.png", Body=picture(1))
    asked = source(f"{BUCKET}/two")
    (before,) = identify(asked)
    client.put_object(Bucket=BUCKET, Key="two/a/1.png", Body=picture(2))
    assert identify(asked)[0].digest != before.digest


def test_sizes_are_bounded_before_anything_is_fetched(tmp_path: Path) -> None:
    asked = source(f"{BUCKET}/pets", max_bytes=1000)
    with pytest.raises(
        RegrowError, match=r"has more than 1000 bytes, the limit of prepare\.source\.max_bytes"
    ):
        fetch_remote(asked, tmp_path / "raw", digest=identify(asked)[0].digest)
    assert not list((tmp_path / "raw").iterdir())


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        (f"{BUCKET}/nowhere", {}, "nothing is there"),
        ("no-such-bucket/pets", {}, "nothing|refuses|no such bucket"),
        (f"{BUCKET}/pets", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "refuses the key in AWS_ACCESS_KEY_ID"),
        (
            f"{BUCKET}/pets",
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_EC2_METADATA_DISABLED": "true"},
            "none are set; set AWS_ACCESS_KEY_ID",
        ),
        (
            f"{BUCKET}/pets",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "no store answers at http://127.0.0.1:9",
        ),
    ],
)
def test_faults_are_one_sentence_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
    bucket: ObjectStore,
    path: str,
    change: Mapping[str, str | None],
    words: str,
) -> None:
    for name, value in change.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(
        RegrowError, match=rf"^prepare\.source: s3://\S+: cannot be reached \(.*({words})"
    ) as error:
        identify(source(path))
    assert "\n" not in str(error.value)
    assert bucket.reader_secret not in str(error.value)


def test_a_pod_prepares_from_s3_and_records_what_came(tmp_path: Path, bucket: ObjectStore) -> None:
    pod = Pod(tmp_path / "pod", bucket.reading)
    described = {"kind": "remote", "url": f"s3://{BUCKET}/pets", "format": "folder"}
    (pod.work / "params.yaml").write_text(json.dumps({"prepare": {"source": described}}))
    for step in ("resolve", "prepare"):
        done = pod.run("regrow", step)
        assert done.returncode == 0, done.stdout + done.stderr
    written = "".join(path.read_text() for path in (pod.work / "work").rglob("*.json"))
    assert bucket.reader_secret not in written
    statement = next((pod.work / "work").rglob("prepare/**/statement.json")).read_text()
    assert '"raw_data_content"' in statement
    assert f'"s3://{BUCKET}/pets"' in statement
