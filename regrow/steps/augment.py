"""`augment`: write the augmentation: a policy, a contact sheet, and variants if materialised."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from regrow.augmentation.operations import Operation
from regrow.augmentation.policy import FILE_NAME, Mode, Policy, check_operations
from regrow.config.sections import Parameters
from regrow.dataset.directory import Dataset, open_dataset, write_array
from regrow.dataset.rows import Array, Rows
from regrow.progress import Progress
from regrow.steps.spec import Input, Output, StepContext, StepSpec
from regrow.storage.artifacts import write_json

BATCH = 512
SHEET_ROWS = 8


class AugmentParams(Parameters):
    """Section `augment` of `params.yaml`: the operations, their order, and when they run."""

    mode: Mode = Field(
        "online",
        description="when operations are applied: during training (online), in advance (materialise), or never",
    )
    operations: tuple[Operation, ...] = Field(
        (),
        description="operations in order, each a name or a name with its ranges; an empty list changes nothing",
    )
    factor: int = Field(2, ge=1, le=100, description="variants per training example, for mode materialise")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the variants")

    @model_validator(mode="after")
    def _combination(self) -> Self:
        if self.mode != "materialise":
            return self
        if not self.operations:
            raise ValueError("mode 'materialise' needs operations; accepted without operations: none, online")
        if any(operation.name == "mixup" for operation in self.operations):
            raise ValueError(
                "mixup blends labels, which variants on disk cannot store; accepted: mode online"
            )
        return self


def run(context: StepContext[AugmentParams]) -> None:
    """Write ``policy.json``, ``contact_sheet.png`` for images and, for ``materialise``, ``extra/``.

    Raises:
        RegrowError: an operation cannot be applied to this dataset's features.
    """
    dataset = open_dataset(context.inputs["dataset"])
    policy = _policy(context.params, dataset)
    overlay = context.outputs["overlay"]
    write_json(overlay / FILE_NAME, policy.model_dump(mode="json"))
    if len(dataset.feature_shape) == 3:
        from regrow.augmentation.contact_sheet import write_contact_sheet

        shown = policy if policy.mode != "none" else policy.model_copy(update={"operations": ()})
        images = dataset.calibration(SHEET_ROWS, policy.seed)
        write_contact_sheet(overlay / "contact_sheet.png", images, shown)
    context.figures.update(mode=policy.mode, operations=len(policy.operations))
    if policy.mode == "materialise":
        context.figures["variants"] = _materialise(context, dataset, policy)


def _policy(params: AugmentParams, dataset: Dataset) -> Policy:
    check_operations(params.operations, dataset.feature_shape)
    images = len(dataset.feature_shape) == 3
    return Policy(
        mode=params.mode,
        seed=params.seed,
        factor=params.factor,
        operations=params.operations,
        value_range=dataset.value_range,
        spread=() if images else _deviations(np.asarray(dataset.features("train"))),
        classes=len(dataset.classes),
    )


def _deviations(rows: Array) -> tuple[float, ...]:
    """Standard deviation of each column, because each column of a table has its own unit."""
    return tuple(float(value) for value in np.std(rows, axis=0, dtype=np.float64).ravel())


def _materialise(context: StepContext[AugmentParams], dataset: Dataset, policy: Policy) -> int:
    """Write ``factor`` variants of each training example in the dataset's dtype; returns their number."""
    folder = context.outputs["overlay"] / "extra"
    folder.mkdir()
    features, labels = dataset.features("train"), np.asarray(dataset.labels("train"), np.int32)
    total = len(labels) * policy.factor
    write_array(folder / f"{dataset.target}-00000.npy", [labels] * policy.factor, rows=total)
    write_array(
        folder / f"{dataset.feature}-00000.npy",
        _variants(features, policy, progress=context.progress(total)),
        rows=total,
    )
    return total


def _variants(features: Rows, policy: Policy, *, progress: Progress) -> Iterator[Array]:
    """Variants of all ``features``, round after round, in batches."""
    import tensorflow as tf

    count = len(features)
    whole = np.issubdtype(features.dtype, np.integer)
    signature = [
        tf.TensorSpec([None, *features.shape[1:]], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([2], tf.int32),
    ]
    augmented: Any = tf.function(policy.__call__, input_signature=signature)
    for number in range(policy.factor):
        for start in range(0, count, BATCH):
            batch = np.asarray(features[start : start + BATCH], np.float32)
            words = np.random.SeedSequence([policy.seed, number, start])
            seed = words.generate_state(2).view(np.int32)
            values = augmented(batch, np.zeros(len(batch), np.int32), seed)[0].numpy()
            progress.update(number * count + start + len(batch), "variants")
            yield (np.rint(values) if whole else values).astype(features.dtype)


SPEC = StepSpec(
    name="augment",
    summary="Write the augmentation and a contact sheet of it.",
    inputs=(Input(name="dataset", producer="prepare", output="dataset", help="the prepared dataset"),),
    outputs=(
        Output(name="overlay", kind="dataset", help="policy, contact sheet, and variants if materialised"),
    ),
    params=AugmentParams,
    run=run,
    imports=("tensorflow", "PIL.Image"),
    packages=("numpy", "tensorflow", "pillow"),
)
