"""The sweep: … → train → (prune → recover → measure) of each candidate → select → the chosen one's way on.

Candidates meet the validation split alone, in `measure`; `select` chooses one by a rule and gives its parameters by
value. Kubeflow cannot take one artifact out of a loop, so the chosen one's `prune` and `recover` stand after it again,
with the arguments that they had in it: Kubeflow's cache, here the steps' own, answers them without work.

Kubeflow's local runner (2.17) hands a loop's tasks the loop's item in place of what tasks beside the loop gave by
value. Of that, the loop uses versions only, which no step reads and the steps' own cache does not need.
"""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from regrow_components import augment as augment_component
from regrow_components import measure as measure_component
from regrow_components import outcome as outcome_component
from regrow_components import prepare as prepare_component
from regrow_components import prune as prune_component
from regrow_components import recover as recover_component
from regrow_components import resolve as resolve_component
from regrow_components import select as select_component
from regrow_components import train as train_component
from regrow_pipelines.prune_and_recover import ship, versions

NAME = "regrow-sweep"


class _Swept:
    """The steps wired, for one candidate at a time; ``params`` and ``code`` are by step, as in `chain`."""

    def __init__(self, *, params: Mapping[str, Any], code: Mapping[str, Any]) -> None:
        self.params = params
        self.code = code

    def resolve(self) -> Any:
        """Fix the data; every other method is for a condition on what it says."""
        task = resolve_component.resolve(
            params=self.params["resolve"],
            code_version=self.code["resolve"],
            run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        )
        task.set_caching_options(False)
        self.resolved = task
        return task

    def data(self) -> None:
        """Dataset and overlay, which all candidates share."""
        self.prepared = prepare_component.prepare(
            params=self.params["prepare"],
            code_version=self.code["prepare"],
            resolved=self.resolved.outputs["resolved"],
        )
        self.dataset = self.prepared.outputs["dataset"]
        self.augmented = augment_component.augment(
            params=self.params["augment"],
            code_version=versions(self.code["augment"], self.prepared),
            dataset=self.dataset,
        )
        self.overlay = self.augmented.outputs["overlay"]

    def train(self, params: Any) -> Any:
        """A parent."""
        return train_component.train(
            params=params,
            code_version=versions(self.code["train"], self.prepared, self.augmented),
            start=self.resolved.outputs["start"],
            dataset=self.dataset,
            overlay=self.overlay,
        )

    def prune_and_recover(self, train: Any, *, prune_params: Any, recover_params: Any) -> tuple[Any, Any]:
        """The two tasks of one candidate."""
        parent, training = train.outputs["parent"], train.outputs["training"]
        before = (self.prepared, self.augmented, train)
        prune = prune_component.prune(
            params=prune_params,
            code_version=versions(self.code["prune"], *before),
            parent=parent,
            dataset=self.dataset,
            overlay=self.overlay,
            training=training,
        )
        recover = recover_component.recover(
            params=recover_params,
            code_version=versions(self.code["recover"], *before, prune),
            pruned=prune.outputs["pruned"],
            pruning=prune.outputs["pruning"],
            parent=parent,
            training=training,
            dataset=self.dataset,
            overlay=self.overlay,
        )
        return prune, recover

    def measure(self, train: Any, recover: Any, *, candidate: Any) -> Any:
        """What one candidate is worth on the validation split."""
        return measure_component.measure(
            params=self.params["measure"],
            code_version=versions(self.code["measure"], self.prepared, train, recover),
            candidate=candidate,
            parent=train.outputs["parent"],
            recovered=recover.outputs["recovered"],
            dataset=self.dataset,
        )

    def ship(self, train: Any, prune: Any, recover: Any, *, front: Any) -> None:
        """Export, the test split, the registry: for the chosen one alone."""
        tasks = {
            "resolve": self.resolved,
            "prepare": self.prepared,
            "augment": self.augmented,
            "train": train,
            "prune": prune,
            "recover": recover,
        }
        ship(tasks, params=self.params, code=self.code, front=front)


def sweep_pipeline(*, train_seeds: bool, parallelism: int | None) -> Any:
    """The sweep as a Kubeflow pipeline.

    Args:
        train_seeds: whether each candidate has a parent of its own, trained in the loop.
        parallelism: candidates at a time; None leaves it to the cluster.
    """

    @dsl.pipeline(
        name=NAME,
        description=(
            "Prune in several ways, choose one by a rule on the validation split, and register it with "
            "its provenance."
        ),
    )
    def sweep(
        candidates: list,
        resolve_params: str,
        prepare_params: str,
        augment_params: str,
        train_params: str,
        measure_params: str,
        select_params: str,
        export_params: str,
        evaluate_params: str,
        register_params: str,
        resolve_code: str,
        prepare_code: str,
        augment_code: str,
        train_code: str,
        prune_code: str,
        recover_code: str,
        measure_code: str,
        select_code: str,
        export_code: str,
        evaluate_code: str,
        register_code: str,
        code_version: str,
    ) -> None:
        """Of each of ``candidates``: ``candidate`` (what it is), ``{train,prune,recover}_params``."""
        swept = _Swept(
            params={
                "resolve": resolve_params,
                "prepare": prepare_params,
                "augment": augment_params,
                "measure": measure_params,
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
                "measure": measure_code,
                "export": export_code,
                "evaluate": evaluate_code,
                "register": register_code,
            },
        )
        outcome = outcome_component.outcome(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, code_version=code_version)
        outcome.set_caching_options(False)
        with dsl.ExitHandler(outcome, name="steps"):
            resolve = swept.resolve()
            with dsl.If(resolve.outputs["Output"] == True, name="work-to-do"):  # noqa: E712 - as Kubeflow has it
                swept.data()
                shared = None if train_seeds else swept.train(train_params)
                with dsl.ParallelFor(candidates, name="candidates", parallelism=parallelism) as item:
                    train = shared or swept.train(item.train_params)
                    _, recover = swept.prune_and_recover(
                        train, prune_params=item.prune_params, recover_params=item.recover_params
                    )
                    measure = swept.measure(train, recover, candidate=item.candidate)
                select = select_component.select(
                    params=select_params,
                    code_version=select_code,
                    candidates=candidates,
                    measured=dsl.Collected(measure.outputs["measured"]),
                )
                chosen = select.outputs
                train = shared or swept.train(chosen["train_params"])
                prune, recover = swept.prune_and_recover(
                    train, prune_params=chosen["prune_params"], recover_params=chosen["recover_params"]
                )
                swept.ship(train, prune, recover, front=chosen["front"])

    return sweep
