"""``prune``: remove residual blocks or channels from the parent, or set weights to zero."""

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regrow.dataset.directory import open_dataset
from regrow.model_files.channels_first import switch_on_onednn
from regrow.model_files.declared import check_model_file
from regrow.progress import Progress, emit
from regrow.pruning.methods import Task, check_without_dataset, unused_keys
from regrow.pruning.parameters import PruneParams
from regrow.pruning.pruned import PRUNING, prune_model, write_outcome
from regrow.steps.spec import FileUse, Input, Output, StepContext, StepSpec

if TYPE_CHECKING:
    from regrow.evaluation.model_latency import Latencies


def run(context: StepContext[PruneParams]) -> None:
    """Write the pruned model, its surgery and masks, and a report per layer.

    Raises:
        RegrowError: as `regrow.pruning.methods.prune`.
    """
    from regrow.augmentation.dataset import AugmentedDataset
    from regrow.graph.kernels import sparsity
    from regrow.model_files.files import load_model
    from regrow.training.fitting import validation_metrics

    dataset = open_dataset(context.inputs["dataset"])
    task = Task(
        params=context.params,
        dataset=dataset,
        overlay=context.inputs["overlay"],
        step=context.step,
        progress=context.progress,
    )
    done = prune_model(load_model(context.inputs["parent"]), task)
    write_outcome(
        done,
        model=context.outputs["pruned"],
        pruning=context.outputs["pruning"],
        report=context.outputs["pruning_report"],
    )
    details = done.report.details
    for note in details.get("channels", {}).get("notes", ()):
        emit("notice", message=f"prune: {note}")
    if removals := [details[name] for name in ("blocks", "channels") if name in details]:
        before, after = removals[0]["before"], removals[-1]["after"]
        context.figures.update(
            {f"{name}_kept": round(after[name] / before[name], 4) for name in ("macs", "parameters")}
        )
    if done.pruning.masks:
        context.figures.update(sparsity=round(sparsity(done.model), 4), kernels=len(done.pruning.masks))
    context.figures["val_accuracy"] = round(
        validation_metrics(done.model, AugmentedDataset(dataset))["val_accuracy"], 4
    )


def run_on_file(use: FileUse[PruneParams]) -> Any:
    """Prune a model file; ``model.keras``, ``pruning/`` and ``report.json`` are written to the output directory.

    Returns:
        the tables to print: before and after, and what shrank.

    Raises:
        RegrowError: as `regrow.pruning.methods.prune`, or the file cannot be read.
    """
    if "dataset" not in use.inputs:
        check_without_dataset(use.params)
    check_model_file(use.model)
    if unused := unused_keys(use.params):
        emit(
            "notice",
            message=f"prune: not used with method {', '.join(use.params.method)}: {', '.join(unused)}",
        )
    with contextlib.ExitStack() as stack:
        return _prune_file(use, stack)


def _prune_file(use: FileUse[PruneParams], stack: contextlib.ExitStack) -> Any:
    _tell(0, f"reading {use.model}")
    converter = None
    if use.latency:
        from regrow.conversion.apart import Converter

        switch_on_onednn([use.model])
        converter = stack.enter_context(Converter())
    from regrow.graph.finite import refuse_not_finite
    from regrow.model_files.files import load_file

    model = load_file(use.model, trust=use.trust)
    refuse_not_finite(model, named=str(use.model))
    latency = None
    if converter is not None:
        from regrow.evaluation.model_latency import measure_latencies, random_inputs

        random_inputs(model, 1)  # refuses inputs that cannot be made up before the work is done

        def latency(models: Mapping[str, Any]) -> "Latencies":
            _tell(2, "measuring")
            return measure_latencies(models, converter)

    dataset = open_dataset(use.inputs["dataset"]) if "dataset" in use.inputs else None
    task = Task(
        params=use.params,
        dataset=dataset,
        overlay=use.inputs.get("overlay"),
        step="prune",
        progress=lambda total: Progress("prune", total=total),
    )
    _tell(1, ", ".join(use.params.method))
    done = prune_model(model, task, latency=latency)
    _tell(2, "writing")
    write_outcome(done, model=use.output, pruning=use.output / PRUNING, report=use.output)
    _tell(3, "done")
    return done.table()


def _tell(done: int, note: str) -> None:
    """Print a notice about a model file at once; a shared progress report could drop it as too early."""
    Progress("prune", total=3).update(done, note)


SPEC = StepSpec(
    name="prune",
    summary="Prune the parent: remove residual blocks or channels, or zero weights (magnitude or N:M).",
    inputs=[
        Input(name="parent", producer="train", output="parent", help="the trained or imported model"),
        Input(name="dataset", producer="prepare", output="dataset", help="the dataset"),
        Input(name="overlay", producer="augment", output="overlay", help="the augmentation"),
        Input(name="training", producer="train", output="training", help="how the parent was trained"),
    ],
    outputs=[
        Output(name="pruned", kind="model", help="the pruned model"),
        Output(name="pruning", kind="artifact", help="surgery and masks"),
        Output(name="pruning_report", kind="artifact", help="what each layer lost"),
    ],
    params=PruneParams,
    run=run,
    on_file=run_on_file,
    imports=["tensorflow", "tf_keras", "tensorflow_model_optimization"],
    packages=["numpy", "tensorflow", "tf_keras", "tensorflow-model-optimization", "ai-edge-litert"],
)
