"""`train`: make the parent, by training an architecture or by importing a trained model."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from regrow.config.sections import NamesFile, Parameters
from regrow.dataset.directory import Dataset, open_dataset
from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.provenance.digest import tree_digest
from regrow.provenance.statement import Resource
from regrow.registry.starting import START_FILE, read_start
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.storage.artifacts import copy_tree, new_directory, to_disk, write_json
from regrow.training.architectures import Architecture
from regrow.training.parent import NEW_HEAD, PLANNED, RANGE_TEST
from regrow.training.seen import write_seen
from regrow.training.settings import FitSettings, OwnFitSettings
from regrow.training.tensorboard import log_directory
from regrow.training.transfer import HEAD, IMAGENET_MD5, IMAGENET_URI, Resnet50Transfer

DEFAULT_ARCHITECTURE = "lenet5"
TRANSFER_RATE = 1e-4


class ImportModel(Parameters):
    """A trained model from outside, which takes raw features and returns probabilities.

    There is no way to let code in it run, as ``--trust`` has for one file: the parent and all that comes of it are
    loaded again by each later step, in a cluster, and by those who use them, without that code.
    """

    path: Annotated[str, NamesFile()] = Field(
        min_length=1, description=".keras file (tf_keras or Keras 3), legacy .h5 file or SavedModel directory"
    )
    head: Literal["keep", "replace"] = Field(
        "keep",
        description="replace: a new softmax over the dataset's classes takes the last dense layer's place, and the"
        " model is trained as `fit` says",
    )
    frozen_epochs: int = Field(
        0, ge=0, description="head: replace: epochs that train only the new head, before all layers"
    )

    @model_validator(mode="after")
    def _frozen_for_a_new_head(self) -> Self:
        if self.frozen_epochs and self.head == "keep":
            raise ValueError(
                "frozen_epochs belongs to head: replace; with head: keep the model is not trained"
            )
        return self


class TrainParams(Parameters):
    """Section `train` of `params.yaml`: an architecture, or a model to import."""

    model_config = ConfigDict(populate_by_name=True)

    architecture: Architecture | None = Field(
        None, description="name, or name and options; lenet5 if no model is imported"
    )
    import_model: ImportModel | None = Field(
        None,
        alias="import",
        description="a trained model to take instead; `fit` is used with head: replace alone",
    )
    fit: OwnFitSettings = Field(
        default_factory=FitSettings,
        description="how to train; adam with a constant rate of 1e-4 for resnet50_transfer and for head: replace,"
        " unless said otherwise",
    )
    start: Literal["new", "champion"] = Field(
        "new",
        description=(
            "champion: start from the weights of the champion's parent, if there is a champion; the "
            "architectures must match"
        ),
    )
    rewind_epoch: int = Field(
        1, ge=0, description="epoch after which the early weights are saved for rewinding in recovery"
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="seed of the initial weights, and the default of fit.seed"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = dict(values)
        imported = values.get("import", values.get("import_model"))
        if values.get("architecture") is None and imported is None:
            values["architecture"] = DEFAULT_ARCHITECTURE
        values["fit"] = _fit_defaults(values)
        return values

    @model_validator(mode="after")
    def _combination(self) -> Self:
        if self.architecture is not None and self.import_model is not None:
            raise ValueError(
                f"has both an architecture ('{self.architecture.name}') and a model to import "
                f"({self.import_model.path}); keep one of them, with 'architecture: null' for the import"
            )
        if self.import_model is not None and self.start == "champion":
            raise ValueError("start is 'champion', but a model is imported; set start: new or import: null")
        if self.is_trained and self.rewind_epoch > self.epochs:
            raise ValueError(
                f"rewind_epoch is {self.rewind_epoch}, but there are {self.epochs} epochs; "
                f"accepted: 0 to {self.epochs}"
            )
        return self

    @property
    def is_trained(self) -> bool:
        """Whether the parent is trained here: an architecture, or an imported trunk with a new head."""
        return self.import_model is None or self.import_model.head == "replace"

    @property
    def frozen_epochs(self) -> int:
        """Epochs that train only the head of a model whose trunk is trained already."""
        if self.import_model is not None:
            return self.import_model.frozen_epochs
        return self.architecture.frozen_epochs if isinstance(self.architecture, Resnet50Transfer) else 0

    @property
    def epochs(self) -> int:
        """All epochs, including those with a frozen backbone."""
        return self.frozen_epochs + self.fit.epochs


def _fit_defaults(values: Mapping[str, Any]) -> Any:
    """Defaults of ``fit`` that depend on other keys: the shared seed, and the small rate of transfer learning."""
    given = values.get("fit", {})
    if not isinstance(given, Mapping):
        return given
    settings = dict(given)
    if "seed" in values:
        settings.setdefault("seed", values["seed"])
    named = values.get("architecture")
    name = named.get("name") if isinstance(named, Mapping) else getattr(named, "name", named)
    optimizer = settings.get("optimizer", {})
    imported = values.get("import", values.get("import_model"))
    head = imported.get("head") if isinstance(imported, Mapping) else getattr(imported, "head", "keep")
    if (name == "resnet50_transfer" or head == "replace") and isinstance(optimizer, Mapping):
        if optimizer.get("name", "adam") == "adam":
            settings["optimizer"] = {"learning_rate": TRANSFER_RATE, **optimizer}
        settings.setdefault("schedule", "constant")
    return settings


def run(context: StepContext[TrainParams]) -> None:
    """Write the parent and its training record: history, settings, early weights.

    Raises:
        RegrowError: the architecture or the imported model does not fit the dataset, or training diverged.
    """
    dataset = open_dataset(context.inputs["dataset"])
    params = context.params
    if params.import_model is not None and not params.is_trained:
        _import(context, params.import_model, dataset)
    elif params.import_model is not None:
        model = _with_new_head(context, params.import_model, dataset)
        _train(context, dataset, model, head=(model.layers[-1].name,))
    else:
        _train(context, dataset, _built(context, dataset), head=HEAD)


def _import(context: StepContext[TrainParams], source: ImportModel, dataset: Dataset) -> None:
    from regrow.augmentation.dataset import AugmentedDataset
    from regrow.model_files.files import import_model, save_model
    from regrow.training.fitting import validation_metrics
    from regrow.training.importing import accuracy_doubt, check_fits

    path = Path(source.path)
    model = import_model(path)
    check_fits(model, dataset, path=path)
    save_model(model, context.outputs["parent"])
    data = AugmentedDataset(dataset)
    found = validation_metrics(model, data)
    doubt = accuracy_doubt(found["val_accuracy"], data.guessing("validation"))
    if doubt is not None:
        emit("notice", message=f"train: {path} {doubt}")
    training = context.outputs["training"]
    write_json(
        training / "imported.json",
        {"name": path.name, "sha256": tree_digest(path), **found},
    )
    _describe(training, history=[], settings=context.params.fit)
    context.figures.update(
        val_accuracy=round(found["val_accuracy"], 4), parameters=int(model.count_params()), epochs=0
    )


def _with_new_head(context: StepContext[TrainParams], source: ImportModel, dataset: Dataset) -> Any:
    """The imported model's trunk with a new head, and a note of both among the outputs."""
    import tf_keras

    from regrow.model_files.files import import_model
    from regrow.training.new_head import replace_head

    path = Path(source.path)
    model, told = replace_head(import_model(path), dataset, path=path, seed=context.params.seed)
    model.trainable = True  # whatever was frozen when it was saved
    tf_keras.utils.set_random_seed(context.params.seed)  # of its dropout, say
    write_json(
        context.outputs["training"] / NEW_HEAD,
        {"name": path.name, "sha256": tree_digest(path), "new_head": told},
    )
    context.figures["new_head"] = told
    return model


