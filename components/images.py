"""Which image each step's container is made from."""

import os

CODE_LABEL = "regrow.code-version"  # of an image: the version of the code in it


def image(step: str) -> str:
    """``$REGROW_REGISTRY/regrow-STEP:$REGROW_TAG``, read when the pipeline is compiled."""
    registry = os.environ.get("REGROW_REGISTRY", "").rstrip("/")
    tag = os.environ.get("REGROW_TAG", "0.1.0")
    return f"{registry}/regrow-{step}:{tag}" if registry else f"regrow-{step}:{tag}"
