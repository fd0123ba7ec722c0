"""Masks that grow while a model is trained."""

from collections.abc import Mapping
from typing import Any

from regrow.graph.kernels import prunable_kernels
from regrow.pruning.masking import Masking
from regrow.pruning.pruning import Pruning
from regrow.training.parts import Part


class GradualMasks(Part):
    """Masks the kernels named in ``schedules`` (tfmot's, by name) before the first step and after each.

    What was masked gets its step of the optimizer before it is masked again, so that a weight whose gradient is large
    comes back when the masks are next computed (Zhu & Gupta 2017).
    """

    def __init__(self, schedules: Mapping[str, Any]) -> None:
        super().__init__(name="masks")
        self._schedules = schedules

    def build(self, learner: Any) -> None:
        """Make the masks of the model that is trained."""
        kernels = prunable_kernels(learner.inner)
        self._masking = Masking({name: kernels[name] for name in self._schedules}, self._schedules)
        self.state = self._masking.variables
        self._masking.start()
        self._masking.advance()

    def after_step(self) -> None:
        """The masks that the next step begins with."""
        self._masking.advance()

    def mask_averages(self, model: Any) -> None:
        """Averaged weights are not zero where weights have only just been masked."""
        self._masking.mask()

    def pruning(self) -> Pruning:
        """The masks as they are now."""
        return self._masking.pruning()
