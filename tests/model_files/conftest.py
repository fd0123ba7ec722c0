"""The models of the tests of graphs."""

from tests.graph.conftest import small  # noqa: F401
