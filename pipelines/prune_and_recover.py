"""The pipeline: resolve → prepare → augment → train → prune → recover → export → evaluate → register.

``regrow run`` executes it here, ``regrow compile`` writes it for a cluster. Everything between the impure
ends is a function of files and parameters.
"""

from kfp import dsl

from regrow_components import augment as augment_component
from regrow_components import evaluate as evaluate_component
from regrow_components import export as export_component
from regrow_components import prepare as prepare_component
from regrow_components import prune as prune_component
from regrow_components import recover as recover_component
from regrow_components import register as register_component
from regrow_components import resolve as resolve_component
from regrow_components import train as train_component


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
    code_version: str,
) -> None:
    """Chain the steps; each ``*_params`` is that step's section of ``params.yaml`` as canonical JSON."""
    resolve = resolve_component.resolve(params=resolve_params, code_version=code_version)
    resolve.set_caching_options(False)
    with dsl.If(resolve.outputs["Output"] == True, name="work-to-do"):  # noqa: E712 - Kubeflow's own condition
        prepare = prepare_component.prepare(
            params=prepare_params, code_version=code_version, data=resolve.outputs["data"]
        )
        dataset = prepare.outputs["dataset"]
        augment = augment_component.augment(params=augment_params, code_version=code_version, dataset=dataset)
        overlay = augment.outputs["overlay"]
        train = train_component.train(
            params=train_params, code_version=code_version, dataset=dataset, overlay=overlay
        )
        parent, training = train.outputs["parent"], train.outputs["training"]
        prune = prune_component.prune(
            params=prune_params,
            code_version=code_version,
            parent=parent,
            dataset=dataset,
            overlay=overlay,
            training=training,
        )
        recover = recover_component.recover(
            params=recover_params,
            code_version=code_version,
            pruned=prune.outputs["pruned"],
            pruning=prune.outputs["pruning"],
            parent=parent,
            training=training,
            dataset=dataset,
            overlay=overlay,
        )
        recovered = recover.outputs["recovered"]
        export = export_component.export(
            params=export_params,
            code_version=code_version,
            parent=parent,
            recovered=recovered,
            dataset=dataset,
        )
        evaluate = evaluate_component.evaluate(
            params=evaluate_params,
            code_version=code_version,
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
            champion=resolve.outputs["champion"],
            dataset=dataset,
        )
        register = register_component.register(
            params=register_params,
            code_version=code_version,
            recovered_exports=export.outputs["recovered_exports"],
            metrics=evaluate.outputs["metrics"],
            report=evaluate.outputs["report"],
            parity=export.outputs["parity"],
            recovery=recover.outputs["recovery"],
            training=training,
            parent=parent,
            dataset=dataset,
            data=resolve.outputs["data"],
            champion=resolve.outputs["champion"],
            resolve_statement=resolve.outputs["statement"],
            prepare_statement=prepare.outputs["statement"],
            augment_statement=augment.outputs["statement"],
            train_statement=train.outputs["statement"],
            prune_statement=prune.outputs["statement"],
            recover_statement=recover.outputs["statement"],
            export_statement=export.outputs["statement"],
            evaluate_statement=evaluate.outputs["statement"],
        )
        register.set_caching_options(False)
