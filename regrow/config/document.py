"""``params.yaml``: one section per step, validated before anything runs."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, Field, create_model, field_validator

from regrow.cluster.overlay import SECTION, merged
from regrow.cluster.settings import ClusterSettings
from regrow.config.sections import Parameters, canonical_json
from regrow.config.sweep import SweepParams, measure_params, select_params, with_defaults
from regrow.config.validation import validate
from regrow.conversion.formats import ALWAYS, DEFAULT_TIMED
from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.provenance.digest import text_digest
from regrow.registry.weights_and_biases import WeightsAndBiases
from regrow.showing.redaction import holds_credentials
from regrow.steps import NAMES, SWEEP_NAMES, all_specs
from regrow.storage.addresses import address_fault
from regrow.storage.documents import InvalidYamlError, parse_yaml, read_yaml
from regrow.training.architectures import architectures

# Of what --set sets.
DEEPEST, LONGEST = 20, 100_000


class Tracking(Parameters):
    """Where runs are tracked; ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME`` in the environment take
    precedence.
    """

    uri: str | None = Field(
        None, description="address of MLflow; default: the SQLite file mlflow.db beside the workspace"
    )
    experiment: str = Field("regrow", min_length=1, max_length=500, description="MLflow experiment")
    wandb: WeightsAndBiases | None = Field(
        None, description="track in Weights & Biases as well as in MLflow; null: MLflow only"
    )

    @field_validator("uri")
    @classmethod
    def _is_an_address(cls, uri: str | None) -> str | None:
        """Without the address in the sentence: it may hold a password."""
        if uri is not None and (fault := address_fault(uri)) is not None:
            raise ValueError(fault)
        return uri


def config_model() -> type[Parameters]:
    """The schema of ``params.yaml``, composed from the steps' parameter models."""
    fields: dict[str, Any] = {
        name: (spec.params, Field(default_factory=spec.params, description=spec.summary))
        for name, spec in all_specs().items()
    }
    fields["tracking"] = (Tracking, Field(default_factory=Tracking, description="experiment tracking"))
    fields["sweep"] = (
        SweepParams | None,
        Field(None, description="what `regrow sweep` tries; null: no sweep"),
    )
    fields[SECTION] = (
        ClusterSettings,
        Field(
            default_factory=ClusterSettings, description="where the pipeline runs; does not affect results"
        ),
    )
    with warnings.catch_warnings():
        # A section is called `register`, as its step is; that a class method of the same name exists is no matter.
        warnings.filterwarnings("ignore", message='Field name "register"')
        model: type[Parameters] = create_model("RegrowParameters", __base__=Parameters, **fields)
    return model


def load_config(
    path: Path | None, overrides: Sequence[str] = (), *, overlay: Path | Mapping[str, Any] | None = None
) -> Any:
    """Read ``path`` (default: the defaults), apply ``a.b=value`` overrides and validate.

    ``overlay`` overrides the section ``cluster`` first: a file with such a section, or the section itself.

    Values that two steps need are copied here: ``resolve`` needs ``prepare``'s source and ``register``'s model name.

    Raises:
        RegrowError: unreadable file, unknown key, wrong type or impossible combination, each named.
    """
    document = read_document(path) if path is not None else {}
    if overlay is not None:
        section = read_overlay(overlay) if isinstance(overlay, Path) else overlay
        own = document.get(SECTION) or {}
        document[SECTION] = merged(own, section) if isinstance(own, Mapping) else own
    for override in overrides:
        _override(document, override)
    document = with_defaults(document)
    model = config_model()
    where = str(path or "parameters")
    try:
        config = validate(model, document, where=where, overrides=overrides)
    except RegrowError:
        if overlay is not None:  # a fault that it has by itself is there, not in ``path``
            there = str(overlay) if isinstance(overlay, Path) else ""
            check_overlay({SECTION: section}, where=there, whole=True)
        raise
    _check_recorded(config, where=where)
    return config.model_copy(update={"resolve": _resolve(config, document, where=where)})


