"""What the file says is what the server holds, whatever was there and whenever we were interrupted."""

import copy
import datetime
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from regrow_pipelines.connection import ApiError
from regrow_pipelines.reconciling import apply, ours, plan
from regrow_pipelines.schedules import Desired
from regrow_pipelines.submitting import Package

from .kfp_server import KubeflowServer

SPEC = """pipelineInfo: {name: tiny}
root: {inputDefinitions: {parameters: {code_version: {parameterType: STRING}, prune_params: {parameterType: STRING}}}}
"""
SETTINGS = types.SimpleNamespace(experiment="regrow", service_account="robot", pipeline_root=None)
WHEN = datetime.datetime(2027, 1, 11, 2, 30, tzinfo=datetime.UTC)
Connect = Callable[..., Any]


def wanted(name: str = "nightly", *, enabled: bool = True, params: str = "{}", **changes: Any) -> Desired:
    packed = Package(
        text=f"{SPEC}# {params}\n",
        pipeline="tiny",
        version=f"v{abs(hash(params))}",
        arguments={"code_version": "c0de", "prune_params": params},
    )
    item = Desired(
        name=name,
        cron="0 30 2 * * *",
        enabled=enabled,
        settings=SETTINGS,
        packed=packed,
        concurrency=1,
        catch_up=False,
        next_start=WHEN,
    )
    return replace(item, **changes)


def reconcile(api: Any, *items: Desired, owner: str = "regrow", delete: bool = False) -> list[str]:
    steps = plan(items, ours(api.recurring_runs()), owner=owner, delete=delete)
    apply(api, steps, owner=owner, report=lambda _: None)
    return [f"{step.verb} {step.name}" for step in steps]


def enabled(server: KubeflowServer) -> list[str]:
    return [item.display_name for item in server.recurring.values() if item.mode == "ENABLE"]


@pytest.fixture
def once(server: KubeflowServer) -> Iterator[KubeflowServer]:
    """The server, on which after each request at most one of a name has been enabled."""
    seen: list[list[str]] = []
    server.watch = lambda: seen.append(enabled(server))
    yield server
    assert seen
    assert all(len(names) == len(set(names)) for names in seen)


def test_a_second_time_nothing_happens(server: KubeflowServer, connect: Connect) -> None:
    items = wanted(), wanted("weekly", enabled=False, cron="0 0 5 * * 1")
    assert reconcile(connect(), *items) == ["create nightly", "create weekly"]
    nightly, weekly = server.recurring.values()
    assert (nightly.mode, weekly.mode) == ("ENABLE", "DISABLE")
    assert (nightly.max_concurrency, nightly.no_catchup, nightly.service_account) == ("1", True, "robot")
    assert nightly.trigger.cron_schedule.cron == "0 30 2 * * *"
    assert nightly.runtime_config.parameters["prune_params"] == "{}"
    before = len(server.requests)
    assert reconcile(connect(), *items) == ["keep nightly", "keep weekly"]
    assert {method for method, _ in server.requests[before:]} == {"GET"}


