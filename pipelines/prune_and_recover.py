"""The pipeline: resolve → prepare → augment → train → prune → recover → export → evaluate → register.

``regrow run`` executes it here, ``regrow compile`` writes it for a cluster. Everything between the impure
ends is a function of files and parameters.

Kubeflow may answer all but these ends from its cache. Its key sees values, not what artifacts hold: each step is
therefore given, as its ``code_version``, its own code's version and the versions of what it works on.
"""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from regrow_components import augment as augment_component
from regrow_components import evaluate as evaluate_component
from regrow_components import export as export_component
from regrow_components import outcome as outcome_component
from regrow_components import prepare as prepare_component
from regrow_components import prune as prune_component
from regrow_components import recover as recover_component
from regrow_components import register as register_component
from regrow_components import resolve as resolve_component
from regrow_components import train as train_component


def versions(code: Any, *tasks: Any) -> str:
    """The ``code_version`` of a step with the code version ``code`` that works on what ``tasks`` have made."""
    return "+".join(str(part) for part in (code, *(task.outputs["version"] for task in tasks)))


def chain(*, params: Mapping[str, Any], code: Mapping[str, Any]) -> None:
    """Wire the steps; called inside a pipeline's function. ``params`` and ``code`` are by step."""
    resolve = resolve_component.resolve(
        params=params["resolve"], code_version=code["resolve"], run=dsl.PIPELINE_JOB_ID_PLACEHOLDER
    )
    resolve.set_caching_options(False)
    with dsl.If(resolve.outputs["Output"] == True, name="work-to-do"):  # noqa: E712 - Kubeflow's own condition
        prepare = prepare_component.prepare(
            params=params["prepare"], code_version=code["prepare"], resolved=resolve.outputs["resolved"]
        )
        dataset = prepare.outputs["dataset"]
        augment = augment_component.augment(
            params=params["augment"], code_version=versions(code["augment"], prepare), dataset=dataset
        )
        overlay = augment.outputs["overlay"]
        train = train_component.train(
            params=params["train"],
            code_version=versions(code["train"], prepare, augment),
            start=resolve.outputs["start"],
            dataset=dataset,
            overlay=overlay,
        )
        parent, training = train.outputs["parent"], train.outputs["training"]
        prune = prune_component.prune(
            params=params["prune"],
            code_version=versions(code["prune"], prepare, augment, train),
            parent=parent,
            dataset=dataset,
            overlay=overlay,
            training=training,
        )
        recover = recover_component.recover(
            params=params["recover"],
            code_version=versions(code["recover"], prepare, augment, train, prune),
            pruned=prune.outputs["pruned"],
            pruning=prune.outputs["pruning"],
            parent=parent,
            training=training,
            dataset=dataset,
            overlay=overlay,
        )
        tasks = {
            "resolve": resolve,
            "prepare": prepare,
            "augment": augment,
            "train": train,
            "prune": prune,
            "recover": recover,
        }
        ship(tasks, params=params, code=code)


def ship(
    tasks: Mapping[str, Any],
    *,
    params: Mapping[str, Any],
    code: Mapping[str, Any],
    front: Any = None,
) -> None:
    """Wire what follows on a recovered model: export, the test split, the registry.

    Args:
        tasks: those before, ``resolve`` to ``recover``, by step.
        params, code: as in `chain`.
        front: the sweep from which the pruned model was chosen, by value; None if there was none.
    """
    resolve, prepare = tasks["resolve"], tasks["prepare"]
    train, prune, recover = tasks["train"], tasks["prune"], tasks["recover"]
    dataset, champion = prepare.outputs["dataset"], resolve.outputs["champion"]
    parent, training = train.outputs["parent"], train.outputs["training"]
    recovered = recover.outputs["recovered"]
    export = export_component.export(
        params=params["export"],
        code_version=versions(code["export"], prepare, train, recover),
        parent=parent,
        recovered=recovered,
        dataset=dataset,
    )
    evaluate = evaluate_component.evaluate(
        params=params["evaluate"],
        code_version=versions(code["evaluate"], prepare, train, prune, recover, export),
        rival=resolve.outputs["rival"],
        parent=parent,
        pruned=prune.outputs["pruned"],
        recovered=recovered,
        parent_exports=export.outputs["parent_exports"],
        recovered_exports=export.outputs["recovered_exports"],
        recovery=recover.outputs["recovery"],
        training=training,
        pruning_report=prune.outputs["pruning_report"],
        parity=export.outputs["parity"],
        data_report=prepare.outputs["data_report"],
        champion=champion,
        dataset=dataset,
        **({} if front is None else {"front": front}),
    )
    stated = {**tasks, "export": export, "evaluate": evaluate}
    register = register_component.register(
        params=params["register"],
        code_version=code["register"],
        run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        recovered_exports=export.outputs["recovered_exports"],
        metrics=evaluate.outputs["metrics"],
        report=evaluate.outputs["report"],
        parity=export.outputs["parity"],
        recovery=recover.outputs["recovery"],
        training=training,
        parent=parent,
        dataset=dataset,
        data=resolve.outputs["data"],
        champion=champion,
        **{f"{name}_statement": task.outputs["statement"] for name, task in stated.items()},
    )
    register.set_caching_options(False)


@dsl.pipeline(
    name="regrow-prune-and-recover",
    description="Prune a trained Keras model, grow its accuracy back, ship it with proof of where it came from.",
)
def prune_and_recover(
    resolve_params: str,
    prepare_params: str,
    augment_params: str,
    train_params: str,
    prune_params: str,
    recover_params: str,
    export_params: str,
    evaluate_params: str,
    register_params: str,
    resolve_code: str,
    prepare_code: str,
    augment_code: str,
    train_code: str,
    prune_code: str,
    recover_code: str,
    export_code: str,
    evaluate_code: str,
    register_code: str,
    code_version: str,
) -> None:
    """Chain the steps; each ``*_params`` is that step's section of ``params.yaml`` as canonical JSON."""
    outcome = outcome_component.outcome(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, code_version=code_version)
    outcome.set_caching_options(False)
    with dsl.ExitHandler(outcome, name="steps"):
        chain(
            params={
                "resolve": resolve_params,
                "prepare": prepare_params,
                "augment": augment_params,
                "train": train_params,
                "prune": prune_params,
                "recover": recover_params,
                "export": export_params,
                "evaluate": evaluate_params,
                "register": register_params,
            },
            code={
                "resolve": resolve_code,
                "prepare": prepare_code,
                "augment": augment_code,
                "train": train_code,
                "prune": prune_code,
                "recover": recover_code,
                "export": export_code,
                "evaluate": evaluate_code,
                "register": register_code,
            },
        )
