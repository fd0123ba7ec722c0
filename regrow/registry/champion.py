"""The version that has an alias, and its Keras file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.provenance.digest import file_digest
from regrow.storage.artifacts import read_json

ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
REFUSED = "PERMISSION_DENIED"
EXPORTS = "exports"
KERAS_FILE = "model.keras"
KERAS_TAG = "regrow.keras_sha256"
DATASET_FILE = "dataset/dataset.json"


@dataclass(frozen=True, kw_only=True)
class Champion:
    """A registered model version; ``version`` None: nobody holds the alias."""

    name: str
    alias: str
    version: str | None = None
    run_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, str | None]:
        """What ``champion.json`` holds."""
        return {"name": self.name, "version": self.version, "run_id": self.run_id, "alias": self.alias}


def find_alias(client: Any, name: str, alias: str) -> Champion:
    """The version of the registered model ``name`` that holds ``alias``, or a `Champion` without version.

    A server with login refuses to say anything of a model that does not exist as it does of one that the user may not
    read. Its search lists only what may be read, so a model that it does not list counts as absent here; if it is
    there, `register` is refused when it makes the model.

    Raises:
        MlflowException: what went wrong, a refusal to a user who may see the model among it.
    """
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ABSENT or (error.error_code == REFUSED and not _may_see(client, name)):
            return Champion(name=name, alias=alias)
        raise
    return Champion(
        name=name,
        alias=alias,
        version=str(found.version),
        run_id=found.run_id or None,
        tags=dict(found.tags),
    )


def _may_see(client: Any, name: str) -> bool:
    """Whether the registered model ``name`` is there for this user."""
    return any(item.name == name for item in client.search_registered_models(f"name = '{name}'"))


def fetch_classes(client: Any, champion: Champion) -> list[str] | None:
    """Names of the classes, by label, that the champion was trained on; None when its run does not say.

    A model's file does not hold them: two models with as many classes may mean different things by them.
    """
    folder = str(Path(DATASET_FILE).parent)
    if champion.run_id is None:
        return None
    if DATASET_FILE not in {item.path for item in client.list_artifacts(champion.run_id, folder)}:
        return None
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        info = read_json(Path(client.download_artifacts(champion.run_id, DATASET_FILE, scratch)))
    targets = info.get("targets", {}).values() if isinstance(info, dict) else ()
    return next(
        ([str(name) for name in target["classes"]] for target in targets if "classes" in target), None
    )


def fetch_model(client: Any, champion: Champion, directory: Path) -> bool:
    """Download the champion's ``model.keras`` into ``directory``; False when its run holds none.

    Raises:
        RegrowError: the file is not the one that was registered.
    """
    if champion.run_id is None or KERAS_TAG not in champion.tags:
        return False
    stored = f"{EXPORTS}/{KERAS_FILE}"
    if stored not in {item.path for item in client.list_artifacts(champion.run_id, EXPORTS)}:
        return False
    import tempfile

    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        file = Path(client.download_artifacts(champion.run_id, stored, scratch))
        if file_digest(file) != champion.tags[KERAS_TAG]:
            raise RegrowError(
                f"models:/{champion.name}@{champion.alias}: the {KERAS_FILE} in MLflow's artifact store "
                f"differs from the registered version {champion.version} (different sha256)"
            )
        file.rename(directory / KERAS_FILE)
    return True
