"""Cron expressions as people write them, and as Kubeflow Pipelines reads them.

Kubeflow's scheduler reads six fields, the seconds first: of five it takes the minutes for seconds. It reads all
schedules in one time zone, the one of the installation (``CRON_SCHEDULE_TIMEZONE``; UTC unless set), and knows no
``CRON_TZ=``. So a schedule in another zone is moved by the difference of the two zones at its next firing. Where
clocks change, the next `regrow schedule apply` moves it again: it is right as long as one happens between two firings.
"""

import datetime
import re
import zoneinfo
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from regrow.errors import RegrowError

# All letters that a schedule may have. croniter knows others, and reads `R` as another time each time.
NAMES = re.compile(
    r"jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat", re.IGNORECASE
)
FORM = "five fields: minute hour day-of-month month day-of-week, such as '30 2 * * 1-5'"
LOWEST = (0, 0, 1, 1, 0)
HIGHEST = (59, 23, 31, 12, 6)
ALL = None


@dataclass(frozen=True)
class Fields:
    """The values of each field, sorted; ``None`` where all are meant. Sunday is 0."""

    minute: tuple[int, ...] | None
    hour: tuple[int, ...] | None
    day: tuple[int, ...] | None
    month: tuple[int, ...] | None
    weekday: tuple[int, ...] | None

    def __str__(self) -> str:
        return " ".join(
            _field(values) for values in (self.minute, self.hour, self.day, self.month, self.weekday)
        )


def read_zone(name: str) -> zoneinfo.ZoneInfo:
    """The time zone called ``name``.

    Raises:
        RegrowError: there is none.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise RegrowError(
            f"'{name}' is not a time zone; accepted: names such as Europe/Berlin or UTC"
        ) from None


def read_cron(text: str) -> Fields:
    """The five fields of ``text``.

    Raises:
        RegrowError: not five fields, a value out of range, or something that Kubeflow's scheduler does not know.
    """
    from croniter import CroniterError, croniter

    if len(text.split()) != 5:
        raise RegrowError(f"cron '{text}' is not accepted; a schedule has {FORM}")
    try:
        expanded, nth = croniter.expand(text)
    except (CroniterError, ValueError) as error:
        raise RegrowError(f"cron '{text}' is not accepted ({error}); a schedule has {FORM}") from None
    if nth or re.search(r"[^\W\d_]", NAMES.sub("", text)):
        raise RegrowError(
            f"cron '{text}' is not accepted: Kubeflow's scheduler does not support 'L', 'W', 'R' and '#'"
        )
    return Fields(*[ALL if values == ["*"] else tuple(sorted(set(values))) for values in expanded])


def firings(text: str, zone: datetime.tzinfo, after: datetime.datetime) -> Iterator[datetime.datetime]:
    """When ``text``, read in ``zone``, fires after ``after`` (aware): aware times in ``zone``, without end.

    Raises:
        RegrowError: it never does, such as on February 30.
    """
    from croniter import CroniterError, croniter

    times = croniter(text, after.astimezone(zone), ret_type=datetime.datetime)
    while True:
        try:
            yield times.get_next()
        except CroniterError:
            raise RegrowError(f"cron '{text}' never fires, because no such date exists") from None


def to_kubeflow(text: str, *, zone: str, scheduler_zone: str, now: datetime.datetime) -> str:
    """The six fields for Kubeflow's scheduler in ``scheduler_zone`` that fire when ``text`` does in ``zone``.

    Args:
        text: five fields.
        zone: the time zone in which ``text`` is meant.
        scheduler_zone: the one that the scheduler reads it in.
        now: an aware time; the difference of the zones is taken at the first firing after it.

    Raises:
        RegrowError: no five fields, an unknown zone, or a time that no one expression says there.
    """
    fields, here, there = read_cron(text), read_zone(zone), read_zone(scheduler_zone)
    first = next(firings(text, here, now))
    minutes = round((_offset(first, there) - _offset(first, here)).total_seconds() / 60)
    moved = _moved(fields, minutes)
    if moved is None:
        raise RegrowError(
            f"cron '{text}' in {zone} cannot be converted to {scheduler_zone}, the zone of Kubeflow's "
            "scheduler, where it falls on other calendar days; choose another hour, split it into two "
            f"schedules, or run the scheduler with CRON_SCHEDULE_TIMEZONE={zone} and set scheduler_time_zone"
        )
    return f"0 {moved}"


def next_start(six: str, *, scheduler_zone: str, now: datetime.datetime) -> datetime.datetime:
    """When Kubeflow's scheduler, in ``scheduler_zone``, starts a run by its six fields next after ``now``; in UTC.

    Raises:
        RegrowError: not six fields that begin with second 0, which is what `to_kubeflow` writes.
    """
    second, _, five = six.partition(" ")
    if second != "0":
        raise RegrowError(f"cron '{six}' does not begin with second 0")
    read_cron(five)
    return next(firings(five, read_zone(scheduler_zone), now)).astimezone(datetime.UTC)


def _offset(moment: datetime.datetime, zone: datetime.tzinfo) -> datetime.timedelta:
    return moment.astimezone(zone).utcoffset() or datetime.timedelta()


def _moved(fields: Fields, minutes: int) -> Fields | None:
    """``fields`` moved by ``minutes``; None if one expression cannot say it."""
    if minutes == 0:
        return fields
    times = [
        divmod(60 * hour + minute + minutes, 24 * 60)
        for hour, minute in product(_values(fields, 1), _values(fields, 0))
    ]
    days = {day for day, _ in times}
    any_day = fields.day is ALL and fields.month is ALL and fields.weekday is ALL
    if not any_day and (len(days) > 1 or (days != {0} and not (fields.day is ALL and fields.month is ALL))):
        return None
    found = {divmod(time, 60) for _, time in times}
    hours, past = sorted({hour for hour, _ in found}), sorted({minute for _, minute in found})
    if len(found) != len(hours) * len(past):
        return None
    weekday = fields.weekday
    if weekday is not ALL and not any_day:
        weekday = tuple(sorted((number + min(days)) % 7 for number in weekday))
    return Fields(_whole(past, 0), _whole(hours, 1), fields.day, fields.month, weekday)


def _values(fields: Fields, number: int) -> Iterable[int]:
    given = (fields.minute, fields.hour)[number]
    return range(LOWEST[number], HIGHEST[number] + 1) if given is ALL else given


def _whole(values: list[int], number: int) -> tuple[int, ...] | None:
    return ALL if len(values) == HIGHEST[number] - LOWEST[number] + 1 else tuple(values)


def _field(values: tuple[int, ...] | None) -> str:
    """``1-5`` for a run of three and more, else the values with commas."""
    if values is ALL:
        return "*"
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    return ",".join(shown)
