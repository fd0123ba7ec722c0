"""Section `cluster` of ``params.yaml``: where the pipeline runs, and the resources of each step.

No step sees it and no cache key holds it: the same work on another machine is the same work.
"""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from regrow.cluster.overlay import merged
from regrow.cluster.quantities import (
    ADDRESS,
    RESOURCE,
    Cpu,
    Image,
    Labels,
    Memory,
    Name,
    cores,
    known,
    size,
)
from regrow.config.sections import Parameters

# Components that a pod runs; a test holds the list to them.
COMPONENTS = (
    "resolve",
    "prepare",
    "augment",
    "train",
    "prune",
    "recover",
    "export",
    "evaluate",
    "register",
    "measure",
    "select",
    "outcome",
)
GPU_STEPS = ("train", "recover")
GPU_SUFFIX = "-gpu"
PART_LABEL, STEP_LABEL = OWN_LABELS = ("app.kubernetes.io/part-of", "app.kubernetes.io/component")
SHARED_IMAGES = {"outcome": "register"}  # components that run in the image of another
IMAGES = (
    *(name for name in COMPONENTS if name not in SHARED_IMAGES),
    *(f"{name}{GPU_SUFFIX}" for name in GPU_STEPS),
)


class Retries(Parameters):
    """Retries of a pod that failed or was evicted."""

    count: int = Field(2, ge=0, le=20, description="number of times a failed step is restarted")
    backoff_s: int = Field(30, ge=0, description="seconds before the first retry")
    factor: float = Field(2.0, ge=1, description="factor by which each wait grows")
    max_backoff_s: int = Field(600, ge=0, description="longest wait in seconds")


class Toleration(Parameters):
    """A node taint that the step's pod tolerates."""

    key: str | None = Field(None, description="key of the taint; null, with operator Exists: every taint")
    operator: Literal["Equal", "Exists"] = Field(
        "Equal", description="Equal compares the value, Exists ignores it"
    )
    value: str | None = Field(None, description="value of the taint, for Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="effect of the taint; null: every effect"
    )
    toleration_seconds: int | None = Field(
        None, ge=0, description="how long the taint is tolerated, for NoExecute; null: forever"
    )

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration needs a key, or operator: Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("a toleration with operator: Exists has no value")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("toleration_seconds applies only to effect: NoExecute")
        return self


class SecurityContext(Parameters):
    """The user that a step's container runs as."""

    run_as_user: int | None = Field(None, ge=0, description="user id; null: the image's")
    run_as_group: int | None = Field(None, ge=0, description="group id; null: the image's")
    run_as_non_root: bool = Field(True, description="whether Kubernetes refuses to run the container as root")

    @model_validator(mode="after")
    def _not_root_after_all(self) -> Self:
        if self.run_as_non_root and self.run_as_user == 0:
            raise ValueError("run_as_user: 0 is root, which run_as_non_root: true refuses")
        return self


class StepResources(Parameters):
    """The resources and settings of a step's pod."""

    cpu: Cpu = Field("1", description="CPU request in cores, such as 2 or 500m")
    memory: Memory = Field("4Gi", description="memory request, such as 4Gi")
    cpu_limit: Cpu | None = Field(None, description="CPU limit in cores; null: equal to the request")
    memory_limit: Memory | None = Field(None, description="memory limit; null: equal to the request")
    gpus: int = Field(0, ge=0, description="number of accelerators; above 0, the step's GPU image is used")
    gpu_type: str = Field(
        "nvidia.com/gpu",
        pattern=RESOURCE,
        examples=["nvidia.com/gpu"],
        description="resource name of the accelerator",
    )
    shared_memory: Memory | None = Field(
        None, description="size of /dev/shm, taken from the pod's memory; null: the container engine's 64 MiB"
    )
    time_limit_s: int | None = Field(21600, ge=60, description="seconds after which the pod is stopped")
    retries: Retries = Field(default_factory=Retries, description="retries with growing waits")
    tolerations: tuple[Toleration, ...] = Field((), description="node taints that the pod tolerates")
    node_selector: Labels = Field(default_factory=dict, description="labels that the node must have")
    labels: Labels = Field(default_factory=dict, description="labels of the pod, in addition to Regrow's own")
    security_context: SecurityContext = Field(
        default_factory=SecurityContext, description="user that the container runs as"
    )

    @field_validator("labels")
    @classmethod
    def _not_regrow_s_own(cls, labels: dict[str, str]) -> dict[str, str]:
        for key in labels:
            if key in OWN_LABELS:
                raise ValueError(f"'{key}' is set by Regrow itself on every pod; remove it")
        return labels

    def fault(self) -> str | None:
        """What does not go together, if anything; a step's is asked of `ClusterSettings.for_step`."""
        most, waits = self.memory_limit or self.memory, self.retries
        if self.cpu_limit is not None and cores(self.cpu_limit) < cores(self.cpu):
            return f"cpu_limit {self.cpu_limit} is less than the request, cpu {self.cpu}"
        if size(most) < size(self.memory):
            return f"memory_limit {most} is less than the request, memory {self.memory}"
        if self.shared_memory is not None and size(self.shared_memory) > size(most):
            return f"shared_memory {self.shared_memory} is more than the pod's memory, {most}"
        if waits.max_backoff_s < waits.backoff_s:
            return f"retries.max_backoff_s {waits.max_backoff_s} is less than backoff_s {waits.backoff_s}"
        return None


class Sources(Parameters):
    """A ConfigMap and a Secret whose keys are environment variables."""

    config_map: Name | None = Field(None, description="ConfigMap; null: none")
    secret: Name | None = Field(None, description="Secret; null: none")


