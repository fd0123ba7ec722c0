"""The Pareto front: candidates that no other candidate beats."""

from collections.abc import Sequence

Point = Sequence[float]


def dominates(first: Point, second: Point) -> bool:
    """Whether ``first`` is nowhere worse than ``second`` and somewhere better; less is better in each place.

    Equal points do not dominate each other.

    >>> dominates((1, 2), (1, 3)), dominates((1, 2), (1, 2)), dominates((0, 9), (1, 2))
    (True, False, False)
    """
    if len(first) != len(second):
        raise ValueError(f"points of {len(first)} and {len(second)} objectives cannot be compared")
    return all(a <= b for a, b in zip(first, second, strict=True)) and tuple(first) != tuple(second)


def front(points: Sequence[Point]) -> list[bool]:
    """Which of ``points`` no other dominates; less is better in each place.

    Dominance is judged on the point estimates as they are, without a tolerance. So points that tie in every
    objective are on the front together, or off it together; and where the intervals of two accuracies overlap, the
    front says which was measured to be better, not that it is: the intervals are shown beside it for that.

    >>> front([(1, 5), (2, 3), (2, 3), (3, 4)])
    [True, True, True, False]
    """
    return [not any(dominates(other, point) for other in points) for point in points]


def beaten_by(points: Sequence[Point]) -> list[int | None]:
    """For each point the place of one that dominates it and is itself on the front; None for those on the front.

    Of several the one that is least in the first objective, then in the second, and so on; then the earliest.
    """
    best = [place for place, on in enumerate(front(points)) if on]
    found: list[int | None] = []
    for point in points:
        better = [place for place in best if dominates(points[place], point)]
        found.append(min(better, key=lambda place: (tuple(points[place]), place)) if better else None)
    return found
