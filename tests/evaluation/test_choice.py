"""A sweep's choice follows its rule, and says so."""

from typing import Any
from xml.etree import ElementTree

import pytest
from pydantic import ValidationError

from regrow.errors import RegrowError
from regrow.evaluation.choice import Rule, choose
from regrow.evaluation.front import front_fragment, front_plot, front_rows, standalone
from regrow.evaluation.statistics import wilson_interval

N = 200


def measured(
    index: int,
    group: str,
    *,
    right: int,
    size: int,
    latency: float = 1.0,
    seed: int = 0,
    parent: int = 180,
    gzipped: int | None = None,
    exported: int | None = None,
) -> dict[str, Any]:
    """A candidate that is ``right`` so often, as the weighed file ``exported`` times (default: as often)."""
    forms = {}
    for form, count in (("", right), ("export_", right if exported is None else exported)):
        low, high = wilson_interval(count, N)
        difference = (count - parent) / N
        forms |= {f"{form}accuracy": count / N, f"{form}accuracy_low": low, f"{form}accuracy_high": high}
        forms |= {
            f"{form}difference": difference,
            f"{form}difference_low": difference - 0.02,
            f"{form}difference_high": difference + 0.02,
        }
    return {
        "candidate": {"index": index, "name": f"{group} seed {seed}", "group": group, "seed": seed},
        "measurement": {
            "n": N,
            **forms,
            "parent_accuracy": parent / N,
            "macs": 1000,
            "parameters": 100,
            "format": "tflite_int8",
            "bytes": size,
            "gzip_bytes": size if gzipped is None else gzipped,
            "parent_bytes": 9000,
            "parent_gzip_bytes": 8000,
            "latency_ms_p50": latency / 10,
            "parent_latency_ms_p50": 0.1,
            "latency_ratio": latency,
        },
    }


def chosen(found: list[dict[str, Any]], *, weighed: Any = "bytes", **rule: Any) -> dict[str, Any]:
    return choose(found, rule=Rule(**rule), format="tflite_int8", weighed=weighed)


FOUR = [
    measured(0, "whole", right=181, size=8000, latency=0.9),
    measured(1, "half", right=178, size=4000, latency=0.5),
    measured(2, "quarter", right=170, size=2000, latency=0.6),
    measured(3, "poor", right=160, size=4000, latency=0.45),
]


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ({"smallest_within": 0.0}, "whole"),
        ({"smallest_within": 0.01}, "half"),  # just 0.01 below counts
        ({"smallest_within": 0.0099}, "whole"),
        ({"smallest_within": 0.5}, "quarter"),
        ({"fastest_under": 8000}, "poor"),
        ({"fastest_under": 8000, "within": 0.05}, "half"),
        ({"fastest_under": 3000}, "quarter"),
    ],
)
def test_the_rule_is_followed(rule: dict[str, Any], name: str) -> None:
    found = chosen(FOUR, **rule)
    assert found["chosen"]["group"] == name
    (best,) = (group for group in found["groups"] if group["chosen"])
    assert best["name"] == name and best["on_front"]
    assert f"'{name}' is the" in found["chosen"]["sentence"]


def test_the_front_is_spanned_by_what_the_rule_asks_for() -> None:
    by_size = {group["name"]: group["beaten_by"] for group in chosen(FOUR, smallest_within=0.1)["groups"]}
    assert by_size == {"whole": None, "half": None, "quarter": None, "poor": "half"}
    by_time = {group["name"]: group["on_front"] for group in chosen(FOUR, fastest_under=9000)["groups"]}
    assert by_time == {"whole": True, "half": True, "quarter": True, "poor": True}


def test_means_over_seeds_decide_and_the_best_seed_is_shipped() -> None:
    found = chosen(
        [
            measured(0, "lucky", right=185, size=1000, seed=0),
            measured(1, "steady", right=178, size=2000, seed=0),
            measured(2, "lucky", right=155, size=1000, seed=1),
            measured(3, "steady", right=180, size=2100, seed=1),
        ],
        smallest_within=0.02,
    )
    assert found["chosen"]["group"] == "steady"
    assert (found["chosen"]["index"], found["chosen"]["name"]) == (3, "steady seed 1")
    steady = found["groups"][1]
    assert steady["accuracy"] == pytest.approx(179 / N)
    assert steady["size"] == 2100
    assert steady["seed_deviation"] == pytest.approx(2**0.5 / N)
    # More seeds do not narrow an interval that speaks of the examples.
    single = wilson_interval(179, N)
    assert steady["accuracy_high"] - steady["accuracy_low"] == pytest.approx(single[1] - single[0], abs=1e-3)
    assert "means of 2 seeds, of which 'steady seed 1' is registered" in found["chosen"]["sentence"]