class ArtifactStore(Sources):
    """MLFLOW_S3_ENDPOINT_URL, AWS_DEFAULT_REGION; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY."""

    config_map: Name | None = Field("regrow-mlflow", description="ConfigMap with the address; null: none")
    secret: Name | None = Field(
        "regrow-mlflow-artifacts",
        description="Secret with a key for reading and writing the store; null: the pods' own identity",
    )


class Mlflow(Sources):
    """MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME; MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD."""

    config_map: Name | None = Field("regrow-mlflow", description="ConfigMap with the address; null: none")
    secret: Name | None = Field(
        "regrow-mlflow-credentials", description="Secret with the credentials; null: none"
    )
    artifact_store: ArtifactStore | None = Field(
        None,
        description=(
            "artifact store that steps access directly, for a server with --no-serve-artifacts; null: "
            "artifacts pass through the server, and no step gets a key"
        ),
    )


class Data(Sources):
    """AWS_ENDPOINT_URL, AWS_DEFAULT_REGION; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY."""

    config_map: Name | None = Field("regrow-data", description="ConfigMap with the address; null: none")
    secret: Name | None = Field(
        "regrow-data-credentials", description="Secret with the credentials; null: none"
    )


class Checkpoints(Parameters):
    """A volume that outlives pods, so that a stopped step can resume."""

    claim: Name = Field("regrow-checkpoints", description="PersistentVolumeClaim")
    mount: str = Field(
        "/checkpoints", pattern="^/.+", examples=["/checkpoints"], description="mount path of the volume"
    )
    every: str | None = Field(
        None,
        pattern=r"^[1-9]\d{0,8} (epochs?|s)$",
        examples=["5 epochs", "600 s"],
        description="how often a checkpoint is saved, such as 5 epochs or 600 s; null: after each epoch",
    )
    days: float | None = Field(
        None, gt=0, lt=1e5, description="days after which checkpoints of other work are removed; null: 7"
    )


class ClusterSettings(Parameters):
    """Where the pipeline runs and what each step gets there."""

    endpoint: str | None = Field(
        None,
        pattern="^https?://.+",
        examples=["http://localhost:8888"],
        description="address of Kubeflow Pipelines; null: the default of its client",
    )
    namespace: Name = Field("regrow", description="namespace of the runs")
    experiment: str = Field("regrow", min_length=1, description="Kubeflow experiment of the runs")
    service_account: Name = Field("regrow-pipeline", description="ServiceAccount of the runs' pods")
    pipeline_root: str | None = Field(
        None,
        pattern=ADDRESS,
        examples=["s3://bucket/folder"],
        description="address where artifacts are stored; null: Kubeflow's default",
    )
    images: dict[str, Image] = Field(
        default_factory=dict,
        description=(
            "image of each step, with digest or tag; train-gpu and recover-gpu are the GPU variants; "
            "default: REGISTRY/regrow-STEP:TAG from the environment"
        ),
    )
    mlflow: Mlflow = Field(default_factory=Mlflow, description="address and credentials of MLflow")
    data: Data = Field(default_factory=Data, description="address and credentials of the raw data")
    webhook_secret: Name | None = Field(None, description="Secret with REGROW_WEBHOOK_URL; null: no webhook")
    checkpoints: Checkpoints | None = Field(
        None,
        description="volume for checkpoints of train and recover; null: checkpoints are lost with their pod",
    )
    defaults: StepResources = Field(
        default_factory=StepResources, description="settings for every step's pod"
    )
    steps: dict[str, StepResources] = Field(
        default_factory=dict,
        description="settings that override `defaults` for single steps, with the same keys",
    )

    @field_validator("images", "steps", mode="before")
    @classmethod
    def _known_names(cls, found: object, info: object) -> object:
        images = getattr(info, "field_name", "") == "images"
        for name in found if isinstance(found, dict) else ():
            known(str(name), IMAGES if images else COMPONENTS, "image" if images else "step")
        return found

    @model_validator(mode="after")
    def _every_step_can_be_placed(self) -> Self:
        if self.defaults.gpus:
            raise ValueError(
                f"defaults.gpus: not every step can use a GPU; set gpus in steps: {' or '.join(GPU_STEPS)}"
            )
        if (fault := self.defaults.fault()) is not None:
            raise ValueError(f"defaults: {fault}")
        for name in self.steps:
            placed = self.for_step(name)
            gpus = placed.gpus
            if (fault := placed.fault()) is not None:
                raise ValueError(f"steps.{name} over defaults: {fault}")
            if gpus and name not in GPU_STEPS:
                raise ValueError(
                    f"steps.{name}.gpus: '{name}' has no GPU variant; accepted for {', '.join(GPU_STEPS)}"
                )
            if gpus and name in self.images and f"{name}{GPU_SUFFIX}" not in self.images:
                raise ValueError(
                    f"images: '{name}' runs on GPUs, so the image to name is '{name}{GPU_SUFFIX}', not '{name}'"
                )
        return self

    def for_step(self, name: str) -> StepResources:
        """What the step ``name`` gets: ``defaults`` with what ``steps`` says of it."""
        own = self.steps.get(name)
        if own is None:
            return self.defaults
        given = (item.model_dump(mode="json", exclude_unset=True) for item in (self.defaults, own))
        return StepResources.model_validate(merged(*given))

    def image_key(self, name: str) -> str:
        """Which image the step ``name`` runs in: its GPU variant where it gets any GPU."""
        name = SHARED_IMAGES.get(name, name)
        return f"{name}{GPU_SUFFIX}" if self.for_step(name).gpus else name
