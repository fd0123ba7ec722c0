"""A training callback whose masks grow while a model is trained."""

from collections.abc import Mapping
from typing import Any

from regrow.graph.kernels import prunable_kernels
from regrow.pruning.masking import Masking
from regrow.pruning.pruning import Pruning
from regrow.training.parts import Part


class GradualMasks(Part):
    """Masks the kernels named in ``schedules`` (tfmot's, by name) before the first step and after each.

    Masked weights still take optimizer steps before they are masked again, so that a weight with a large gradient can
    return when the masks are next computed (Zhu & Gupta 2017).
    """

    def __init__(self, schedules: Mapping[str, Any]) -> None:
        super().__init__(name="masks")
        self._schedules = schedules

    def build(self, learner: Any) -> None:
        """Create the masks of the trained model."""
        kernels = prunable_kernels(learner.inner)
        self._masking = Masking({name: kernels[name] for name in self._schedules}, self._schedules)
        self.state = self._masking.variables
        self._masking.start()
        self._masking.advance()

    def after_step(self) -> None:
        """The masks at the start of the next step."""
        self._masking.advance()

    def mask_averages(self, model: Any) -> None:
        """Zero averaged weights, too, where weights have only just been masked."""
        self._masking.mask()

    def pruning(self) -> Pruning:
        """The current masks."""
        return self._masking.pruning()
