"""Schedules fire in Kubeflow's scheduler when their author meant."""

import datetime
from itertools import islice

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.cluster.cron import firings, next_start, read_cron, read_zone, to_kubeflow
from regrow.errors import RegrowError

WINTER = datetime.datetime(2027, 1, 10, 12, tzinfo=datetime.UTC)
SUMMER = datetime.datetime(2027, 7, 10, 12, tzinfo=datetime.UTC)


def converted(
    text: str, zone: str = "UTC", scheduler_zone: str = "UTC", now: datetime.datetime = WINTER
) -> str:
    return to_kubeflow(text, zone=zone, scheduler_zone=scheduler_zone, now=now)


@pytest.mark.parametrize(
    ("text", "six"),
    [
        ("30 2 * * *", "0 30 2 * * *"),
        ("*/15 * * * *", "0 0,15,30,45 * * * *"),
        ("0 5 * * mon-fri", "0 0 5 * * 1-5"),
        ("0 5 * * 7", "0 0 5 * * 0"),  # the scheduler knows no day 7
        ("0 5 * jan,feb fri-mon", "0 0 5 * 1,2 0,1,5,6"),
        ("0-59 0-23 * 1-12 *", "0 * * * * *"),
    ],
)
def test_seconds_come_first_and_names_become_numbers(text: str, six: str) -> None:
    assert converted(text) == six


@pytest.mark.parametrize(
    ("zone", "now", "six"),
    [
        ("Europe/Berlin", WINTER, "0 30 1 * * *"),
        ("Europe/Berlin", SUMMER, "0 30 0 * * *"),
        ("Asia/Kolkata", WINTER, "0 0 21 * * *"),
        ("America/New_York", WINTER, "0 30 7 * * *"),
    ],
)
def test_a_zone_is_moved_into_the_scheduler_s(zone: str, now: datetime.datetime, six: str) -> None:
    assert converted("30 2 * * *", zone, now=now) == six


def test_a_weekday_moves_with_midnight() -> None:
    assert converted("30 0 * * mon", "Europe/Berlin") == "0 30 23 * * 0"
    assert converted("30 0 * * sun", "Europe/Berlin") == "0 30 23 * * 6"
    assert converted("0 22 * * sat", "America/New_York") == "0 0 3 * * 0"


def test_the_difference_is_the_one_at_the_next_firing() -> None:
    saturday = datetime.datetime(
        2027, 3, 27, 12, tzinfo=datetime.UTC
    )  # clocks change in the night that follows
    assert converted("0 8 * * *", "Europe/Berlin", now=saturday) == "0 0 6 * * *"
    assert converted("0 23 * * *", "Europe/Berlin", now=saturday) == "0 0 22 * * *"


def test_the_scheduler_s_own_zone_needs_no_moving() -> None:
    assert converted("30 0 1 * *", "Europe/Berlin", "Europe/Berlin") == "0 30 0 1 * *"


@pytest.mark.parametrize(
    ("text", "zone"),
    [("30 0 1 * *", "Europe/Berlin"), ("0 0,12 * * mon", "Europe/Berlin"), ("*/20 5 * * *", "Asia/Kolkata")],
)
def test_what_one_expression_cannot_say_is_refused(text: str, zone: str) -> None:
    with pytest.raises(RegrowError, match="CRON_SCHEDULE_TIMEZONE="):
        converted(text, zone)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("30 2 * *", "five fields"),
        ("0 30 2 * * *", "five fields"),
        ("@daily", "five fields"),
        ("61 2 * * *", "five fields"),
        ("0 0 L * *", "does not support 'L'"),
        ("0 0 * * 5#2", "does not support 'L'"),
        ("0 0 * * L5", "does not support 'L'"),
        ("0 0 15W * *", "does not support 'L'"),
        ("R 4 * * *", "does not support 'L'"),
        ("R(0-10) 4 * * *", "does not support 'L'"),
        ("0 0 31 2 *", "never fires"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str, said: str) -> None:
    with pytest.raises(RegrowError, match=said):
        converted(text)


def test_an_unknown_zone_is_refused() -> None:
    for name in ("Berlin", "../etc/passwd", ""):
        with pytest.raises(RegrowError, match="not a time zone"):
            read_zone(name)


ZONES = ["UTC", "Asia/Tokyo", "Asia/Kolkata", "America/Phoenix", "Pacific/Kiritimati", "Pacific/Marquesas"]


@settings(max_examples=60, deadline=None)
@given(
    minute=st.sampled_from(["0", "30", "*/15", "7,44", "*"]),
    hour=st.sampled_from(["0", "23", "*/6", "5", "*", "1-3"]),
    day=st.sampled_from(["*", "1", "*/10", "15,31"]),
    month=st.sampled_from(["*", "2", "*/3"]),
    weekday=st.sampled_from(["*", "0", "6,7", "mon-fri"]),
    zones=st.tuples(st.sampled_from(ZONES), st.sampled_from(ZONES)),
)
def test_both_expressions_fire_together(
    minute: str, hour: str, day: str, month: str, weekday: str, zones: tuple[str, str]
) -> None:
    text, (zone, scheduler_zone) = f"{minute} {hour} {day} {month} {weekday}", zones
    try:
        six = converted(text, zone, scheduler_zone)
    except RegrowError:
        return  # said by a test of its own
    meant = list(islice(firings(text, read_zone(zone), WINTER), 20))
    there = WINTER.astimezone(read_zone(scheduler_zone))
    read = croniter(six, there, ret_type=datetime.datetime, second_at_beginning=True)
    assert [read.get_next() for _ in meant] == meant


def test_the_next_start_of_what_was_written() -> None:
    six = converted("30 2 * * *", "Europe/Berlin")
    start = next_start(six, scheduler_zone="UTC", now=WINTER)
    assert start.isoformat() == "2027-01-11T01:30:00+00:00"
    assert next_start(six, scheduler_zone="Asia/Tokyo", now=WINTER).isoformat() == "2027-01-10T16:30:00+00:00"
    with pytest.raises(RegrowError, match="second 0"):
        next_start("*/5 * * * * *", scheduler_zone="UTC", now=WINTER)


def test_what_is_written_is_read_again_as_the_same() -> None:
    for text in ("30 2 * * *", "*/7 1-3 1,15 * mon-fri", "* * * * *"):
        assert read_cron(str(read_cron(text))) == read_cron(text)
