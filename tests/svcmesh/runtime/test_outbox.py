"""Messages go out in order, in slices, and a bounded number of them waits."""

import asyncio
import time

import pytest

from gossip.types import Address, MemberName
from svcmesh.runtime import outbox
from svcmesh.runtime.outbox import Outbox

SLOW_S = 2 * outbox.SLICE_S


class Receiver:
    """Takes messages; a slow one takes longer than a slice for each."""

    def __init__(self, *, is_slow: bool = False) -> None:
        self.payloads: list[bytes] = []
        self._is_slow = is_slow

    def send(self, to: MemberName | Address, payload: bytes) -> None:
        self.payloads.append(payload)
        if self._is_slow:
            time.sleep(SLOW_S)


def post_numbers(box: Outbox, count: int) -> list[bytes]:
    payloads = [b"%d" % number for number in range(count)]
    for payload in payloads:
        box.post(MemberName("n1"), payload)
    return payloads


async def turns_until_empty(box: Outbox) -> int:
    turns = 0
    while len(box):
        turns += 1
        await asyncio.sleep(0)
    return turns


def test_what_is_posted_goes_out_in_the_same_turn_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A busy machine must not cut the slice short.
    monkeypatch.setattr(outbox, "SLICE_S", 60.0)

    async def scenario() -> None:
        receiver = Receiver()
        box = Outbox(receiver.send)
        posted = post_numbers(box, 3)
        assert receiver.payloads == []
        box.send_some()
        assert receiver.payloads == posted

    asyncio.run(scenario())


def test_others_get_their_turn_when_sending_takes_long() -> None:
    async def scenario() -> None:
        receiver = Receiver(is_slow=True)
        box = Outbox(receiver.send)
        posted = post_numbers(box, 5)
        box.send_some()
        assert receiver.payloads == posted[:1]
        assert await turns_until_empty(box) == 4
        assert receiver.payloads == posted

    asyncio.run(scenario())


def test_what_is_posted_meanwhile_waits_for_its_turn() -> None:
    async def scenario() -> None:
        receiver = Receiver(is_slow=True)
        box = Outbox(receiver.send)
        posted = post_numbers(box, 2)
        box.send_some()
        box.post(MemberName("n2"), b"later")
        box.send_some()
        assert receiver.payloads == posted[:1]
        await turns_until_empty(box)
        assert receiver.payloads == [*posted, b"later"]

    asyncio.run(scenario())


def test_no_more_than_the_bound_wait() -> None:
    async def scenario() -> None:
        receiver = Receiver()
        box = Outbox(receiver.send)
        posted = post_numbers(box, outbox.MESSAGES_MAX + 2)
        assert len(box) == outbox.MESSAGES_MAX
        assert receiver.payloads == posted[:2]

    asyncio.run(scenario())


def test_nothing_goes_out_after_closing() -> None:
    async def scenario() -> None:
        receiver = Receiver(is_slow=True)
        box = Outbox(receiver.send)
        post_numbers(box, 3)
        box.send_some()
        box.close()
        await asyncio.sleep(0)
        assert len(receiver.payloads) == 1

    asyncio.run(scenario())
