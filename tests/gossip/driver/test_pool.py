"""Members on real sockets find, tell and lose each other."""

import asyncio
import gc
import socket
from typing import Any

import pytest

from gossip import (
    Address,
    ConfigError,
    Gossip,
    Incarnation,
    LeaveFinished,
    MemberFailed,
    MemberJoined,
    MemberName,
    MemberStatus,
    StateError,
    UserPayloadReceived,
)
from tests.gossip.driver.pool import (
    FAST,
    FAST_LABELLED,
    FAST_UNACQUAINTED,
    Witness,
    needs_ipv6,
    open_descriptors,
    started,
    until,
)

ALIVE = MemberStatus.ALIVE


def joined(*members: Witness) -> bool:
    everybody = {m.gossip.local.name: ALIVE for m in members}
    return all(m.statuses() == everybody for m in members)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"keys": [b"k" * 16]},
        {"keys": [b"k" * 32], "config": FAST_LABELLED},
        {"compress": True},
        {"compress": True, "keys": [b"k" * 24]},
    ],
    ids=["plain", "encrypted", "encrypted and labelled", "compressed", "compressed and encrypted"],
)
def test_three_members_find_each_other(settings: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with (
            started("a", host="127.0.0.1", **settings) as a,
            started("b", host="127.0.0.2", tags={"role": "db"}, **settings) as b,
            started("c", host="127.0.0.3", **settings) as c,
        ):
            first = await b.gossip.join([a.where])
            second = await c.gossip.join([a.where])
            await until(lambda: joined(a, b, c))

            assert (first.contacted, first.errors) == (1, ())
            assert (second.contacted, second.errors) == (1, ())
            seen = c.gossip.member(MemberName("b"))
            assert seen is not None
            assert (seen.tags, str(seen.address)) == ({"role": "db"}, b.where)
            assert {e.member.name for e in a.events if isinstance(e, MemberJoined)} >= {"b", "c"}
            assert not any(key.startswith("dropped.") for key in a.gossip.counters)

    asyncio.run(scenario())


def test_a_member_that_stops_answering_fails_everywhere() -> None:
    async def scenario() -> None:
        async with started("a") as a, started("b") as b, started("c") as c:
            await a.gossip.join([b.where, c.where])
            await until(lambda: joined(a, b, c))
            await c.gossip.close()
            await until(lambda: a.statuses()["c"] is b.statuses()["c"] is MemberStatus.FAILED)

            for survivor in (a, b):
                failed = [e.member.name for e in survivor.events if isinstance(e, MemberFailed)]
                assert failed == ["c"]

    asyncio.run(scenario())


def test_a_member_that_leaves_is_left_on_the_others_and_hears_that_it_finished() -> None:
    async def scenario() -> None:
        async with started("a") as a, started("b") as b:
            await b.gossip.join([a.where])
            await until(lambda: joined(a, b))
            await b.gossip.leave()
            await until(lambda: a.statuses()["b"] is MemberStatus.LEFT)

            assert len(b.of(LeaveFinished)) == 1
            with pytest.raises(StateError):
                await b.gossip.join([a.where])

    asyncio.run(scenario())


def test_changed_tags_reach_the_others() -> None:
    async def scenario() -> None:
        async with started("a") as a, started("b") as b:
            await b.gossip.join([a.where])
            b.gossip.set_tags({"role": "new"})
            await until(lambda: a.gossip.members()[1].tags == {"role": "new"})
            with pytest.raises(ConfigError):
                b.gossip.set_tags({"role": "x" * 600})

            assert b.gossip.local.tags == {"role": "new"}
            assert b.gossip.incarnation == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [2, 1300, 1371, 1372, 1400, 70_000, 1_000_000])
def test_a_payload_of_any_size_arrives_unchanged(size: int) -> None:
    payload = (b"\x80" + bytes(range(256)) * 4000)[:size]

    async def scenario() -> None:
        settings: dict[str, Any] = {"keys": [b"k" * 16], "config": FAST_UNACQUAINTED}
        async with started("a", **settings) as a, started("b", **settings) as b:
            await b.gossip.join([a.where])
            await until(lambda: joined(a, b))
            streams_before = a.gossip.counters["streams_in"]
            b.gossip.send_payload(MemberName("a"), payload)
            await until(lambda: a.of(UserPayloadReceived))

            (received,) = (e for e in a.events if isinstance(e, UserPayloadReceived))
            assert received.payload == payload
            # 29 bytes of encryption and the type byte go into a datagram of 1400 too.
            by_stream = a.gossip.counters["streams_in"] > streams_before
            assert by_stream == (size > 1370)

    asyncio.run(scenario())


