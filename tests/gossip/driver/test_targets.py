import asyncio
import socket
import threading
import time

import pytest

from gossip.driver.sockets import AddressFamily
from gossip.driver.targets import TargetError, resolve_target, split_target
from gossip.types import Address


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", 8301)),
        ("10.0.0.1:7946", ("10.0.0.1", 7946)),
        ("host.example", ("host.example", 8301)),
        ("n1/host.example:1", ("host.example", 1)),
        ("::1", ("::1", 8301)),
        ("[::1]", ("::1", 8301)),
        ("n1/[fe80::1]:7946", ("fe80::1", 7946)),
        ("host.example:", ("host.example", 8301)),
    ],
)
def test_a_target_is_a_host_and_perhaps_a_port_and_a_name(
    target: str, expected: tuple[str, int]
) -> None:
    assert split_target(target, default_port=8301) == expected


@pytest.mark.parametrize("target", ["", "n1/", ":80", "[]:80", "h:0", "h:65536", "h:x", "h:²"])
def test_a_target_without_host_or_with_a_bad_port_is_refused(target: str) -> None:
    with pytest.raises(TargetError):
        split_target(target, default_port=8301)


def test_names_are_looked_up() -> None:
    lookup = resolve_target(
        "localhost", default_port=1, family=AddressFamily("127.0.0.1"), timeout_s=60
    )
    assert asyncio.run(lookup) == [Address("127.0.0.1", 1)]


def test_a_name_that_nobody_has_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    lookup = resolve_target(
        "nosuch.invalid", default_port=1, family=AddressFamily("127.0.0.1"), timeout_s=5
    )
    with pytest.raises(TargetError, match=r"lookup nosuch\.invalid: no such host"):
        asyncio.run(lookup)


def test_a_lookup_that_hangs_holds_up_neither_other_threads_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    def hang(*_args: object, **_options: object) -> list[object]:
        released.wait(120)
        return []

    async def scenario() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", hang)
        family = AddressFamily("127.0.0.1")
        lookups = (
            resolve_target("slow.example", default_port=1, family=family, timeout_s=0.05)
            for _ in range(40)
        )
        failures = await asyncio.gather(*lookups, return_exceptions=True)
        assert {str(failure) for failure in failures} == {"lookup slow.example: i/o timeout"}
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), timeout=60) == 7

    started_at = time.monotonic()
    try:
        asyncio.run(scenario())
        assert time.monotonic() - started_at < 60
    finally:
        released.set()
