"""Events, queries, tags, keys and coordinates between this library and real `serf agent`s."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
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
from tests.interop.processes import PATIENCE_S, Serf, ended_afterwards, require_program

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


async def until(condition: Callable[[], object], what: str) -> None:
    async def holds() -> bool:
        return bool(condition())

    await until_done(holds, what)


async def until_they(condition: Callable[[], object], what: str) -> None:
    """As `until`, of what a command has to be run for: on a thread, our member needs the loop."""

    async def holds() -> bool:
        return bool(await asyncio.to_thread(condition))

    await until_done(holds, what)


async def until_done(attempt: Callable[[], Awaitable[bool]], what: str) -> None:
    """Again until it succeeds: an answer that is late, or was lost, comes another time."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await attempt():  # noqa: ASYNC110 - what is awaited has no event of its own
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not within {PATIENCE_S:.0f} s: {what}")


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
            await until_they(lambda: len(serf.statuses()) == 2, "serf knows us")
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

            async def ours() -> bool:
                call = both.gossip.query("load", options=options)
                answers = {answer.member: answer.payload async for answer in call}
                return answers == {"them": b"0.7\n"} and call.acked == ["them"]

            async def theirs() -> bool:
                printed = await both.command("query", "-format=json", "-timeout=3s", "load")
                told = json.loads(printed)
                return sorted(told["Acks"]) == ["them", "us"] and told["Responses"] == {
                    "us": "0.2",
                    "them": "0.7\n",
                }

            async def filtered() -> bool:
                printed = await both.command(
                    "query", "-format=json", "-timeout=2s", "-tag=role=our.*", "load"
                )
                return bool(json.loads(printed)["Acks"] == ["us"])

            await until_done(ours, "they answer us")
            await until_done(theirs, "we answer them")
            await until_done(filtered, "only we answer what is for us")

    asyncio.run(scenario())


def test_reachability_is_confirmed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pool(3, tmp_path) as both:

            async def is_confirmed() -> bool:
                printed = await both.command("reachability")
                return "Successfully contacted all live nodes" in printed

            await until_done(is_confirmed, "all are reached")

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

            await until_they(
                lambda: ours() == {"role": "ours", "zone": "us"}, "our tag is seen there"
            )

    asyncio.run(scenario())


def test_a_key_is_rotated_by_either_side(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pool(5, tmp_path, key=OLD) as both:

            async def ours(operation: KeyOperation, key: bytes) -> bool:
                return (await both.gossip.change_keys(operation, key)).is_complete

            async def theirs(*arguments: str, says: str) -> bool:
                return says in await both.command("keys", *arguments)

            async def is_known_to_both() -> bool:
                listed = await both.command("keys", "-list")
                return key_text(NEW) in listed and key_text(OLD) not in listed and "[2/2]" in listed

            async def is_listed() -> bool:
                report = await both.gossip.change_keys(KeyOperation.LIST)
                return report.keys == {key_text(OLD): 2}

            for operation, key in (
                (KeyOperation.INSTALL, NEW),
                (KeyOperation.USE, NEW),
                (KeyOperation.REMOVE, OLD),
            ):
                await until_done(partial(ours, operation, key), f"{operation} by us")
            await until_done(is_known_to_both, "both have the new key")
            # And back, by them.
            for flag, key in (("-install", OLD), ("-use", OLD), ("-remove", NEW)):
                await until_done(partial(theirs, flag, key_text(key), says="Success"), flag)
            await until_done(is_listed, "both have the old key")
            await until_done(partial(theirs, "-remove", key_text(OLD), says="us"), "our refusal")

    asyncio.run(scenario())


def test_round_trips_are_estimated_on_both_sides(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pool(6, tmp_path) as both:
            await until(
                lambda: both.gossip.cached_coordinate(MemberName("them")),
                "we know where they are",
            )
            await until_they(
                lambda: "rtt:" in both.serf.command("rtt", "us"), "they know where we are"
            )

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
                await until_they(
                    lambda: both.serf.statuses().get("third") == "failed",
                    "it has failed",
                )
                both.gossip.force_leave(third)
                await until_they(lambda: both.serf.statuses().get("third") == "left", "it has left")
                both.gossip.force_leave(third, prune=True)
                await until_they(lambda: "third" not in both.serf.statuses(), "it is forgotten")

    asyncio.run(scenario())
