"""DNS names of other data centers: fetched, followed, and what is said while they are lost."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from random import Random

import pytest

from dnsserver import Lost, NodeAnswer, RemoteNode, ServicePool, ToFetch
from svcmesh import dnsnames
from svcmesh.catalog.changes import NodeBound, OwnNode, RecordChanged
from svcmesh.catalog.records import (
    Body,
    CheckRecord,
    HealthStatus,
    Kind,
    NodeId,
    NodeRecord,
    ServiceRecord,
)
from svcmesh.catalog.view import CatalogView
from svcmesh.datacenters import NoPathError, UnreachableError
from svcmesh.dnsnames import NODE, SERVICE
from svcmesh.errors import DecodeError
from svcmesh.rpc import RpcError
from svcmesh.runtime import remotenames
from svcmesh.runtime.offerednames import OfferedNames
from svcmesh.runtime.remotenames import RemoteNames

A = NodeId("aaaaaaaa-0000-0000-0000-000000000000")


class There:
    """dc2, as it is reached: a catalog, and the way to it."""

    def __init__(self) -> None:
        self.view = CatalogView(local_node_id=A, datacenter="dc2", index_start=1)
        self.put(Kind.NODE, "", NodeRecord("n1", "10.0.0.1", "dc2", meta={"k": "v"}))
        self.view.apply(NodeBound(A, "n1", is_alive=True))
        self.service("web-1", tags=("Blue",))
        self.is_ready = True
        self.names = OfferedNames(self.view, is_ready=lambda: self.is_ready, rng=Random(1))
        self.failure: Exception | None = None
        self.silent = False
        self.calls: list[tuple[str, object]] = []
        self.waiting: set[asyncio.Task[object]] = set()

    def put(self, kind: Kind, record_id: str, body: Body | None) -> None:
        self.view.apply(RecordChanged(OwnNode(A), kind, record_id, None, body))

    def service(self, record_id: str, *, tags: tuple[str, ...] = ()) -> None:
        record = ServiceRecord(
            id=record_id, name="Web", tags=tags, port=80, weight_passing=5, weight_warning=2
        )
        self.put(Kind.SERVICE, record_id, record)

    def check(self, status: HealthStatus) -> None:
        record = CheckRecord(id="c", name="c", status=status, service_id="web-1")
        self.put(Kind.CHECK, "c", record)

    async def call(
        self,
        datacenter: str,
        method: str,
        body: object,
        *,
        timeout_s: float,
        is_write: bool = False,
        waits_s: float = 0.0,
    ) -> object:
        self.calls.append((method, body))
        if datacenter != "dc2":
            raise NoPathError
        if self.failure is not None:
            raise self.failure
        if self.silent:
            await asyncio.Event().wait()
        task = asyncio.ensure_future(self.names.methods[method](body, timeout_s))
        self.waiting.add(task)  # type: ignore[arg-type]  # a coroutine it is
        try:
            return await task
        except asyncio.CancelledError:
            if self.failure is not None:
                raise self.failure from None
            raise
        finally:
            self.waiting.discard(task)  # type: ignore[arg-type]

    def cut(self, failure: Exception) -> None:
        """What is under way fails, and everything from now on."""
        self.failure = failure
        for task in self.waiting:
            task.cancel()


Scenario = Callable[[RemoteNames, There], Coroutine[None, None, None]]


def run(scenario: Scenario, *, only_passing: bool = False, max_stale_s: float = 60.0) -> None:
    async def main() -> None:
        there = There()
        names = RemoteNames(
            there, only_passing=only_passing, max_stale_s=max_stale_s, rng=Random(1)
        )
        async with asyncio.timeout(60):
            await scenario(names, there)
        await names.close()

    asyncio.run(main())


async def until(is_so: Callable[[], bool]) -> None:
    """The scenario's timeout ends it if it never is."""
    while not is_so():  # noqa: ASYNC110 -- what happens over there tells nobody here
        await asyncio.sleep(0.001)


async def web(names: RemoteNames, tag: str | None = None, datacenter: str = "dc2") -> object:
    """Ports, tags and such of the instances; what is not at hand is fetched."""
    found = names.service(datacenter, "WEB", tag)
    if isinstance(found, ToFetch):
        found = await found.fetch()
    if isinstance(found, Lost):
        return found
    return sorted((one.service, one.port, one.weight, one.tags) for one in found.instances())


def at_hand(names: RemoteNames, tag: str | None = None) -> int | None:
    found = names.service("dc2", "web", tag)
    return len(found) if isinstance(found, ServicePool) else None


BLUE = ("Web", 80, 5, ("Blue",))


def test_a_service_is_fetched_once_and_then_at_hand() -> None:
    async def scenario(names: RemoteNames, there: There) -> None:
        assert at_hand(names) is None
        first, second = await asyncio.gather(web(names), web(names))
        assert first == second == [BLUE]
        assert at_hand(names) == 1
        fetches = [body for _, body in there.calls if body[3] == 0.0]  # type: ignore[index]
        assert fetches == [["web", None, "", 0.0]]

    run(scenario)