def test_more_large_payloads_than_may_be_in_flight_are_dropped_and_counted() -> None:
    async def scenario() -> None:
        async with started("a") as a, started("b") as b:
            await b.gossip.join([a.where])
            await until(lambda: joined(a, b))
            for _ in range(70):
                b.gossip.send_payload(MemberName("a"), b"\xff" * 2000)
            await until(lambda: len(a.of(UserPayloadReceived)) == 64)

            assert b.gossip.counters["dropped.payloads-in-flight"] == 6

    asyncio.run(scenario())


def test_payloads_that_nobody_may_get_are_refused_or_counted() -> None:
    async def scenario() -> None:
        async with started("a") as a:
            a.gossip.send_payload(MemberName("nobody"), b"\x80")
            with pytest.raises(ValueError, match="0x80"):
                a.gossip.send_payload(MemberName("a"), b"\x05hello")
            with pytest.raises(ValueError, match="at most"):
                a.gossip.send_payload(MemberName("a"), b"\x80" * (20 * 1024 * 1024 + 1))

            assert a.gossip.counters["dropped.payload-for-nobody"] == 1

    asyncio.run(scenario())


def test_a_refused_join_says_so_as_the_reference_does() -> None:
    async def scenario() -> None:
        async with started("a") as a:
            result = await a.gossip.join(["127.0.0.77:1", "127.0.0.78:1", "", "host:port", "::1"])

            assert result.contacted == 0
            assert result.errors == (
                ("127.0.0.77", "dial tcp 127.0.0.77:1: connect: connection refused"),
                ("127.0.0.78", "dial tcp 127.0.0.78:1: connect: connection refused"),
                ("", "no host in ''"),
                ("host:port", "bad port in 'host:port'"),
                ("::1", f"dial tcp [::1]:{a.gossip.address.port}: no suitable address family"),
            )

    asyncio.run(scenario())


def test_a_join_by_name_with_a_silent_target_succeeds_where_it_can() -> None:
    async def scenario() -> None:
        async with started("a") as a, started("b") as b:
            port = b.gossip.address.port
            silent = socket.create_server(("127.0.0.1", 0))  # connects, and never answers
            silent_port = silent.getsockname()[1]
            result = await a.gossip.join([f"b/localhost:{port}", f"127.0.0.1:{silent_port}"])
            silent.close()

            assert result.contacted == 1
            assert result.errors == (
                ("127.0.0.1", f"read tcp 127.0.0.1:{silent_port}: i/o timeout"),
            )
            await until(lambda: joined(a, b))

    asyncio.run(scenario())


def test_without_a_port_a_join_goes_to_our_own() -> None:
    async def scenario() -> None:
        async with started("a", host="127.0.0.1") as a:
            port = a.gossip.address.port
            async with started("b", host="127.0.0.2", port=port) as b:
                await a.gossip.join(["127.0.0.2"])
                await until(lambda: joined(a, b))

    asyncio.run(scenario())


def test_an_admission_hook_keeps_strangers_out() -> None:
    async def scenario() -> None:
        async with started("a", admit=lambda _members: "closed club") as a, started("b") as b:
            result = await b.gossip.join([a.where])

            assert a.gossip.counters["dropped.merge-not-admitted"] == 1
            assert (a.statuses(), b.statuses()) == ({"a": ALIVE}, {"b": ALIVE})
            assert result.errors == (("127.0.0.1", "remote error: closed club"),)

    asyncio.run(scenario())


def test_a_strangers_words_are_made_printable_and_short() -> None:
    async def scenario() -> None:
        async with (
            started("a", admit=lambda _members: "\x1b[2J\udcff\n" + "x" * 5000) as a,
            started("b") as b,
        ):
            ((_, why),) = (await b.gossip.join([a.where])).errors

            assert why.startswith("remote error: ?[2J??xxx")
            assert len(why) == 512

    asyncio.run(scenario())


def test_members_with_different_keys_do_not_meet() -> None:
    async def scenario() -> None:
        async with (
            started("a", keys=[b"a" * 16]) as a,
            started("b", keys=[b"b" * 16]) as b,
            started("c") as c,
        ):
            by_key = await b.gossip.join([a.where])
            plain = await c.gossip.join([a.where])

            assert (by_key.contacted, plain.contacted) == (0, 0)
            assert a.gossip.counters["dropped.decrypt-failed"] == 1
            assert a.gossip.counters["dropped.not-encrypted"] == 1
            # Each refusal comes encrypted, by a key that the other does not have.
            assert "decrypt-failed" in by_key.errors[0][1]
            assert "unexpectedly-encrypted" in plain.errors[0][1]

    asyncio.run(scenario())


