"""``augment``: make the overlay: a policy, a picture of it, and variants where they are materialised."""

from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from regrow.artifacts import write_json
from regrow.augmentation.operations import Operation
from regrow.augmentation.policy import FILE_NAME, Policy, check_rank
from regrow.dataset.directory import Dataset, open_dataset
from regrow.parameters import Parameters
from regrow.steps.spec import Input, Output, StepContext, StepSpec

BATCH = 512
SHEET_ROWS = 8


class AugmentParams(Parameters):
    """Which operations, in which order, and when they run."""

    mode: Literal["none", "online", "materialise"] = Field(
        "online", description="apply while training, beforehand, or not at all"
    )
    operations: tuple[Operation, ...] = Field(
        (), description="operations by name with their ranges, in order"
    )
    factor: int = Field(2, ge=1, le=100, description="materialise: variants per training example")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _no_mixup_on_disk(self) -> "AugmentParams":
        if self.mode == "materialise" and any(item.name == "mixup" for item in self.operations):
            raise ValueError("mixup blends labels, which shards cannot hold; use mode: online")
        return self


def run(context: StepContext[AugmentParams]) -> None:
    """Write ``policy.json``, ``contact_sheet.png`` and, for ``materialise``, ``extra/``."""
    params = context.params
    dataset = open_dataset(context.inputs["dataset"])
    policy = Policy(
        mode=params.mode,
        seed=params.seed,
        factor=params.factor,
        operations=params.operations,
        value_range=dataset.value_range,
        classes=len(dataset.classes),
    )
    check_rank(policy, dataset.feature_shape)
    overlay = context.outputs["overlay"]
    write_json(overlay / FILE_NAME, policy.model_dump(mode="json"))
    if len(dataset.feature_shape) == 3:
        from regrow.augmentation.contact_sheet import write_contact_sheet

        images = dataset.calibration(SHEET_ROWS, params.seed)
        write_contact_sheet(overlay / "contact_sheet.png", images, policy)
    context.figures["operations"] = len(params.operations)
    context.figures["mode"] = params.mode
    if params.mode == "materialise":
        context.figures["variants"] = _materialise(context, dataset, policy)


def _materialise(context: StepContext[AugmentParams], dataset: Dataset, policy: Policy) -> int:
    """Write ``factor`` variants of each training example, in the dataset's own type."""
    import tensorflow as tf

    folder = context.outputs["overlay"] / "extra"
    folder.mkdir()
    features, labels = dataset.features("train"), np.asarray(dataset.labels("train"))
    total = len(labels) * policy.factor
    target = np.lib.format.open_memmap(
        folder / f"{dataset.feature}-00000.npy",
        mode="w+",
        dtype=features.dtype,
        shape=(total, *features.shape[1:]),
    )
    augmented: Any = tf.function(policy)
    progress = context.progress(total)
    place = 0
    for number in range(policy.factor):
        for start in range(0, len(labels), BATCH):
            batch = np.asarray(features[start : start + BATCH], np.float32)
            seed = tf.constant([policy.seed + 1, number * total + start], tf.int32)
            images, _ = augmented(tf.constant(batch), tf.constant(labels[start : start + BATCH]), seed)
            values = images.numpy()
            whole = np.issubdtype(features.dtype, np.integer)
            target[place : place + len(batch)] = np.rint(values) if whole else values
            place += len(batch)
            progress.update(place, "variants")
    target.flush()
    np.save(folder / f"{dataset.target}-00000.npy", np.tile(labels, policy.factor).astype(np.int32))
    return total


SPEC = StepSpec(
    name="augment",
    summary="Make the augmentation overlay and a contact sheet of it.",
    inputs=[Input(name="dataset", producer="prepare", output="dataset", help="the dataset")],
    outputs=[
        Output(name="overlay", kind="dataset", help="policy, contact sheet, variants where materialised")
    ],
    params=AugmentParams,
    run=run,
    imports=["tensorflow"],
    packages=["numpy", "tensorflow", "pillow"],
)
