"""Events, queries, keys and forced leaves between members on real sockets."""

import asyncio
from collections.abc import Sequence

import pytest

from gossip import (
    Event,
    KeyOperation,
    MemberName,
    MemberStatus,
    QueryAnswer,
    QueryOptions,
    QueryReceived,
    StateError,
    UserEventReceived,
)
from tests.gossip.driver.pool import Witness, started, until

OLD, NEW = b"o" * 16, b"n" * 32


async def join_all(first: Witness, *others: Witness) -> None:
    for other in others:
        await other.gossip.join([first.where])
    everybody = [first, *others]
    await until(lambda: all(len(m.gossip.members()) == len(everybody) for m in everybody))


def answering(witness: Witness, payload: bytes) -> None:
    """Have a member answer every query it hears."""

    def on_event(event: Event) -> None:
        if isinstance(event, QueryReceived):
            witness.gossip.respond(event.query, payload)

    witness.on_event = on_event


def test_a_user_event_reaches_everybody() -> None:
    async def scenario() -> None:
        async with started("a", host="127.0.0.1") as a, started("b", host="127.0.0.2") as b:
            await join_all(a, b)
            ltime = b.gossip.user_event("deploy", b"v1")
            expected = [UserEventReceived("deploy", b"v1", ltime)]
            await until(lambda: a.of(UserEventReceived) == expected)
            assert b.of(UserEventReceived) == expected

    asyncio.run(scenario())


def test_a_query_is_answered_by_those_it_is_for() -> None:
    async def scenario() -> None:
        async with (
            started("a", host="127.0.0.1", keys=[OLD]) as a,
            started("b", host="127.0.0.2", keys=[OLD], tags={"role": "db"}) as b,
            started("c", host="127.0.0.3", keys=[OLD], tags={"role": "web"}) as c,
        ):
            await join_all(a, b, c)
            for witness in (a, b, c):
                answering(witness, witness.gossip.local.name.encode())
            options = QueryOptions(tags={"role": "^db$"}, wants_acks=True, timeout_s=1.0)
            call = a.gossip.query("load", options=options)
            assert [answer async for answer in call] == [QueryAnswer(MemberName("b"), b"b")]
            assert call.acked == ["b"]
            call = b.gossip.query("load", options=QueryOptions(timeout_s=1.0))
            answers = {answer.member: answer.payload for answer in await call.finished()}
            assert answers == {"a": b"a", "b": b"b", "c": b"c"}

    asyncio.run(scenario())


def test_whoever_has_heard_enough_need_not_wait() -> None:
    async def scenario() -> None:
        async with started("a", host="127.0.0.1") as a:
            answering(a, b"x")
            call = a.gossip.query("load", options=QueryOptions(timeout_s=600))
            async for answer in call:
                assert answer.payload == b"x"
                call.close()

    asyncio.run(scenario())


def test_a_call_ends_with_its_member() -> None:
    async def scenario() -> None:
        async with started("a", host="127.0.0.1") as a:
            call = a.gossip.query("load", options=QueryOptions(timeout_s=600))
            waiting = asyncio.create_task(call.finished())
            await asyncio.sleep(0)
            await a.gossip.close()
            assert await waiting == []
            with pytest.raises(StateError):
                a.gossip.query("load")

    asyncio.run(scenario())


def test_keys_are_rotated_across_the_pool() -> None:
    async def scenario() -> None:
        saved: list[list[bytes]] = []

        async def save(keys: Sequence[bytes]) -> None:
            saved.append([*keys])

        async with (
            started("a", host="127.0.0.1", keys=[OLD], save_keys=save) as a,
            started("b", host="127.0.0.2", keys=[OLD]) as b,
            started("c", host="127.0.0.3", keys=[OLD]) as c,
        ):
            await join_all(a, b, c)
            for operation, key in (
                (KeyOperation.INSTALL, NEW),
                (KeyOperation.USE, NEW),
                (KeyOperation.REMOVE, OLD),
            ):
                report = await b.gossip.change_keys(operation, key)
                assert (report.members, report.answers, report.failures) == (3, 3, {})
            report = await c.gossip.change_keys(KeyOperation.LIST)
            assert report.is_complete
            assert list(report.keys.values()) == [3]
            assert report.keys == report.primary_keys
            assert saved == [[OLD, NEW], [NEW, OLD], [NEW]]
            # The new key is what they talk with.
            ltime = a.gossip.user_event("after", b"")
            await until(lambda: c.of(UserEventReceived) == [UserEventReceived("after", b"", ltime)])

    asyncio.run(scenario())


