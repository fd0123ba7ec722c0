"""Registering a model version: complete or not at all, and once per model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.registry.ledger import SUFFIX
from regrow.storage.addresses import readable_by_mlflow

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
    """Keys that name the registered model."""

    model_name: str = Field(
        "regrow",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}$",
        examples=["flowers", "kws small-2.1"],
        description=(
            "name of the registered model in MLflow; accepted: letters, digits, space, dot, dash, underscore"
        ),
    )

    @field_validator("model_name")
    @classmethod
    def _is_no_log(cls, name: str) -> str:
        if (fault := name_fault(name)) is not None:
            raise ValueError(f"'{name}' {fault}")
        return name


def name_fault(name: str) -> str | None:
    """Why no model can be registered as ``name``, or None: each model has a log of decisions beside it.

    Letter case and spaces at the end are of no account: there are databases to which such names are equal.
    """
    if not name.strip().lower().endswith(SUFFIX):
        return None
    return f"ends in '{SUFFIX}', which is reserved for the log of decisions on a model; choose another ending"


def check_servable(directory: Path) -> None:
    """Check that ``directory`` is an MLflow model with a signature and an input example.

    Raises:
        RegrowError: something is missing; it is named.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    try:
        with readable_by_mlflow(directory) as readable:
            model = Model.load(readable)
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
    """The version of ``name`` for ``model``: a new one with ``tags``, which are never changed afterwards.

    Call it when the run holds all artifacts: MLflow writes a version and its tags in one transaction, so a
    process killed before leaves no version and one killed after leaves a whole one.

    Where another process makes one for the same model at the same instant, both see the lower number, which is seen
    before the higher: that one is the model's version, and whoever made another takes it back.

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
    first = find_version(client, name, model)
    if first is not None and int(first.version) < int(version.version):
        client.delete_model_version(name, version.version)
        return first
    return version


def find_version(client: Any, name: str, model: str) -> Any:
    """The version of ``name`` for ``model``, of several the first; ones that failed are deleted. None: no such.

    There are several where a process was killed before it could take back what another had made at the same time.
    """
    ready = []
    for version in client.search_model_versions(f"name = '{name}' and tags.`{MODEL_TAG}` = '{model}'"):
        if version.tags.get(MODEL_TAG) != model:
            continue
        if version.status not in ("READY", "PENDING_REGISTRATION"):
            client.delete_model_version(name, version.version)
        elif version.status == "READY":
            ready.append(version)
    return min(ready, key=lambda item: int(item.version), default=None)


def _ensure_registered_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