def test_an_occupied_port_is_an_error_that_names_it() -> None:
    async def scenario() -> None:
        async with started("a") as a:
            with pytest.raises(OSError, match=f"cannot listen on {a.where} .tcp.: Address already"):
                async with started("b", port=a.gossip.address.port):
                    pass
            with pytest.raises(OSError, match=r"192\.0\.2\.1"):
                async with started("c", host="192.0.2.1"):
                    pass

    asyncio.run(scenario())


@pytest.mark.parametrize(("host", "text"), [("0.0.0.0", "advertise"), ("localhost", "bind")])
def test_an_address_that_others_cannot_use_is_a_configuration_error(host: str, text: str) -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigError, match=text):
            async with started(host=host):
                pass

    asyncio.run(scenario())


def test_a_wildcard_bind_advertises_what_it_is_told_on_the_port_it_found() -> None:
    async def scenario() -> None:
        gossip = await Gossip.create(
            FAST,
            name=MemberName("a"),
            bind=Address("0.0.0.0", 0),
            advertise=Address("127.0.0.9", 0),
            tags={},
            incarnation=Incarnation(1),
            on_event=lambda _event: None,
        )
        assert gossip.local.address == Address("127.0.0.9", gossip.address.port)
        await gossip.close()

    asyncio.run(scenario())


@needs_ipv6
def test_a_dual_stack_member_meets_members_of_both_families() -> None:
    async def scenario() -> None:
        async with started("four") as four, started("six", host="::1") as six:
            both = await Gossip.create(
                FAST,
                name=MemberName("both"),
                bind=Address("::", 0),
                advertise=Address("127.0.0.1", 0),
                tags={},
                incarnation=Incarnation(1),
                on_event=lambda _event: None,
            )
            result = await both.join([four.where, six.where])
            await until(lambda: "both" in four.statuses())
            await both.close()

            assert (result.contacted, result.errors) == (2, ())

    asyncio.run(scenario())


def test_closing_gives_everything_back_and_may_be_repeated() -> None:
    async def scenario() -> None:
        before = open_descriptors()
        async with started("a") as a, started("b") as b:
            joining = asyncio.create_task(a.gossip.join([b.where, "127.0.0.1:1"]))
            await asyncio.sleep(0)
            await a.gossip.close()
            await a.gossip.close()
            result = await joining

            assert result.contacted == 0
            a.gossip.send_payload(MemberName("b"), b"\x80")
            await a.gossip.leave()
            with pytest.raises(StateError):
                a.gossip.set_tags({})
        assert open_descriptors() == before
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


def test_a_connection_accepted_just_before_closing_is_closed_too(
    recwarn: pytest.WarningsRecorder,
) -> None:
    async def scenario() -> None:
        before = open_descriptors()
        async with started("a") as a:
            with socket.create_connection(a.gossip.address, timeout=5) as client:
                # We run between the accepting and the first step of the task that would serve it.
                while not a.gossip.counters["streams_in"]:  # noqa: ASYNC110 - turn by turn
                    await asyncio.sleep(0)
                await a.gossip.close()
                assert client.recv(1) == b""
        assert open_descriptors() == before

    gc.collect()
    recwarn.clear()
    asyncio.run(scenario())
    gc.collect()
    assert not recwarn.list


def test_a_failing_event_handler_does_not_cost_the_member(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_event: object) -> None:
        raise RuntimeError("the user's bug")

    async def scenario() -> None:
        async with started("a", on_event=fail) as a, started("b") as b:
            await b.gossip.join([a.where])
            await until(lambda: joined(a, b))

    asyncio.run(scenario())
    assert "the event handler failed" in caplog.text


def test_a_handler_may_call_back_from_within_an_event() -> None:
    async def scenario() -> None:
        async with started("b") as b:
            box: list[Gossip] = []

            def answer(event: object) -> None:
                match event:
                    case MemberJoined(member) if member.name == "b":
                        box[0].send_payload(member.name, b"\x80hello")
                        box[0].set_tags({"seen": "b"})
                    case _:
                        pass

            async with started("a", on_event=answer) as a:
                box.append(a.gossip)
                await a.gossip.join([b.where])
                await until(lambda: b.of(UserPayloadReceived))
                await until(lambda: any(m.tags == {"seen": "b"} for m in b.gossip.members()))

    asyncio.run(scenario())
