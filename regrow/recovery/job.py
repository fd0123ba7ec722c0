"""What a recovery works on, and what its techniques share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.dataset.data import Data
from regrow.errors import RegrowError
from regrow.progress import Progress
from regrow.pruning.pruning import Pruning
from regrow.recovery.parameters import RecoverParams
from regrow.training.parent import ParentTraining
from regrow.training.settings import OF_RECOVERY, FitSettings

OnEpoch = Callable[[dict[str, float], int], None]


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """Who is told of a recovery while it goes on.

    ``step`` is its name in messages, ``progress`` makes a reporter for so many units, ``on_epoch`` is told of each
    epoch's metrics, ``tensorboard`` gives the directory of logs of a phase.
    """

    step: str = "recover"
    progress: Callable[[int], Progress] = lambda total: Progress("recover", total=total)
    on_epoch: OnEpoch = lambda entry, epoch: None
    tensorboard: Callable[[str], Path | None] = lambda phase: None


@dataclass(kw_only=True)
class Job:
    """One model's recovery.

    Args:
        model: the pruned model; changed in place.
        parent: the model before pruning; not changed.
        pruning: surgery and masks.
        params: which techniques, and how.
        data: its training examples are learned from, its validation examples decide.
        training: what `train` wrote about the parent; None where nothing is known of that.
        scratch: a directory for checkpoints and feature maps; the same job finds it again. None: an interrupted
            recovery begins anew, and feature maps that do not fit in memory are computed again.
        reporting: who is told.
        with_heads: afterwards the model that keeps the heads of further tasks, where that was asked for.
    """

    model: Any
    parent: Any
    pruning: Pruning
    params: RecoverParams
    data: Data
    training: Path | None = None
    scratch: Path | None = None
    reporting: Reporting = field(default_factory=Reporting)
    with_heads: Any = None

    @property
    def step(self) -> str:
        """The step's name, for messages."""
        return self.reporting.step

    def measured(self, model: Any) -> dict[str, float]:
        """``val_loss`` and, where there is one, ``val_accuracy`` of ``model``."""
        from regrow.training.fitting import validation_metrics

        return validation_metrics(model, self.data)

    def initialise(self, model: Any, chosen: Any) -> None:
        """Give ``model`` the weights that ``chosen`` says; what is masked stays zero."""
        from regrow.recovery.initialisation import Source, initialise

        source = Source(pruning=self.pruning, training=self.training, data=self.data, seed=self.params.seed)
        initialise(model, chosen, source)
        self.pruning.apply(model)

    def settle(self, model: Any, *, layers: Any = None) -> None:
        """Estimate the batch statistics of ``layers`` of ``model`` anew; unless given, of all."""
        from regrow.training.recalibration import recalibrate

        options = self.params.recalibrate
        features = self.data.calibration(options.batches * options.batch_size, self.params.seed)
        recalibrate(model, features, batch_size=options.batch_size, layers=layers)

    def parent_training(self, settings: FitSettings, *, is_new: bool) -> ParentTraining | None:
        """How the parent was trained, where the schedule of ``settings`` looks back at it.

        ``is_new``: for weights that are not the parent's.
        """
        from regrow.recovery.norm_drop import norm_drop

        if settings.schedule not in OF_RECOVERY:
            return None
        share = 1.0 if is_new else norm_drop(self.parent, self.pruning)
        if self.training is None:
            return ParentTraining.unknown(norm_drop=share)
        return ParentTraining.read(self.training, norm_drop=share)

    def refuse_without_accuracy(self) -> None:
        """Refuse what is told by accuracies or class probabilities where the data has none.

        Raises:
            RegrowError: the parameter is named.
        """
        objective, params = self.data.objective, self.params
        if params.stop_when is not None and objective.metric is None:
            raise RegrowError(
                f"{self.step}: stop_when is '{params.stop_when}', but this model has a loss and no "
                "accuracy; remove stop_when"
            )
        asked = {
            "distill.logits": params.distill is not None and params.distill.logits is not None,
            "fit.label_smoothing": params.fit.label_smoothing > 0,
            "multi_task": params.multi_task is not None,
        }
        wrong = [name for name, is_asked in asked.items() if is_asked]
        if wrong and not objective.probabilities:
            raise RegrowError(
                f"{self.step}: {wrong[0]} needs a classifier trained with plain cross-entropy, but this "
                f"model is trained with {_named(objective.loss)}; remove {wrong[0]}"
            )


def _named(loss: Any) -> str:
    if isinstance(loss, str):
        return f"'{loss}'"
    return f"'{getattr(loss, 'name', None) or getattr(loss, '__name__', type(loss).__name__)}'"