def test_changes_over_there_arrive_by_themselves_and_end_what_was_made_from_the_old() -> None:
    async def scenario(names: RemoteNames, there: There) -> None:
        await web(names)
        found = names.service("dc2", "web", None)
        assert isinstance(found, ServicePool)
        stamp = found.stamp
        there.service("web-2")
        await until(lambda: at_hand(names) == 2)
        assert not stamp.is_current
        there.check(HealthStatus.CRITICAL)
        await until(lambda: at_hand(names) == 1)

    run(scenario)


@pytest.mark.parametrize(("only_passing", "expected"), [(False, [("Web", 80, 2)]), (True, [])])
def test_a_warning_counts_as_it_does_at_home(only_passing: bool, expected: object) -> None:
    async def scenario(names: RemoteNames, there: There) -> None:
        there.check(HealthStatus.WARNING)
        found = await web(names)
        assert isinstance(found, list)
        assert [one[:3] for one in found] == expected

    run(scenario, only_passing=only_passing)


@pytest.mark.parametrize(("tag", "count"), [("blue", 1), ("BLUE", 1), ("green", 0)])
def test_a_tag_chooses(tag: str, count: int) -> None:
    async def scenario(names: RemoteNames, _: There) -> None:
        found = await web(names, tag)
        assert isinstance(found, list)
        assert len(found) == count

    run(scenario)


def test_a_node_is_fetched_and_followed() -> None:
    async def scenario(names: RemoteNames, there: There) -> None:
        def node() -> NodeAnswer | None:
            found = names.node("DC2", "N1")
            return found.node if isinstance(found, RemoteNode) else None

        to_fetch = names.node("dc2", "n1")
        assert isinstance(to_fetch, ToFetch)
        await to_fetch.fetch()
        assert node() == NodeAnswer("n1", "10.0.0.1", {"k": "v"})
        there.put(Kind.NODE, "", NodeRecord("n1", "10.0.0.2", "dc2"))
        await until(lambda: (found := node()) is not None and found.address == "10.0.0.2")

    run(scenario)


def test_what_is_not_there_is_asked_for_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remotenames, "FRESH_S", 0.02)

    async def scenario(names: RemoteNames, _: There) -> None:
        assert await web(names, "green") == []
        assert at_hand(names, "green") == 0
        await until(lambda: at_hand(names, "green") is None)
        assert names.counters()["followed"] == 0

    run(scenario)


def test_an_unknown_data_center_and_a_silent_one_are_told_apart() -> None:
    async def scenario(names: RemoteNames, there: There) -> None:
        assert await web(names, datacenter="dc9") is Lost.UNKNOWN
        there.failure = UnreachableError()
        assert await web(names) is Lost.UNREACHABLE
        assert len(there.calls) == 2
        assert await web(names) is Lost.UNREACHABLE, "for a moment nobody asks again"
        assert len(there.calls) == 2

    run(scenario)


@pytest.mark.parametrize("failure", [UnreachableError(), RpcError("internal", "a bug")])
def test_a_followed_name_is_answered_as_last_known_while_the_other_side_is_lost(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remotenames, "RETRY_S", 0.01)

    async def scenario(names: RemoteNames, there: There) -> None:
        await web(names)
        await until(lambda: bool(there.waiting))
        there.cut(failure)
        await until(lambda: names.counters()["stale"] == 1)
        assert at_hand(names) == 1
        assert names.counters()["answered_stale"] >= 1
        there.service("web-2")
        there.failure = None
        await until(lambda: at_hand(names) == 2)
        assert names.counters()["stale"] == 0

    run(scenario)


def test_what_is_known_is_not_answered_for_longer_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remotenames, "RETRY_S", 0.01)

    async def scenario(names: RemoteNames, there: There) -> None:
        await web(names)
        found = names.service("dc2", "web", None)
        assert isinstance(found, ServicePool)
        await until(lambda: bool(there.waiting))
        there.cut(UnreachableError())
        await until(lambda: names.counters()["kept"] == 0)
        assert not found.stamp.is_current
        assert await web(names) is Lost.UNREACHABLE

    run(scenario, max_stale_s=0.05)


def test_nothing_stale_is_answered_if_that_is_not_allowed() -> None:
    async def scenario(names: RemoteNames, there: There) -> None:
        await web(names)
        await until(lambda: bool(there.waiting))
        there.cut(UnreachableError())
        await until(lambda: names.counters()["kept"] == 0)
        assert names.counters().get("answered_stale", 0) == 0

    run(scenario, max_stale_s=0.0)


def test_a_data_center_that_is_gone_takes_its_names_with_it() -> None:
    async def scenario(names: RemoteNames, there: There) -> None:
        await web(names)
        await until(lambda: bool(there.waiting))
        there.cut(NoPathError())
        await until(lambda: names.counters()["kept"] == 0)
        assert await web(names) is Lost.UNKNOWN

    run(scenario)


