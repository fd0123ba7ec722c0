"""The front is what no other point beats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.evaluation.pareto import beaten_by, dominates, front

POINTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12)


def test_ties_share_the_front_or_are_off_it_together() -> None:
    assert front([(1, 5), (1, 5), (2, 3), (2, 4), (2, 4)]) == [True, True, True, False, False]


def test_one_objective_leaves_the_least() -> None:
    assert front([(2,), (1,), (1,), (3,)]) == [False, True, True, False]


def test_points_of_different_length_are_a_defect() -> None:
    with pytest.raises(ValueError, match="2 and 3 objectives"):
        dominates((1, 2), (1, 2, 3))


@given(POINTS)
def test_whatever_is_off_the_front_is_beaten_from_it(points: list[tuple[int, ...]]) -> None:
    on, beaten = front(points), beaten_by(points)
    assert any(on)
    for place, point in enumerate(points):
        if on[place]:
            assert beaten[place] is None
            assert not any(dominates(other, point) for other in points)
        else:
            better = beaten[place]
            assert better is not None and on[better] and dominates(points[better], point)


@given(POINTS, st.randoms())
def test_the_order_of_points_is_no_matter(points: list[tuple[int, ...]], random: object) -> None:
    shuffled = list(points)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {p for p, on in zip(points, front(points), strict=True) if on} == {
        p for p, on in zip(shuffled, front(shuffled), strict=True) if on
    }
