"""How many moves meet the target: bisection over the ordered moves, with exact costs."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from regrow.pruning.criteria.evidence import Array
from regrow.pruning.moves import Moves
from regrow.pruning.targets import TOLERANCE

Price = Callable[[Array], float]
CANDIDATES = 10


@dataclass(kw_only=True)
class Found:
    """The masks whose costs are nearest to a budget from both sides, that is, the nearest reachable targets."""

    budget: float
    below: tuple[float, Array] | None = None
    above: tuple[float, Array] | None = None
    seen: int = field(default=0)

    def note(self, price: float, removed: Array) -> float:
        """Keep ``removed`` if it is the nearest to the budget so far on its side; returns the price."""
        self.seen += 1
        if price <= self.budget:
            if self.below is None or price > self.below[0]:
                self.below = (price, removed)
        elif self.above is None or price < self.above[0]:
            self.above = (price, removed)
        return price

    @property
    def met(self) -> tuple[float, Array] | None:
        """The price and mask within 3% of the budget, preferably below it."""
        for side in (self.below, self.above):
            if side is not None and abs(side[0] / self.budget - 1) <= TOLERANCE:
                return side
        return None

    @property
    def reachable(self) -> list[float]:
        """The prices nearest to the budget, ascending."""
        return [side[0] for side in (self.below, self.above) if side is not None]


def meet(moves: Moves, price: Price, budget: float) -> Found:
    """The fewest moves after which ``price`` (never rising with more moves) is at most ``budget``.

    Where the last move overshoots by more than 3%, its group is left as it is and the moves after it are tried; where
    that does not meet the budget either, the move is made and what went before it is taken back as far as need be.
    """
    found = Found(budget=budget)
    overshooting: list[tuple[Moves, int]] = []

    def noted(removed: Array) -> float:
        return found.note(price(removed), removed)

    while True:
        number = fewest(moves, noted, budget)
        if found.below is not None and found.below[0] >= (1 - TOLERANCE) * budget:
            return found
        if not number:
            break
        overshooting.append((moves, number))
        moves = moves.without(int(moves.groups[number - 1]), after=number - 1)
    for tried, number in overshooting:
        if found.met is None:
            _take_back(tried, number, noted, budget)
    return found


def _take_back(moves: Moves, number: int, noted: Price, budget: float) -> None:
    """Price the first ``number`` moves while taking back moves of groups other than the last's, latest first.

    A group's later moves are taken back before its earlier ones; one that cannot be is the last of its group.
    """
    parts = moves.parts()
    removed = moves.removed(number)
    settled = {int(moves.groups[number - 1])}
    for move in reversed(range(number - 1)):
        group = int(moves.groups[move])
        if group in settled:
            continue
        fewer = removed.copy()
        fewer[parts[move]] = False
        if noted(fewer) <= budget:
            removed = fewer
        else:
            settled.add(group)


def fewest(moves: Moves, price: Price, budget: float) -> int | None:
    """The smallest number of moves after which ``price`` is at most ``budget``; None if all do not suffice."""
    number = bisect_left(range(len(moves) + 1), True, key=lambda count: price(moves.removed(count)) <= budget)
    return number if number <= len(moves) else None


def meet_by_measuring(moves: Moves, price: Price, estimate: Price, budget: float) -> Found:
    """As `meet`, for an expensive and noisy ``price`` such as a latency: tries at most ten candidates.

    ``estimate`` is cheap, exact and about linear in ``price`` (MACs): each candidate is where the line between
    the two nearest measurements meets the budget, or half-way where that has moved the same end twice. The first
    candidate within 3% is taken.
    """
    found = Found(budget=budget)

    def measured(number: int) -> float:
        removed = moves.removed(number)
        return found.note(price(removed), removed)

    low, high = 0, len(moves)
    slow, fast = measured(low), measured(high)
    moved = 0  # how often the slow end has moved in a row; negative: the fast end
    while found.met is None and found.seen < CANDIDATES and high - low > 1 and fast < budget < slow:
        share = (slow - budget) / (slow - fast) if abs(moved) < 2 else 0.5
        dear, cheap = estimate(moves.removed(low)), estimate(moves.removed(high))
        wanted = dear - share * (dear - cheap)
        number = bisect_left(range(low, high), True, key=lambda n: estimate(moves.removed(n)) <= wanted) + low
        number = min(max(number, low + 1), high - 1)
        price_now = measured(number)
        if price_now > budget:
            low, slow, moved = number, price_now, max(moved, 0) + 1
        else:
            high, fast, moved = number, price_now, min(moved, 0) - 1
    return found