def test_a_member_that_refuses_is_named() -> None:
    async def scenario() -> None:
        async with (
            started("a", host="127.0.0.1", keys=[OLD, NEW]) as a,
            started("b", host="127.0.0.2", keys=[OLD]) as b,
        ):
            await join_all(a, b)
            report = await a.gossip.change_keys(KeyOperation.USE, NEW)
            assert (report.answers, list(report.failures)) == (2, ["b"])
            # Nobody has switched: b would not understand the others any more.
            listed = await b.gossip.change_keys(KeyOperation.LIST)
            assert list(listed.primary_keys.values()) == [2]
            report = await a.gossip.change_keys(KeyOperation.REMOVE, OLD)
            assert "primary" in report.failures[MemberName("b")]
            assert not report.is_complete

    asyncio.run(scenario())


def test_a_keyring_that_cannot_be_saved_stays_as_it_was() -> None:
    async def scenario() -> None:
        async def save(_keys: Sequence[bytes]) -> None:
            raise OSError("disk full")

        async with started("a", host="127.0.0.1", keys=[OLD], save_keys=save) as a:
            report = await a.gossip.change_keys(KeyOperation.INSTALL, NEW)
            assert "disk full" in report.failures[MemberName("a")]
            listed = await a.gossip.change_keys(KeyOperation.LIST)
            assert len(listed.keys) == 1

    asyncio.run(scenario())


def test_keys_cannot_be_changed_where_there_is_no_encryption() -> None:
    async def scenario() -> None:
        async with started("a", host="127.0.0.1") as a:
            report = await a.gossip.change_keys(KeyOperation.LIST)
            assert "encryption not enabled" in report.failures[MemberName("a")]

    asyncio.run(scenario())


def test_a_failed_member_can_be_made_left_or_forgotten() -> None:
    async def scenario() -> None:
        async with started("a", host="127.0.0.1") as a, started("b", host="127.0.0.2") as b:
            async with started("c", host="127.0.0.3") as c:
                await join_all(a, b, c)
            await until(lambda: b.statuses().get("c") is MemberStatus.FAILED)
            await until(lambda: a.statuses().get("c") is MemberStatus.FAILED)
            a.gossip.force_leave(MemberName("c"))
            assert a.statuses()["c"] is MemberStatus.LEFT
            await until(lambda: b.statuses().get("c") is MemberStatus.LEFT)
            b.gossip.force_leave(MemberName("c"), prune=True)
            assert "c" not in b.statuses()
            await until(lambda: "c" not in a.statuses())

    asyncio.run(scenario())


def test_a_member_that_is_alive_denies_that_it_leaves() -> None:
    async def scenario() -> None:
        async with started("a", host="127.0.0.1") as a, started("b", host="127.0.0.2") as b:
            await join_all(a, b)
            a.gossip.force_leave(MemberName("b"))
            assert a.statuses()["b"] is MemberStatus.LEAVING
            await until(lambda: a.statuses()["b"] is MemberStatus.ALIVE)

    asyncio.run(scenario())


def test_a_restarted_member_hears_what_it_missed_and_nothing_twice() -> None:
    async def scenario() -> None:
        async with started("a", host="127.0.0.1") as a:
            async with started("b", host="127.0.0.2") as b:
                await join_all(a, b)
                a.gossip.user_event("deploy", b"before")
                await until(lambda: b.of(UserEventReceived))
                clocks = b.gossip.clocks
            ltime = a.gossip.user_event("deploy", b"missed")
            async with started("b", host="127.0.0.2", incarnation=2, clocks=clocks) as b:
                await b.gossip.join([a.where], replay=True)
                missed = UserEventReceived("deploy", b"missed", ltime)
                assert b.of(UserEventReceived) == [missed]
            async with started("c", host="127.0.0.3") as c:
                await c.gossip.join([a.where])
                assert c.of(UserEventReceived) == []
                # Its clock has caught up: what it says is news to the others.
                assert c.gossip.user_event("new", b"") > ltime
                await until(lambda: len(a.of(UserEventReceived)) == 3)

    asyncio.run(scenario())