def test_a_name_that_nobody_asks_for_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotenames, "FOLLOW_WAIT_S", 0.01)

    async def scenario(names: RemoteNames, there: There) -> None:
        await web(names)
        found = names.service("dc2", "web", None)
        assert isinstance(found, ServicePool)
        await until(lambda: names.counters()["kept"] == 0)
        assert not found.stamp.is_current
        await until(lambda: not there.waiting)

    run(scenario)


def test_a_silent_data_center_takes_up_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotenames, "FETCHING_MAX", 3)
    monkeypatch.setattr(remotenames, "WAITING_MAX", 5)

    async def scenario(names: RemoteNames, there: There) -> None:
        there.silent = True

        async def ask(name: str, datacenter: str = "dc2") -> object:
            found = names.service(datacenter, name, None)
            assert isinstance(found, ToFetch)
            return await found.fetch()

        waiting = [asyncio.create_task(ask(f"s{number}")) for number in range(3)]
        await asyncio.sleep(0)
        assert await ask("s4") is Lost.UNREACHABLE, "too many names"
        waiting += [asyncio.create_task(ask("s1")) for _ in range(2)]
        await asyncio.sleep(0)
        assert await ask("s1") is Lost.UNREACHABLE, "too many queries"
        assert await ask("web", "dc9") is Lost.UNKNOWN, "others are not held up"
        for task in waiting:
            task.cancel()

    run(scenario)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotenames, "KEPT_MAX", 4)
    monkeypatch.setattr(remotenames, "FOLLOWED_MAX", 2)

    async def scenario(names: RemoteNames, there: There) -> None:
        for number in range(10):
            record = ServiceRecord(id=f"s{number}", name=f"s{number}", port=1)
            there.put(Kind.SERVICE, record.id, record)
            found = names.service("dc2", record.name, None)
            assert isinstance(found, ToFetch)
            await found.fetch()
        counters = names.counters()
        assert counters["kept"] == 4
        assert counters["followed"] <= 2

    run(scenario)


def test_a_large_service_is_told_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svcmesh.runtime.offerednames.INSTANCES_MAX", 7)

    async def scenario(names: RemoteNames, there: There) -> None:
        for number in range(20):
            there.service(f"web-{number}")
        found = await web(names)
        assert isinstance(found, list)
        assert len(found) == 7

    run(scenario)


def test_a_server_that_is_not_in_sync_leaves_the_answer_to_another() -> None:
    async def scenario(names: RemoteNames, there: There) -> None:
        there.is_ready = False
        with pytest.raises(RpcError) as refused:
            await there.call("dc2", SERVICE, ["nope", None, "", 0.0], timeout_s=1.0)
        assert refused.value.code == "unreachable"
        assert await web(names) == [BLUE], "what it knows it says"

    run(scenario)


def test_a_version_of_another_server_does_not_wait() -> None:
    async def scenario(_: RemoteNames, there: There) -> None:
        other = OfferedNames(there.view, is_ready=lambda: True, rng=Random(1))
        body = ["web", None, "", 0.0]
        version, _instances = await other.methods[SERVICE](body, 1.0)
        answer = await there.call("dc2", SERVICE, ["web", None, version, 600.0], timeout_s=600.0)
        assert isinstance(answer, list)
        assert answer[0] != version

    run(scenario)


@pytest.mark.parametrize(
    "body", [None, [], ["web"], ["web", 1, "", 0.0], ["w" * 256, None, "", 0.0], [b"web"] * 4]
)
def test_what_asks_for_no_name_is_refused(body: object) -> None:
    async def scenario(_: RemoteNames, there: There) -> None:
        for method in (SERVICE, NODE):
            with pytest.raises(RpcError) as refused:
                await there.call("dc2", method, body, timeout_s=1.0)
            assert refused.value.code == "refused"

    run(scenario)


GOOD = ["n1", "10.0.0.1", {}, "", ""]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        [1, []],
        ["v", None],
        ["v" * 65, []],
        ["v", [GOOD]],
        ["v", [[GOOD, "web", "", 70_000, 1, [], "", "", True]]],
        ["v", [[GOOD, "web", "", 80, -1, [], "", "", True]]],
        ["v", [[GOOD, "web", "", 80, 1, [b"x"], "", "", True]]],
        ["v", [[["n1", "10.0.0.1", {"k": 1}, "", ""], "web", "", 80, 1, [], "", "", True]]],
        ["v", [[GOOD, "web", "", 80, 1, [], "", "", True]] * (dnsnames.INSTANCES_MAX + 1)],
    ],
)
def test_an_answer_of_no_form_is_a_failure_like_any_other(answer: object) -> None:
    with pytest.raises(DecodeError):
        dnsnames.unpack_service_untrusted(answer)

    async def scenario(names: RemoteNames, there: There) -> None:
        async def say(_: object, __: float) -> object:
            return answer

        methods: Mapping[str, Callable[..., Coroutine[None, None, object]]] = {SERVICE: say}
        there.names = type("Names", (), {"methods": methods})()
        assert await web(names) is Lost.UNREACHABLE

    run(scenario)
