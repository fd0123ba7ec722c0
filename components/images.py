"""The image of each step's container."""

import os

from regrow import __version__

CODE_LABEL = "regrow.code-version"  # of an image: the version of the code in it


def image(step: str) -> str:
    """``$REGROW_REGISTRY/regrow-STEP:$REGROW_TAG``, read when the pipeline is compiled."""
    registry = os.environ.get("REGROW_REGISTRY", "").rstrip("/")
    tag = os.environ.get("REGROW_TAG", __version__)
    return f"{registry}/regrow-{step}:{tag}" if registry else f"regrow-{step}:{tag}"
