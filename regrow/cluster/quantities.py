"""Amounts of CPU and memory as Kubernetes writes them; names of images and labels."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from regrow.errors import nearest

CPU = re.compile(r"(?P<number>\d+(\.\d+)?|\.\d+)(?P<unit>m?)")
# As Kubeflow's compiler takes them; it refuses fractions, and `k` for 1000.
MEMORY = re.compile(r"(?P<number>\d+)(?P<unit>|[KMGTPE]i?)")
DIGEST = re.compile(r"(?!https?://)[^@\s]+@sha256:[0-9a-f]{64}")
TAGGED = re.compile(r"(?!https?://)[^@\s]*[^@\s:/]:(?P<tag>[\w][\w.-]{0,127})")
LABEL_KEY = re.compile(
    r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
# An extended resource has a domain: nvidia.com/gpu, nvidia.com/mig-1g.10gb.
RESOURCE = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
ADDRESS = r"^[a-z][a-z0-9+.-]*://\S+$"
LEAST_MEMORY = 2**20
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def cores(text: str) -> Decimal:
    """CPU cores that ``text`` stands for."""
    found = CPU.fullmatch(text)
    if found is None:
        raise ValueError(
            f"'{text}' is not an amount of CPU; accepted: cores such as 0.5 or 2, thousandths such as 500m"
        )
    return Decimal(found["number"]) / (1000 if found["unit"] else 1)


def size(text: str) -> int:
    """Bytes that ``text`` stands for."""
    found = MEMORY.fullmatch(text)
    if found is None:
        raise ValueError(
            f"'{text}' is not an amount of memory; accepted: whole numbers with Ki, Mi, Gi, Ti or K, M, G, "
            "T, such as 4Gi"
        )
    unit = found["unit"]
    base = 1024 if unit.endswith("i") else 1000
    power = " KMGTPE".index(unit[0]) if unit else 0
    return int(found["number"]) * int(base**power)


def _text(value: Any) -> Any:
    """A number in YAML is the same amount as its text."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _positive(amount: Any, text: str) -> str:
    if not amount > 0:
        raise ValueError(f"'{text}' is zero; accepted: more than 0")
    return text


def _memory(text: str) -> str:
    if size(text) < LEAST_MEMORY:
        raise ValueError(
            f"'{text}' is {size(text)} bytes, too little to run in; accepted: an amount such as 4Gi or 512Mi"
        )
    return text


def accepted_image(text: str) -> str:
    """``text``, which names one image for good.

    Raises:
        ValueError: it does not.
    """
    tagged = TAGGED.fullmatch(text)
    if DIGEST.fullmatch(text) or (tagged and tagged["tag"] != "latest"):
        return text
    if "://" in text:
        raise ValueError(f"'{text}' is an address; accepted: only the image's name, REGISTRY/NAME:TAG")
    last = text.rpartition("/")[2]
    if re.search(r"\s", text) or not last or last.startswith((":", "@")):
        raise ValueError(
            f"'{text}' is not the name of an image; accepted: a name such as "
            "registry.example.com/team/regrow-train:0.1.0"
        )
    if last.endswith(":"):
        raise ValueError(f"'{text}' has no tag after ':'; accepted: NAME:TAG, or NAME@sha256:DIGEST")
    raise ValueError(
        f"'{text}' is not a fixed version; accepted: NAME@sha256:DIGEST, or NAME:TAG with a fixed tag"
    )


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key):
            raise ValueError(f"'{key}' is not a label key; accepted: a key such as team or example.com/team")
        if not LABEL_VALUE.fullmatch(value):
            raise ValueError(
                f"'{value}' ({key}) is not a label value; accepted: up to 63 letters, digits, '-', '_', "
                "'.', a letter or digit at both ends"
            )
    return labels


def _name(text: str) -> str:
    if "://" in text:  # which may be a secret itself, such as a webhook's, and is not shown
        raise ValueError(
            "must be the name of a Kubernetes object, not an address; accepted: a name such as regrow-webhook"
        )
    if not NAME.fullmatch(text):
        raise ValueError(
            f"'{text}' is not a Kubernetes name; accepted: small letters, digits, '-' and '.', such as "
            "regrow-mlflow"
        )
    return text


def known(found: str, accepted: tuple[str, ...], what: str) -> None:
    """Raises `ValueError` where ``found`` is none of ``accepted``."""
    if found not in accepted:
        raise ValueError(f"there is no {what} '{found}'{nearest(found, accepted)}")


Cpu = Annotated[str, BeforeValidator(_text), AfterValidator(lambda text: _positive(cores(text), text))]
Memory = Annotated[str, BeforeValidator(_text), AfterValidator(_memory)]
Image = Annotated[str, AfterValidator(accepted_image)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
Name = Annotated[str, AfterValidator(_name)]