def _built(context: StepContext[TrainParams], dataset: Dataset) -> Any:
    from regrow.training.architectures import build
    from regrow.training.inputs import signature_of

    params = context.params
    if params.architecture is None:
        raise AssertionError("parameters are validated")
    return build(params.architecture, signature_of(dataset), seed=params.seed)


def _train(context: StepContext[TrainParams], dataset: Dataset, model: Any, *, head: Collection[str]) -> None:
    from regrow.model_files.files import save_model
    from regrow.registry.tested_rate import with_tested_rate, without_tested_rate
    from regrow.registry.tracking import stream

    params = context.params
    seen = _start(context, model, dataset)
    # Not among the outputs yet: a killed training's are lost, but it goes on from its last epoch.
    early = context.scratch / "early"

    given = without_tested_rate(params.model_dump(mode="json"))
    with stream(step=context.step, parameters=given) as tracked:
        if tracked.run_id:
            context.mlflow_runs.append(tracked.run_id)

        def keep_early() -> None:
            if not early.exists():
                with new_directory(early) as place:
                    save_model(model, place)
                    # A resumed training could not make them again: its model has gone on.
                    to_disk(place)

        def on_epoch(epoch: int, entry: dict[str, float]) -> None:
            if epoch == params.rewind_epoch:
                keep_early()
            tracked.log({key: value for key, value in entry.items() if key != "epoch"}, epoch)

        if params.rewind_epoch == 0:
            keep_early()
        history, best = _phases(context, model, dataset, head=head, on_epoch=on_epoch)
        if params.fit.range_test is not None:
            tracked.log_parameters(with_tested_rate({}, context.figures))

    if len(history) < params.rewind_epoch:
        emit(
            "notice",
            message=(
                f"train: training stopped after epoch {len(history)}, before rewind_epoch "
                f"{params.rewind_epoch}: no early weights were saved, so recovery cannot rewind"
            ),
        )
    if early.exists():
        copy_tree(early, context.outputs["training"] / "early")
    save_model(model, context.outputs["parent"])
    _describe(context.outputs["training"], history=history, settings=params.fit)
    write_seen(context.outputs["training"], dataset, before=seen)
    context.figures.update(
        val_accuracy=round(best, 4), parameters=int(model.count_params()), epochs=len(history)
    )


