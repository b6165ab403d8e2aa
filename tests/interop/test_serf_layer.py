"""Events, queries, tags, keys and coordinates between this library and real `serf agent`s."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gossip import (
    Address,
    Event,
    Gossip,
    GossipConfig,
    Incarnation,
    KeyOperation,
    Keyring,
    MemberName,
    QueryOptions,
    QueryReceived,
    UserEventReceived,
)
from tests.interop.processes import Serf, ended_afterwards, require_program

pytestmark = pytest.mark.interop

OLD, NEW = b"o" * 32, b"n" * 32


def key_text(key: bytes) -> str:
    return base64.b64encode(key).decode()


class Pool:
    """One member of ours, `us`, and one `serf agent`, `them`."""

    gossip: Gossip

    def __init__(self, serf: Serf) -> None:
        self.serf = serf
        self.events: list[Event] = []
        self.answer: bytes | None = None

    def take(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, QueryReceived) and self.answer is not None:
            self.gossip.respond(event.query, self.answer)

    async def command(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.serf.command, *arguments)


async def until(condition: Callable[[], object], what: str, *, within_s: float = 15.0) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - what is awaited has no event of its own
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not within {within_s:.0f} s: {what}")


@asynccontextmanager
async def pool(
    number: int, folder: Path, *serf_flags: str, key: bytes | None = None
) -> AsyncIterator[Pool]:
    """Pools of different numbers may run side by side."""
    require_program("serf")
    ours, theirs = f"127.0.{60 + number}.1", f"127.0.{60 + number}.2"
    flags = [*serf_flags, "-tag=role=serf"]
    if key is not None:
        flags.append(f"-encrypt={key_text(key)}")
    serf = Serf("them", theirs, folder, *flags)
    with ended_afterwards(serf):
        await asyncio.to_thread(serf.wait_until_up)
        both = Pool(serf)
        both.gossip = await Gossip.create(
            GossipConfig(),
            name=MemberName("us"),
            bind=Address(ours, 8301),
            tags={"role": "ours"},
            incarnation=Incarnation(1),
            keyring=None if key is None else Keyring([key]),
            on_event=both.take,
        )
        try:
            result = await both.gossip.join([f"{theirs}:8301"])
            assert result.contacted == 1, result.errors
            await until(lambda: len(serf.statuses()) == 2, "serf knows us")
            yield both
        finally:
            await both.gossip.close()


def test_user_events_both_ways(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    handler = f"-event-handler=user:deploy=cat >> {heard}; echo >> {heard}"

    async def scenario() -> None:
        async with pool(1, tmp_path, handler) as both:
            await both.command("event", "-coalesce=false", "restart", "from them")
            await until(
                lambda: any(
                    isinstance(event, UserEventReceived)
                    and (event.name, event.payload) == ("restart", b"from them")
                    for event in both.events
                ),
                "their event is told here",
            )
            both.gossip.user_event("deploy", b"from us")
            await until(
                lambda: heard.exists() and "from us" in heard.read_text(),
                "our event runs their handler",
            )

    asyncio.run(scenario())


def test_queries_both_ways(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pool(2, tmp_path, "-event-handler=query:load=echo 0.7") as both:
            both.answer = b"0.2"
            options = QueryOptions(wants_acks=True, tags={"role": "^serf$"}, relay_factor=1)
            call = both.gossip.query("load", options=options)
            answers = {answer.member: answer.payload async for answer in call}
            assert answers == {"them": b"0.7\n"}
            assert call.acked == ["them"]
            printed = await both.command("query", "-format=json", "-timeout=3s", "load")
            told = json.loads(printed)
            assert sorted(told["Acks"]) == ["them", "us"]
            assert told["Responses"] == {"us": "0.2", "them": "0.7\n"}
            filtered = await both.command(
                "query", "-format=json", "-timeout=2s", "-tag=role=our.*", "load"
            )
            assert json.loads(filtered)["Acks"] == ["us"]

    asyncio.run(scenario())


def test_reachability_is_confirmed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pool(3, tmp_path) as both:
            printed = await both.command("reachability")
            assert "Successfully contacted all live nodes" in printed

    asyncio.run(scenario())


def test_tags_change_on_both_sides(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pool(4, tmp_path) as both:
            await both.command("tags", "-set", "zone=eu")
            await until(
                lambda: (
                    both.gossip.member(MemberName("them")).tags  # type: ignore[union-attr]  # it has joined
                    == {"role": "serf", "zone": "eu"}
                ),
                "their new tag is seen here",
            )
            both.gossip.set_tags({"role": "ours", "zone": "us"})

            def ours() -> dict[str, str]:
                members = json.loads(both.serf.command("members", "-format=json"))["members"]
                return next(member["tags"] for member in members if member["name"] == "us")

            await until(lambda: ours() == {"role": "ours", "zone": "us"}, "our tag is seen there")

    asyncio.run(scenario())


def test_a_key_is_rotated_by_either_side(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pool(5, tmp_path, key=OLD) as both:
            for operation, key in (
                (KeyOperation.INSTALL, NEW),
                (KeyOperation.USE, NEW),
                (KeyOperation.REMOVE, OLD),
            ):
                report = await both.gossip.change_keys(operation, key)
                assert report.is_complete, report
            listed = await both.command("keys", "-list")
            assert key_text(NEW) in listed
            assert key_text(OLD) not in listed
            assert "[2/2]" in listed
            # And back, by them.
            for flag, key in (("-install", OLD), ("-use", OLD), ("-remove", NEW)):
                assert "Success" in await both.command("keys", flag, key_text(key))
            report = await both.gossip.change_keys(KeyOperation.LIST)
            assert report.keys == {key_text(OLD): 2}
            refused = await both.command("keys", "-remove", key_text(OLD))
            assert "us" in refused

    asyncio.run(scenario())


def test_round_trips_are_estimated_on_both_sides(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pool(6, tmp_path) as both:
            await until(
                lambda: both.gossip.cached_coordinate(MemberName("them")),
                "we know where they are",
            )
            await until(lambda: "rtt:" in both.serf.command("rtt", "us"), "they know where we are")

    asyncio.run(scenario())


def test_a_killed_serf_is_made_left_by_force(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pool(7, tmp_path) as both:
            other = Serf("third", "127.0.67.3", tmp_path)
            with ended_afterwards(other):
                await asyncio.to_thread(other.wait_until_up)
                await both.command("join", "127.0.67.3:8301")
                await until(lambda: len(both.gossip.members()) == 3, "three members")
                other.kill()
                third = MemberName("third")
                await until(
                    lambda: both.serf.statuses().get("third") == "failed",
                    "it has failed",
                    within_s=40,
                )
                both.gossip.force_leave(third)
                await until(lambda: both.serf.statuses().get("third") == "left", "it has left")
                both.gossip.force_leave(third, prune=True)
                await until(lambda: "third" not in both.serf.statuses(), "it is forgotten")

    asyncio.run(scenario())