def _check_recorded(config: Any, *, where: str) -> None:
    """Refuse credentials in the steps' sections, because statements, MLflow and log files record them.

    Raises:
        RegrowError: names the field, without the value.
    """
    for section in config.model_fields_set - {"tracking"}:
        for field, value in _texts(getattr(config, section), section):
            if holds_credentials(value):
                raise RegrowError(
                    f"{where}: {field}: contains credentials, which would be recorded ({value}); pass them "
                    "by the environment or a credential helper"
                )


def _texts(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """The texts and paths in a section, each with its field."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, str | PurePath):
        yield field, str(value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{field}.{name}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _texts(item, f"{field}.{number}")


def check_pipeline(config: Any, *, where: Path | None = None) -> None:
    """Refuse values that each section accepts alone but not together; ``where`` is the file to name.

    Raises: RegrowError: the gate needs an exported file, or its latency, that is not made; recovery needs a label
        column that preparation does not read; or an architecture for images is given a table.
    """
    place = "" if where is None else f"{where}: "
    _check_tasks(config, place)
    _check_table(config, place)
    _tell_unused(config, place)
    gate, made = config.register.gate, config.export.formats
    wanted = [("size_format", "max_size_ratio", made, "export.formats")]
    wanted.append(("latency_format", "max_latency_ratio", made, "export.formats"))
    wanted.append(("size_against", "max_size_ratio", made, "export.formats"))
    timed = config.evaluate.latency.formats or [name for name in DEFAULT_TIMED if name in made]
    wanted.append(("latency_format", "max_latency_ratio", timed, "evaluate.latency.formats"))
    for name, limit, there, section in wanted:
        asked = getattr(gate, name)
        if getattr(gate, limit) is not None and asked not in (None, *ALWAYS, *there):
            there_is = ", ".join(there) or "none"
            raise RegrowError(
                f"{place}register.gate.{name}: needs '{asked}', which is not in {section} ({there_is}), so "
                f"no version could pass; add it there, or set register.gate.{limit}: null"
            )


def _check_tasks(config: Any, place: str) -> None:
    there = getattr(config.prepare.source, "further_labels", ())
    for task in config.recover.multi_task.tasks if config.recover.multi_task is not None else ():
        if task.kind == "label" and task.name not in there:
            raise RegrowError(
                f"{place}recover.multi_task.tasks: prepare.source has no auxiliary label '{task.name}'; "
                f"accepted: {', '.join(there) or 'none'}; list the column in prepare.source.further_labels "
                "(tables only)"
            )


def _tell_unused(config: Any, place: str) -> None:
    """A notice of keys that another pruning method takes; a sweep's candidates have methods of their own."""
    from regrow.pruning.methods import unused_keys

    if config.sweep is None and (unused := unused_keys(config.prune)):
        method = ", ".join(config.prune.method)
        emit("notice", message=f"{place}prune: not used with method {method}: {', '.join(unused)}")


def _check_table(config: Any, place: str) -> None:
    """Refuse an architecture for images on a table now; the step `train` would only say so minutes later."""
    source, architecture = config.prepare.source, config.train.architecture
    table = "csv" in (source.kind, getattr(source, "format", None)) and source.shape is None
    if table and architecture is not None and architectures()[architecture.name].smallest is not None:
        raise RegrowError(
            f"{place}train.architecture: '{architecture.name}' takes images, but prepare.source is a table;"
            " accepted: mlp, or prepare.source.shape where each row is an image"
        )


def read_overlay(path: Path) -> dict[str, Any]:
    """The section ``cluster`` of the file ``path``, checked alone so that a message names the right file.

    Raises:
        RegrowError: no such file, another section, or a value that is never accepted.
    """
    document = read_document(path, sections=(SECTION,))
    check_overlay(document, where=str(path))
    section: dict[str, Any] = document[SECTION]
    return section


def check_overlay(document: Mapping[str, Any], *, where: str, whole: bool = False) -> None:
    """Refuse a section ``cluster``, meant to override another, that is wrong by itself.

    Values that contradict each other may agree once it overrides the other, so that is checked only if ``whole``.

    Raises:
        RegrowError: as `validate`.
    """
    model = create_model("Overlay", __base__=Parameters, cluster=(ClusterSettings, ...))
    validate(model, document, where=where, later=() if whole else (SECTION, "security_context"))


def _resolve(config: Any, document: Mapping[str, Any], *, where: str) -> Any:
    """``resolve``'s section, with the values copied from other sections; users cannot set those here."""
    given = document.get("resolve") or {}
    for name in ("source", "model_name", "start", "fingerprint", "sections"):
        if name in given:
            raise RegrowError(f"{where}: resolve.{name}: is copied from the other sections; remove it")
    sections = {name: step_params(config, name) for name in NAMES if name != "resolve"}
    shown = {name: section.model_dump(mode="json") for name, section in sections.items()}
    shared = {
        "source": config.prepare.source,
        "model_name": config.register.model_name,
        "start": config.train.start,
        "fingerprint": text_digest(canonical_json(_of_results(shown))),
        # `prepare`'s is `source`.
        "sections": {
            name: shown[name]
            for name, spec in all_specs().items()
            if spec.outside is not None and name != "prepare"
        },
    }
    return config.resolve.model_copy(update=shared)


def _of_results(shown: Mapping[str, Any]) -> dict[str, Any]:
    """``shown`` without values that cannot change a result: the raw data's path (its digest counts) and unpacking
    limits.
    """
    places = ("repo", "rev", "path", "max_bytes", "max_ratio")
    source = {key: value for key, value in shown["prepare"]["source"].items() if key not in places}
    return {**shown, "prepare": {**shown["prepare"], "source": source}}


def step_params(config: Any, name: str) -> Parameters:
    """The validated section of step ``name``; for a sweep's own steps it is composed from other sections."""
    if name in SWEEP_NAMES:
        return measure_params(config) if name == "measure" else select_params(config)
    section: Parameters = getattr(config, name)
    return section


def read_document(
    path: Path, *, sections: Sequence[str] = (*NAMES, "tracking", "sweep", SECTION)
) -> dict[str, Any]:
    """The sections in ``path``, not validated; ``sections`` are the accepted names.

    Raises:
        RegrowError: no such file, or no YAML mapping in it.
    """
    if not path.exists():
        raise RegrowError(f"{path}: no such file; `regrow schema` prints its schema")
    if path.is_dir():
        raise RegrowError(f"{path}: is a directory; a YAML file is needed")
    document = read_yaml(path)
    if document is None:
        return {}
    if not isinstance(document, dict):
        kind = "a list" if isinstance(document, list) else f"the value {document!r}"
        name = "sections" if len(sections) > 1 else "the section"
        raise RegrowError(f"{path}: holds {kind}; accepted: {name} {', '.join(sections)}")
    return document


def _override(document: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RegrowError(
            f"--set {override}: must have the form SECTION.KEY=VALUE, such as prune.sparsity=0.9"
        )
    *parents, last = key.split(".")
    if len(parents) > DEEPEST or len(text) > LONGEST:
        what = f"{len(text):,} letters" if len(text) > LONGEST else f"{len(parents)} dots in its key"
        raise RegrowError(f"--set {override[:60]}…: has {what}; accepted: at most {LONGEST:,} and {DEEPEST}")
    try:
        value = parse_yaml(text, where=f"--set {key}")
    except InvalidYamlError:
        value = text
    place: Any = document
    for name in parents:
        if place.get(name) is None:
            place[name] = {}
        place = place[name]
        if not isinstance(place, dict):
            raise RegrowError(f"--set {override}: '{name}' is a value, not a section")
    place[last] = value
