"""The images' requirements follow the lock, and what is wrong with an engine is said in one sentence."""

import importlib
import socket
import tomllib
from pathlib import Path

import pytest

from regrow.cluster.engine import connect, engine_command
from regrow.cluster.settings import COMPONENTS, ClusterSettings
from regrow.errors import RegrowError
from regrow.steps import NAMES
from regrow_components import locking

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = (ROOT / "components" / "Dockerfile").read_text("utf-8")


def packages(name: str) -> set[str]:
    """What is in an image: its own requirements and those of the layers below."""
    lines = (locking.FOLDER / f"{name}.txt").read_text("utf-8").splitlines()
    found = {line.partition("==")[0] for line in lines if "==" in line}
    for line in lines:
        if line.startswith("-r "):
            found |= packages(line.removeprefix("-r ").removesuffix(".txt"))
    return found


def test_requirements_are_what_the_lock_makes_of_them() -> None:
    assert locking.stale() == []


def test_each_pin_has_its_hashes_and_no_file_names_an_index() -> None:
    for path in locking.FOLDER.glob("*.txt"):
        text = path.read_text("utf-8")
        assert "://" not in text and "index-url" not in text, path.name
        for pin in (block for block in text.split("\n") if "==" in block):
            assert pin.endswith("\\"), f"{path.name}: {pin} is without a hash"


def test_a_pin_that_differs_from_the_lock_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in locking.FOLDER.glob("*.txt"):
        text = path.read_text("utf-8")
        (tmp_path / path.name).write_text(
            text.replace("dvc==", "dvc==0.") if path.stem == "prepare" else text
        )
    monkeypatch.setattr(locking, "FOLDER", tmp_path)
    assert locking.stale() == ["prepare.txt"]


@pytest.mark.parametrize("name", ["resolve", "prepare", "register", "select", "pipeline", "mlflow"])
def test_no_tensorflow_where_none_is_needed(name: str) -> None:
    assert not {item for item in packages(name) if "tensorflow" in item or "keras" in item}


def test_each_image_has_kubeflow_and_each_step_an_image() -> None:
    assert set(NAMES) <= set(locking.IMAGES)
    for name in locking.IMAGES:
        assert {"kfp", "pydantic", "in-toto-attestation"} <= packages(name)
    assert {"tensorflow", "tf-keras"} <= packages("gpu")
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12"} <= packages("gpu")


def user_of(stage: str) -> str:
    """Who a container of the Dockerfile's ``stage`` runs as: what the stage says, or the one that it stands on."""
    for part in DOCKERFILE.split("\nFROM ")[1:]:
        head, _, body = part.partition("\n")
        below, _, name = head.partition(" AS ")
        if name == stage:
            said = [line.removeprefix("USER ") for line in body.splitlines() if line.startswith("USER ")]
            return said[-1] if said else user_of(below)
    return "root"  # a base image's


def test_the_dockerfile_has_a_target_for_each_image_that_is_no_root() -> None:
    from regrow_components.building import GPU_IMAGES

    for name in (*locking.IMAGES, *GPU_IMAGES):
        (target,) = [
            part for part in DOCKERFILE.split("\nFROM ") if part.partition("\n")[0].endswith(f" AS {name}")
        ]
        assert user_of(name) == "10001:10001"
        step = name.removesuffix("-gpu")
        assert f"COPY --from={locking.SHARED.get(step, step)}-packages" in target
        if step == name:
            assert target.startswith(locking.IMAGES[name])


def test_images_that_share_a_layer_need_the_same() -> None:
    for name, other in locking.SHARED.items():
        assert packages(name) == packages(other)


def test_extras_name_each_image() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {locking.EXTRAS.get(name, name) for name in locking.IMAGES} <= set(extras)


def test_an_engine_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER", "no-such-engine")
    with pytest.raises(RegrowError, match="no-such-engine: no such command on this machine; install Docker"):
        engine_command()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(
        RegrowError, match=r"at unix://.*absent.sock does not answer: .*; start it, set DOCKER_HOST"
    ):
        connect()


def test_a_socket_that_is_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    with pytest.raises(RegrowError, match="does not answer"):
        connect()


def test_each_component_s_image_is_one_that_is_built() -> None:
    found = {
        name: getattr(importlib.import_module(f"regrow_components.{name}"), name).component_spec
        for name in COMPONENTS
    }
    images = {name: spec.implementation.container.image.partition(":")[0] for name, spec in found.items()}
    assert {image.removeprefix("regrow-") for image in images.values()} <= set(locking.IMAGES)
    settings = ClusterSettings()
    assert images == {name: f"regrow-{settings.image_key(name)}" for name in COMPONENTS}
