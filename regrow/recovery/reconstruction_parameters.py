"""Section `recover.reconstruct`. No TensorFlow here."""

from pydantic import Field

from regrow.config.sections import Parameters


class Reconstruct(Parameters):
    """Least-squares feature reconstruction on unaugmented training examples."""

    enabled: bool = Field(
        False, description="fit each layer to its parent layer's output, before fine-tuning"
    )
    examples: int = Field(
        1024, ge=8, description="number of calibration examples; every eighth is held out to check the fit"
    )
    ridge: float = Field(
        1e-3,
        ge=0,
        le=1,
        description="ridge penalty towards the current weights, relative to the mean squared input",
    )
    batch_size: int = Field(128, ge=2, description="calibration examples per batch")
