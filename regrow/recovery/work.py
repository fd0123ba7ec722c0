"""What a recovery works on, and what its techniques share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.dataset.directory import Dataset
from regrow.progress import Progress
from regrow.pruning.pruning import Pruning
from regrow.recovery.parameters import RecoverParams
from regrow.training.parent import ParentTraining

OnEpoch = Callable[[dict[str, float], int], None]


@dataclass(kw_only=True)
class Work:
    """One model's recovery.

    Args:
        model: the pruned model; changed in place.
        parent: the model before pruning; not changed.
        pruning: surgery and masks.
        params: which techniques, and how.
        dataset: its training split is learned from, its validation split decides.
        overlay: what `augment` made.
        training: what `train` wrote about the parent.
        scratch: a directory for checkpoints; the same work finds it again.
        output: the recovery artifact's directory.
        step: the step's name, for messages.
        progress: makes a reporter for so many units.
        on_epoch: told of each epoch's metrics, as they come.
        tensorboard: gives the directory of logs of a phase.
    """

    model: Any
    parent: Any
    pruning: Pruning
    params: RecoverParams
    dataset: Dataset
    overlay: Path
    training: Path
    scratch: Path
    output: Path
    step: str
    progress: Callable[[int], Progress]
    on_epoch: OnEpoch
    tensorboard: Callable[[str], Path | None]

    def measured(self, model: Any) -> dict[str, float]:
        """``val_accuracy`` and ``val_loss`` of ``model``."""
        from regrow.training.fitting import validation_metrics

        return validation_metrics(model, self.dataset)

    def initialise(self, model: Any, chosen: Any) -> None:
        """Give ``model`` the weights that ``chosen`` says; what is masked stays zero."""
        from regrow.recovery.initialisation import Source, initialise

        source = Source(
            pruning=self.pruning, training=self.training, dataset=self.dataset, seed=self.params.seed
        )
        initialise(model, chosen, source)
        self.pruning.apply(model)

    def settle(self, model: Any, *, layers: Any = None) -> None:
        """Estimate the batch statistics of ``layers`` of ``model`` anew; unless given, of all."""
        from regrow.training.recalibration import recalibrate

        options = self.params.recalibrate
        images = self.dataset.calibration(options.batches * options.batch_size, self.params.seed)
        recalibrate(model, images, batch_size=options.batch_size, layers=layers)

    def parent_training(self, *, is_new: bool) -> ParentTraining:
        """How the parent was trained; ``is_new``: for weights that are not the parent's."""
        from regrow.recovery.norm_drop import norm_drop

        share = 1.0 if is_new else norm_drop(self.parent, self.pruning)
        return ParentTraining.read(self.training, norm_drop=share)