def _start(context: StepContext[TrainParams], model: Any, dataset: Dataset) -> Any:
    """Give ``model`` its starting weights; returns the digests of the data that they were trained on, or None.

    Downloaded weights must match the digest that `resolve` recorded, so that the result depends on the step's inputs
    alone.

    Raises:
        RegrowError: see `regrow.training.starting.take_start`.
    """
    if context.params.start == "new":
        return None
    start = read_start(context.inputs["start"]) if "start" in context.inputs else None
    if start is None:
        emit(
            "notice",
            message=(
                "train: start is champion, but no champion's parent is known; training starts from new "
                "weights"
            ),
        )
        return None
    from regrow.training.starting import take_start

    digest = {"sha256": start.sha256}
    context.dependencies.append(Resource(name="start_model", uri=start.address, digest=digest))
    seen, told = take_start(model, dataset, start, scratch=context.scratch / "start")
    write_json(context.outputs["training"] / START_FILE, told)
    context.figures["started_from"] = f"{start.name}/{start.version}"
    return seen


def _phases(
    context: StepContext[TrainParams],
    model: Any,
    dataset: Dataset,
    *,
    head: Collection[str],
    on_epoch: Any,
) -> tuple[list[dict[str, float]], float]:
    """Train the head alone if requested, then all layers; returns the history and the best validation accuracy."""
    from regrow.augmentation.dataset import AugmentedDataset
    from regrow.training.fitting import Fit
    from regrow.training.recalibration import BATCH, EXAMPLES, recalibrate, trained_normalisation_layers
    from regrow.training.selection import score
    from regrow.training.transfer import freeze_backbone

    params, frozen = context.params, context.params.frozen_epochs
    # For batch statistics of averaged weights (fit.ema).
    calibration = dataset.calibration(EXAMPLES, params.seed)
    data = AugmentedDataset(dataset, context.inputs["overlay"])
    phases: list[tuple[bool, FitSettings]] = [(False, params.fit)]
    if frozen:
        alone = params.fit.model_copy(update={"epochs": frozen, "early_stopping": None})
        phases.insert(0, (True, alone))
    history: list[dict[str, float]] = []
    best: tuple[float, float] | None = None
    weights: list[Any] = []
    for is_frozen, settings in phases:
        if frozen:
            freeze_backbone(model, frozen=is_frozen, head=head)
        offset, name = len(history), "frozen" if is_frozen else "all"
        fit = Fit(
            settings=settings,
            step=context.step,
            progress=context.progress(settings.epochs),
            on_epoch=lambda epoch, entry, offset=offset: on_epoch(offset + epoch, entry),  # type: ignore[misc]
            settle=lambda trained: recalibrate(
                trained,
                calibration,
                batch_size=BATCH,
                layers=trained_normalisation_layers(trained),
            ),
            checkpoints=context.scratch / name,
            # Side by side: a directory of logs is emptied first.
            tensorboard=log_directory(context.step, context.scratch.name, name),
        )
        result = fit.run(model, data)
        history += [{**entry, "epoch": offset + int(entry["epoch"])} for entry in result.history]
        if settings.time_budget_s is not None:
            write_json(context.outputs["training"] / PLANNED, {"epochs": result.planned})
        if result.range_test is not None:
            result.range_test.write(context.outputs["training"] / RANGE_TEST)
            context.figures["learning_rate"] = result.peak
        reached = score(result.best)
        if best is None or reached > best:
            best, weights = reached, model.get_weights()
    model.set_weights(weights)
    return history, best[0] if best else 0.0


