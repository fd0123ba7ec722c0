"""The starters themselves: ready means usable, killed comes back with its data, and nothing outlives the tests."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.services import servers
from tests.services.servers import MlflowServer, ObjectStore, Postgresql

pytestmark = pytest.mark.services
ROOT = Path(__file__).resolve().parents[2]
ORPHAN = """
import sys, time
from pathlib import Path
from tests.services.servers import postgresql
with postgresql(Path(sys.argv[1])) as server:
    print(server.pid, server.folder, flush=True)
    time.sleep(600)
"""


def test_database_answers(database: Postgresql) -> None:
    assert "/probe" in database.create("probe")
    database.query("CREATE TABLE seen (number int)", "probe")
    assert database.query("SELECT count(*) FROM seen", "probe") == [(0,)]


def test_store_knows_who_may_write(store: ObjectStore) -> None:
    import boto3
    from botocore.exceptions import ClientError

    store.make_bucket("probe")
    store.client().put_object(Bucket="probe", Key="a", Body=b"1")
    assert store.keys("probe") == ["a"]
    reader = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=store.reader_key,
        aws_secret_access_key=store.reader_secret,
    )
    assert reader.get_object(Bucket="probe", Key="a")["Body"].read() == b"1"
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.put_object(Bucket="probe", Key="b", Body=b"2")


def test_killed_mlflow_comes_back_with_its_data(shared_mlflow: MlflowServer) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(shared_mlflow.uri)
    made = client.create_experiment("before the kill")
    shared_mlflow.kill()
    assert not shared_mlflow.alive
    shared_mlflow.start()
    assert client.get_experiment(made).name == "before the kill"


def test_nothing_outlives_a_killed_test_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHAN, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, folder = process.stdout.readline().split()
        assert psutil.pid_exists(int(pid))
        process.kill()
    deadline = time.monotonic() + 15
    while psutil.pid_exists(int(pid)) or Path(folder).exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_missing_program_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    servers.postgresql_programs.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    try:
        with pytest.raises(servers.MissingError, match=r"apt-get install postgresql$"):
            servers.postgresql_programs()
    finally:
        servers.postgresql_programs.cache_clear()
