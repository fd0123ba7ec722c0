"""Each layer kind: traced, cut at random, and compared with the dense model without the removed channels."""

import pytest

from .checking import check_removal
from .operation_cases import CASES


@pytest.mark.parametrize("name", sorted(CASES))
def test_removed_and_dense_agree(name: str) -> None:
    channels = check_removal(CASES[name]())
    assert channels.removable.any(), channels.reasons