def _describe(directory: Path, *, history: Sequence[Mapping[str, float]], settings: FitSettings) -> None:
    write_json(directory / "history.json", list(history))
    write_json(directory / "settings.json", settings.model_dump(mode="json"))


def outside(params: TrainParams) -> list[Resource]:
    """The files read from outside (a model to import, or backbone weights), with their digests."""
    found = []
    if params.import_model is not None:
        found.append(_resource("imported_model", params.import_model.path, field="import.path"))
    weights = params.architecture.weights if isinstance(params.architecture, Resnet50Transfer) else "none"
    if weights == "imagenet":
        # They may not be here yet; whatever is downloaded is held to this digest.
        found.append(Resource(name="backbone_weights", uri=IMAGENET_URI, digest={"md5": IMAGENET_MD5}))
    elif weights != "none":
        found.append(_resource("backbone_weights", weights, field="architecture.weights"))
    return found


def _resource(name: str, path: str, *, field: str) -> Resource:
    place = Path(path)
    if not place.exists():
        raise RegrowError(f"train.{field}: {path}: no such file")
    return Resource(name=name, uri=path, digest={"sha256": tree_digest(place)})


SPEC = StepSpec(
    name="train",
    summary="Train or import the parent.",
    inputs=(
        Input(name="dataset", producer="prepare", output="dataset", help="the prepared dataset"),
        Input(name="overlay", producer="augment", output="overlay", help="the augmentation"),
        Input(
            name="start",
            producer="resolve",
            output="champion",
            help="start.json: the model to start from, with start: champion",
            optional=True,
        ),
    ),
    outputs=(
        Output(name="parent", kind="model", help="the trained model"),
        Output(name="training", kind="artifact", help="history, settings and early weights"),
    ),
    params=TrainParams,
    run=run,
    resumes=True,
    imports=("tensorflow", "tf_keras", "mlflow.tracking"),
    packages=("tensorflow", "tf_keras", "numpy"),
    outside=outside,
)
