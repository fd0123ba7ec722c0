"""Apply the section ``cluster`` to the pod of each step.

What a component does stays what it is; `regrow run` executes the bare pipeline.
"""

import functools
from collections.abc import Mapping
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.pipeline_context import Pipeline

from regrow.cluster.quantities import accepted_image
from regrow.cluster.settings import (
    PART_LABEL,
    STEP_LABEL,
    ArtifactStore,
    Checkpoints,
    ClusterSettings,
    Data,
    Sources,
    StepResources,
)
from regrow.errors import RegrowError
from regrow_components.images import image

# The steps that talk to MLflow, that read or write artifacts there; to the data's store, to the webhook; those whose
# checkpoints outlive a pod.
MLFLOW = ("resolve", "train", "recover", "register", "outcome")
ARTIFACTS = ("resolve", "train", "register", "outcome")
DATA = ("resolve", "prepare")
WEBHOOK = ("outcome",)
CHECKPOINTS = ("train", "recover")
# Variables by the ConfigMap or Secret that holds them under the same name; those that may be missing there.
MLFLOW_CONFIG = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")
MLFLOW_CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
ARTIFACTS_ADDRESS, REGION = "MLFLOW_S3_ENDPOINT_URL", "AWS_DEFAULT_REGION"
DATA_CONFIG = ("AWS_ENDPOINT_URL", REGION)
STORE_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
OPTIONAL = ("MLFLOW_EXPERIMENT_NAME", ARTIFACTS_ADDRESS, *DATA_CONFIG)
WEBHOOK_URL = "REGROW_WEBHOOK_URL"
CHECKPOINTS_PLACE = "REGROW_CHECKPOINTS"
CHECKPOINTS_EVERY, CHECKPOINTS_DAYS = "REGROW_CHECKPOINT_EVERY", "REGROW_CHECKPOINTS_DAYS"
IMAGE = "REGROW_IMAGE"  # stated in the step's provenance
LABELS = {PART_LABEL: "regrow"}


def for_cluster(settings: ClusterSettings, *, pipeline: Any) -> Any:
    """``pipeline`` with images, resources, retries, settings and credentials by ``settings`` on each of its steps."""
    function = pipeline.pipeline_func

    @functools.wraps(function)
    def placed(*arguments: Any, **named: Any) -> None:
        function(*arguments, **named)
        for task in Pipeline.get_default_pipeline().tasks.values():
            place(task, settings)

    description = pipeline.component_spec.description
    made = dsl.pipeline(name=pipeline.name, description=description, pipeline_root=settings.pipeline_root)
    return made(placed)


def place(task: Any, settings: ClusterSettings) -> None:
    """Put on ``task`` what ``settings`` says of its component."""
    step = task.component_spec.name
    wanted = settings.for_step(step)
    name = image_of(settings, step)
    task.set_container_image(name)
    task.set_env_variable(IMAGE, name)
    _compute(task, wanted)
    _pod(task, wanted, step=step)
    if step in MLFLOW:
        _environment(task, settings.mlflow, config=MLFLOW_CONFIG, credentials=MLFLOW_CREDENTIALS)
    _stores(
        task,
        data=settings.data if step in DATA else None,
        artifacts=settings.mlflow.artifact_store if step in ARTIFACTS else None,
    )
    if step in WEBHOOK and settings.webhook_secret is not None:
        kubernetes.use_secret_as_env(task, settings.webhook_secret, {WEBHOOK_URL: WEBHOOK_URL}, optional=True)
    if step in CHECKPOINTS and settings.checkpoints is not None:
        _checkpoints(task, settings.checkpoints)


def image_of(settings: ClusterSettings, step: str) -> str:
    """The image that ``step`` runs in.

    Raises:
        RegrowError: it is named by the environment, which names none, or one that may be another tomorrow.
    """
    key = settings.image_key(step)
    return settings.images.get(key) or _by_environment(key)


def _stores(task: Any, *, data: Data | None, artifacts: ArtifactStore | None) -> None:
    """The variables of the stores that a step reaches itself; one that it does not is None.

    The libraries of both take the key from the same two variables: where a step reaches both, that is the key for
    artifacts, if one is named. Their addresses have variables of their own; the region is that of the data.
    """
    if artifacts is not None:
        has_region = data is not None and data.config_map is not None
        config = (ARTIFACTS_ADDRESS,) if has_region else (ARTIFACTS_ADDRESS, REGION)
        _environment(task, artifacts, config=config, credentials=STORE_CREDENTIALS)
        if data is not None and artifacts.secret is not None:
            data = data.model_copy(update={"secret": None})
    if data is not None:
        _environment(task, data, config=DATA_CONFIG, credentials=STORE_CREDENTIALS)


def _checkpoints(task: Any, wanted: Checkpoints) -> None:
    kubernetes.mount_pvc(task, wanted.claim, wanted.mount)
    task.set_env_variable(CHECKPOINTS_PLACE, wanted.mount)
    for name, value in ((CHECKPOINTS_EVERY, wanted.every), (CHECKPOINTS_DAYS, wanted.days)):
        if value is not None:
            task.set_env_variable(name, str(value))


def _by_environment(key: str) -> str:
    """The image that ``REGROW_REGISTRY`` and ``REGROW_TAG`` name.

    Raises:
        RegrowError: they name none, or one that may be another tomorrow.
    """
    name = image(key)
    try:
        return accepted_image(name)
    except ValueError as error:
        raise RegrowError(f"REGROW_REGISTRY, REGROW_TAG: {error}") from None


def _compute(task: Any, wanted: StepResources) -> None:
    task.set_cpu_request(wanted.cpu).set_cpu_limit(wanted.cpu_limit or wanted.cpu)
    task.set_memory_request(wanted.memory).set_memory_limit(wanted.memory_limit or wanted.memory)
    if wanted.gpus:
        task.set_accelerator_type(wanted.gpu_type).set_accelerator_limit(wanted.gpus)
    if wanted.shared_memory is not None:
        kubernetes.empty_dir_mount(
            task, "shared-memory", "/dev/shm", medium="Memory", size_limit=wanted.shared_memory
        )


def _pod(task: Any, wanted: StepResources, *, step: str) -> None:
    retries, context = wanted.retries, wanted.security_context
    if retries.count:
        task.set_retry(
            retries.count,
            backoff_duration=f"{retries.backoff_s}s",
            backoff_factor=retries.factor,
            backoff_max_duration=f"{retries.max_backoff_s}s",
        )
    if wanted.time_limit_s is not None:
        kubernetes.set_timeout(task, wanted.time_limit_s)
    for taint in wanted.tolerations:
        kubernetes.add_toleration(task, **taint.model_dump(exclude_none=True))
    for key, value in wanted.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for key, value in ({**wanted.labels, **LABELS, STEP_LABEL: step}).items():
        kubernetes.add_pod_label(task, key, value)
    kubernetes.set_security_context(task, **context.model_dump(exclude_none=True))


def _environment(
    task: Any, sources: Sources, *, config: tuple[str, ...], credentials: tuple[str, ...]
) -> None:
    """Variables from a ConfigMap and a Secret: the pipeline's definition holds their names only."""
    if sources.config_map is not None:
        for optional in (False, True):
            keys = _same(name for name in config if (name in OPTIONAL) == optional)
            if keys:
                kubernetes.use_config_map_as_env(task, sources.config_map, keys, optional=optional)
    if sources.secret is not None:
        kubernetes.use_secret_as_env(task, sources.secret, _same(credentials))


def _same(names: Any) -> Mapping[str, str]:
    return {name: name for name in names}
