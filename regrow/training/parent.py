"""How the parent was trained, as recorded by `train`, for recovery schedules that depend on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from regrow.errors import RegrowError
from regrow.storage.artifacts import read_json
from regrow.training.settings import FitSettings

# Beside them, where a range test chose the peak, or a time budget the number of epochs.
RANGE_TEST, PLANNED = "range_test.json", "planned.json"
# Beside them, where a trained model got a new head: which model, which head.
NEW_HEAD = "new_head.json"


@dataclass(frozen=True, kw_only=True)
class ParentTraining:
    """``settings`` are those of its training, with the peak that a range test chose and as many epochs as a time budget
    let it plan; None where it was imported. ``epochs`` is how many were trained, those
    with a frozen backbone included, 0 where it was imported.

    ``norm_drop`` is what pruning took of the weights' norm, as `regrow.recovery.norm_drop.norm_drop` measures it;
    1 stands for all of it, as for a model that starts anew.
    """

    settings: FitSettings | None
    epochs: int
    norm_drop: float = 1.0

    @classmethod
    def unknown(cls, *, norm_drop: float = 1.0) -> Self:
        """Of a parent that came from outside."""
        return cls(settings=None, epochs=0, norm_drop=norm_drop)

    @classmethod
    def read(cls, training: Path, *, norm_drop: float = 1.0) -> Self:
        """Read ``settings.json`` and ``history.json`` in ``training``, what `train` gave.

        Raises:
            RegrowError: a file is missing or broken.
        """
        history = read_json(training / "history.json")
        if not isinstance(history, list):
            raise RegrowError(f"{training / 'history.json'}: must be a list of epochs")
        if is_imported(training):
            return cls.unknown(norm_drop=norm_drop)
        file = training / "settings.json"
        try:
            settings = FitSettings.model_validate(read_json(file))
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            raise RegrowError(f"{file}: {place}: {fault['msg']}; train again") from None
        return cls(settings=_as_trained(settings, training), epochs=len(history), norm_drop=norm_drop)


def _as_trained(settings: FitSettings, training: Path) -> FitSettings:
    tested, planned = training / RANGE_TEST, training / PLANNED
    peak = read_json(tested)["rate"] if tested.exists() else None
    if peak is not None:
        settings = settings.with_peak(peak)
    if planned.exists():
        settings = settings.model_copy(update={"epochs": read_json(planned)["epochs"]})
    return settings


def is_imported(training: Path) -> bool:
    """Whether the parent came from outside, so that nothing is known of its training."""
    return (training / "imported.json").exists()