def test_the_chosen_one_is_on_the_front_where_a_seed_has_failed() -> None:
    found = chosen(
        [
            measured(0, "one", right=178, size=2000, seed=0, parent=178),
            # Its other seed failed, and the parent of this one is better.
            measured(1, "two", right=182, size=2000, seed=1, parent=190),
        ],
        smallest_within=0.02,
    )
    (best,) = (group for group in found["groups"] if group["chosen"])
    assert (best["name"], best["on_front"]) == ("one", True)


@pytest.mark.parametrize(
    "rule", [{"smallest_within": 0.02}, {"fastest_under": 3000, "within": 0.02}], ids=["size", "latency"]
)
def test_what_is_weighed_must_keep_the_accuracy_too(rule: dict[str, Any]) -> None:
    candidates = [
        measured(0, "sound", right=178, size=2000, latency=0.6),
        measured(1, "breaks as int8", right=181, exported=120, size=1000, latency=0.4),
        measured(2, "breaks as keras", right=120, exported=181, size=1000, latency=0.4),
    ]
    found = chosen(candidates, **rule)
    assert found["chosen"]["group"] == "sound"
    assert "Keras model 89.00%, tflite_int8 89.00%" in found["chosen"]["sentence"]
    for broken in found["groups"][1:]:
        assert broken["accuracy"] == pytest.approx(120 / N)
        assert broken["difference"] == pytest.approx(-60 / N)
        assert broken["accuracy_high"] == pytest.approx(wilson_interval(120, N)[1])
    assert [row["forms"] for row in front_rows(found) if row["name"] == "breaks as int8"] == ["90.50 / 60.00"]
    with pytest.raises(RegrowError, match=r"both as Keras model and as exported file.* 30\.00 below"):
        chosen(candidates[1:], **rule)


def test_the_seed_whose_file_is_the_best_is_shipped() -> None:
    found = chosen(
        [
            measured(0, "one", right=184, exported=178, size=10, seed=0),
            measured(1, "one", right=181, exported=180, size=10, seed=1),
        ],
        smallest_within=0.02,
    )
    assert found["chosen"]["index"] == 1
    (group,) = found["groups"]
    assert group["accuracy"] == pytest.approx(179 / N) == group["export_accuracy"]
    assert group["keras_accuracy"] == pytest.approx(182.5 / N)
    assert group["seed_deviation"] == pytest.approx(2**0.5 / N)


def test_equal_seeds_give_the_first() -> None:
    found = chosen([measured(i, "one", right=180, size=10, seed=i) for i in (1, 0)], smallest_within=0)
    assert found["chosen"]["index"] == 0


def test_gzipped_sizes_are_what_zeros_save() -> None:
    sparse = [
        measured(0, "dense", right=180, size=4000),
        measured(1, "sparse", right=180, size=4001, gzipped=9),
    ]
    assert chosen(sparse, smallest_within=0)["chosen"]["group"] == "dense"
    assert chosen(sparse, smallest_within=0, weighed="gzip_bytes")["chosen"]["group"] == "sparse"


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"smallest_within": 0.0}, r"smallest_within: .* 0\.00 points .* nearest is 'half', 1\.00 below"),
        (
            {"fastest_under": 1999},
            r"fastest_under: .* at most 1,999 bytes .* nearest is 'quarter' with 2,000",
        ),
        ({"fastest_under": 2000, "within": 0.01}, r"rule\.within: .* nearest is 'quarter', 5\.00 below"),
    ],
)
def test_a_rule_that_nothing_meets_names_the_nearest(rule: dict[str, Any], says: str) -> None:
    with pytest.raises(RegrowError, match=says):
        chosen(FOUR[1:], **rule)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"smallest_within": 0.1, "fastest_under": 5},
        {"smallest_within": 0.1, "within": 0.1},
        {"fastest_under": 0},
    ],
)
def test_rules_that_say_nothing_or_too_much_are_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate(rule)


@pytest.mark.parametrize("rule", [{"smallest_within": 0.03}, {"fastest_under": 5000}])
def test_plot_and_table_are_well_formed_and_carry_nothing_from_elsewhere(rule: dict[str, Any]) -> None:
    found = choose(
        [*FOUR[:3], measured(3, "<b>&", right=1, size=1)],
        rule=Rule(**rule),
        format="tflite_int8",
        weighed="bytes",
        failed={"gone": "step 'prune': <no>"},
    )
    ElementTree.fromstring(standalone(front_plot(found)).partition("?>")[2])
    assert "var(--" in front_plot(found) and "var(--" not in standalone(front_plot(found))
    fragment = front_fragment(found)
    assert "<b>&" not in fragment and "&lt;b&gt;&amp;" in fragment and "&lt;no&gt;" in fragment
    assert "http" not in fragment.replace("http://www.w3.org/", "")
    rows = front_rows(found)
    assert [row["place"] for row in rows].count("chosen") == 1
    assert rows[0]["name"] == "<b>&"  # on the front, and the smallest
