"""Parameters of least-squares reconstruction; without TensorFlow, for commands that only read them."""

from pydantic import Field

from regrow.config.sections import Parameters


class Reconstruct(Parameters):
    """Least-squares feature reconstruction on unaugmented training examples."""

    enabled: bool = Field(False, description="fit each layer to what the parent's makes, before fine-tuning")
    examples: int = Field(1024, ge=8, description="calibration examples; one of eight judges the fit")
    ridge: float = Field(
        1e-3, ge=0, le=1, description="pull towards the present weights, as a share of the mean squared input"
    )
    batch_size: int = Field(128, ge=2, description="calibration examples at a time")