@pytest.mark.parametrize(
    "changes",
    [
        {"cron": "0 0 3 * * *"},
        {"concurrency": 2},
        {"catch_up": True},
        {"settings": types.SimpleNamespace(experiment="other", service_account="robot", pipeline_root=None)},
        {"settings": types.SimpleNamespace(experiment="regrow", service_account="r2", pipeline_root=None)},
        {"params": '{"sparsity":0.9}'},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_change_makes_a_new_one(once: KubeflowServer, connect: Connect, changes: dict[str, Any]) -> None:
    reconcile(connect(), wanted())
    (old,) = once.recurring
    assert reconcile(connect(), wanted(**changes)) == ["replace nightly"]
    (new,) = once.recurring
    assert new != old
    assert enabled(once) == ["regrow-nightly"]
    assert reconcile(connect(), wanted(**changes)) == ["keep nightly"]


def test_enabling_keeps_the_recurring_run(server: KubeflowServer, connect: Connect) -> None:
    reconcile(connect(), wanted())
    before = list(server.recurring)
    assert reconcile(connect(), wanted(enabled=False)) == ["disable nightly"]
    assert enabled(server) == []
    assert reconcile(connect(), wanted()) == ["enable nightly"]
    assert list(server.recurring) == before


def test_one_disabled_by_hand_is_enabled_again(server: KubeflowServer, connect: Connect) -> None:
    reconcile(connect(), wanted())
    next(iter(server.recurring.values())).mode = "DISABLE"
    assert reconcile(connect(), wanted()) == ["enable nightly"]


def test_what_differs_from_its_marker_is_replaced(server: KubeflowServer, connect: Connect) -> None:
    reconcile(connect(), wanted())
    next(iter(server.recurring.values())).trigger.cron_schedule.cron = "0 0 0 * * *"
    assert reconcile(connect(), wanted()) == ["replace nightly"]
    assert [item.trigger.cron_schedule.cron for item in server.recurring.values()] == ["0 30 2 * * *"]


def test_others_are_left_alone(server: KubeflowServer, connect: Connect) -> None:
    api = connect()
    reconcile(api, wanted(), owner="colleague")
    by_hand = next(iter(server.recurring.values()))
    by_hand.description = "mine, by hand"
    reconcile(api, wanted(), owner="colleague")
    assert reconcile(api, wanted("weekly"), delete=True) == ["create weekly"]
    assert reconcile(api, delete=True) == ["delete weekly"]
    assert sorted(enabled(server)) == ["colleague-nightly", "colleague-nightly"]


def test_what_is_not_in_the_file_goes_only_when_asked(server: KubeflowServer, connect: Connect) -> None:
    api = connect()
    reconcile(api, wanted(), wanted("weekly"))
    assert reconcile(api, wanted()) == ["keep nightly", "leave weekly"]
    assert len(server.recurring) == 2
    assert reconcile(api, wanted(), delete=True) == ["keep nightly", "delete weekly"]
    assert enabled(server) == ["regrow-nightly"]


def test_two_at_once_make_one(once: KubeflowServer, connect: Connect) -> None:
    api = connect()
    steps = plan([wanted()], [], owner="regrow", delete=False)
    for _ in range(2):  # neither has seen the other
        apply(api, steps, owner="regrow", report=lambda _: None)
    assert enabled(once) == ["regrow-nightly"]
    assert len(once.recurring) == 1


def test_duplicates_are_tidied(server: KubeflowServer, connect: Connect) -> None:
    reconcile(connect(), wanted())
    (first,) = server.recurring.values()
    second = copy.deepcopy(first)
    second.recurring_run_id = "second"
    server.recurring["second"] = second
    assert reconcile(connect(), wanted()) == ["tidy nightly"]
    assert len(server.recurring) == 1
    assert enabled(server) == ["regrow-nightly"]


def test_a_run_that_goes_on_outlives_its_replaced_schedule(server: KubeflowServer, connect: Connect) -> None:
    reconcile(connect(), wanted())
    (old,) = server.recurring
    server.runs["r1"] = types.SimpleNamespace(recurring_run_id=old, state="RUNNING")
    reconcile(connect(), wanted(cron="0 0 3 * * *"))
    assert old not in server.recurring
    assert server.runs["r1"].state == "RUNNING"


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("before", [True, False], ids=["asked-not", "answer-lost"])
def test_an_interruption_anywhere_is_put_right(once: KubeflowServer, connect: Connect, before: bool) -> None:
    """A crash at the first change, at the second, ...: the next time all is as it should be."""
    new, crashes = '{"sparsity":0.9}', 0
    for point in range(20):
        once.recurring.clear()
        reconcile(connect(), wanted())
        api = connect()
        api._recurring = _Fragile(api._recurring, point, before)
        try:
            reconcile(api, wanted(params=new))
        except Crash:
            crashes += 1
        else:
            break
        reconcile(connect(), wanted(params=new))
        (left,) = once.recurring.values()
        assert left.mode == "ENABLE"
        assert left.runtime_config.parameters["prune_params"] == new
    assert crashes == 4  # create, disable, enable, delete


class _Fragile:
    """A service whose change number ``point`` ends the process, before or after it is done."""

    def __init__(self, service: Any, point: int, before: bool) -> None:
        self.service, self.left, self.before = service, point, before

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.service, name)
        if "_list_" in name:
            return function

        def call(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left < 0 and self.before:
                raise Crash
            answer = function(*args, **options)
            if self.left < 0:
                raise Crash
            return answer

        return call


def test_one_that_cannot_be_enabled_leaves_the_old_one_enabled(
    server: KubeflowServer, connect: Connect
) -> None:
    reconcile(connect(), wanted())
    server.fail("POST", ":enable$", 400)
    with pytest.raises(ApiError, match="cannot enable the schedule"):
        reconcile(connect(), wanted(cron="0 0 3 * * *"))
    (old,) = [item for item in server.recurring.values() if item.mode == "ENABLE"]
    assert old.trigger.cron_schedule.cron == "0 30 2 * * *"
    assert reconcile(connect(), wanted(cron="0 0 3 * * *")) == ["enable nightly"]
    assert len(server.recurring) == 1


@pytest.mark.parametrize("kind", ["lose", "drop", 503])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/recurringruns$"), ("POST", ":enable$"), ("POST", ":disable$"), ("DELETE", "/recurringruns/")],
)
def test_a_lost_answer_changes_nothing(
    once: KubeflowServer, connect: Connect, method: str, path: str, kind: int | str
) -> None:
    reconcile(connect(), wanted())
    once.fail(method, path, kind)
    assert reconcile(connect(), wanted(cron="0 0 3 * * *")) == ["replace nightly"]
    (left,) = once.recurring.values()
    assert (left.mode, left.trigger.cron_schedule.cron) == ("ENABLE", "0 0 3 * * *")


def test_a_schedule_that_the_server_refuses_is_named(server: KubeflowServer, connect: Connect) -> None:
    with pytest.raises(ApiError, match=r"create the schedule 'regrow-nightly': .*cron: 0 3 \* \* \*"):
        reconcile(connect(), wanted(cron="0 3 * * *"))
