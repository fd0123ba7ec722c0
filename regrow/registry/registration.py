"""A model version that is there whole or not at all, and its aliases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from regrow.errors import RegrowError
from regrow.parameters import Parameters
from regrow.progress import emit
from regrow.registry.champion import find_alias
from regrow.registry.gate import Verdict

MODEL_TAG = "regrow.model"
DATA_TAG = "regrow.data"
CODE_TAG = "regrow.code"
PARAMETERS_TAG = "regrow.parameters"
PACKAGES_TAG = "regrow.packages"
OUTSIDE_TAG = "regrow.outside"
CHAMPION = "champion"
CHALLENGER = "challenger"
MODEL_PATH = "model"


class RegisteredModel(Parameters):
    """What a section of ``params.yaml`` says of the registered model."""

    model_name: str = Field(
        "regrow",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}$",
        description="name of the registered model in MLflow: letters, digits, space, dot, dash, underscore",
    )


def check_servable(directory: Path) -> None:
    """Check that ``directory`` is an MLflow model with a signature and an input example.

    Raises:
        RegrowError: something is missing; it is named.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    try:
        model = Model.load(str(directory))
    except (MlflowException, OSError) as error:
        raise RegrowError(f"{directory}: is not an MLflow model directory ({error})") from None
    if "python_function" not in model.flavors:
        raise RegrowError(f"{directory}/MLmodel: has no flavour 'python_function', so it cannot be served")
    if model.signature is None:
        raise RegrowError(f"{directory}/MLmodel: has no signature")
    if model.saved_input_example_info is None:
        raise RegrowError(f"{directory}/MLmodel: has no input example")


def create_version(
    client: Any, *, name: str, run_id: str, model: str, tags: Mapping[str, str], description: str
) -> Any:
    """A new version of ``name`` for ``model`` with ``tags``, which are never changed afterwards.

    Call it when the run holds all artifacts: MLflow writes a version and its tags in one transaction, so a
    process killed before leaves no version and one killed after leaves a whole one.

    Raises:
        RegrowError: MLflow did not make the version ready.
    """
    _ensure_registered_model(client, name)
    version = client.create_model_version(
        name,
        source=f"runs:/{run_id}/{MODEL_PATH}",
        run_id=run_id,
        tags={**tags, MODEL_TAG: model},
        description=description,
        await_creation_for=120,
    )
    version = client.get_model_version(name, version.version)
    if version.status != "READY":
        raise RegrowError(
            f"models:/{name}/{version.version}: MLflow reports status {version.status}"
            f" ({version.status_message or 'no reason given'})"
        )
    return version


def find_version(client: Any, name: str, model: str) -> Any:
    """The newest version of ``name`` for ``model``; ones that never became ready are deleted. None: no such."""
    ready = None
    for version in client.search_model_versions(f"name = '{name}' and tags.`{MODEL_TAG}` = '{model}'"):
        if version.tags.get(MODEL_TAG) != model:
            continue
        if version.status != "READY":
            client.delete_model_version(name, version.version)
        elif ready is None or int(version.version) > int(ready.version):
            ready = version
    return ready


def _ensure_registered_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def set_aliases(client: Any, *, name: str, version: str, verdict: Verdict, judged: str | None) -> list[str]:
    """Move ``challenger`` and, when ``verdict`` passed, ``champion`` to ``version``.

    Args:
        client: an ``MlflowClient``.
        name: the registered model.
        version: the version.
        verdict: what the gate said.
        judged: the version that held ``champion`` when it said so; None: none did.

    Returns:
        the aliases that the version holds. A version that holds ``champion`` already keeps it.
    """
    client.set_registered_model_alias(name, CHALLENGER, version)
    if verdict.passed:
        _promote(client, name=name, version=version, judged=judged)
    return [alias for alias in (CHALLENGER, CHAMPION) if find_alias(client, name, alias).version == version]


def _promote(client: Any, *, name: str, version: str, judged: str | None) -> None:
    """Move ``champion`` unless another version took it after the gate had looked; MLflow cannot swap and compare."""
    holder = find_alias(client, name, CHAMPION).version
    if holder not in (judged, version):
        emit("notice", message=_overtaken(name, version, holder, "while this one was judged; it stays"))
        return
    client.set_registered_model_alias(name, CHAMPION, version)
    holder = find_alias(client, name, CHAMPION).version
    if holder != version:
        emit("notice", message=_overtaken(name, version, holder, "at the same time and holds it"))


def _overtaken(name: str, version: str, holder: str | None, how: str) -> str:
    other = f"version {holder} took" if holder else "somebody removed"
    return (
        f"models:/{name}/{version} is not the {CHAMPION}: {other} the alias {how};"
        " run again to have the two compared"
    )
