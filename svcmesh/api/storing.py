"""What the endpoints of the consistent store share: freshness, headers, and its failures."""

from collections.abc import Awaitable
from typing import Any, TypeVar

from svcmesh.api.answers import JSON_HEADERS, ApiError
from svcmesh.api.query import ReadOptions, read_options
from svcmesh.api.routing import Call
from svcmesh.consensus.service import (
    NoLeaderError,
    OutcomeUnknownError,
    QueryAnswer,
    ReadMode,
    StoreError,
)
from svcmesh.goformats import parse_uint

T = TypeVar("T")


async def guarded(work: Awaitable[T]) -> T:
    """Wait for the store; its failures as Consul's answers.

    Raises:
        ApiError: 500: no leader, refused, or an outcome that nobody knows.
    """
    try:
        return await work
    except NoLeaderError as error:
        raise ApiError(500, str(error)) from error
    except (StoreError, OutcomeUnknownError) as error:
        raise ApiError(500, str(error)) from error


async def ask(call: Call, name: str, *arguments: object) -> tuple[QueryAnswer, dict[str, str]]:
    """Ask the store as the request wants it; the answer, and the headers with it.

    Raises:
        ApiError: The request's parameters, or the store.
    """
    options = read_options(call)
    mode = read_mode(options)
    answer = await guarded(
        call.facade.store.service.query(
            name, *arguments, mode=mode, index=options.index, wait_s=options.wait_s
        )
    )
    headers = {
        "X-Consul-Effective-Consistency": options.consistency,
        "X-Consul-Index": str(answer.index),
        "X-Consul-KnownLeader": "true" if answer.has_leader else "false",
        "X-Consul-LastContact": str(answer.last_contact_ms),
    }
    return answer, {**JSON_HEADERS, **headers}


def number(call: Call, name: str) -> int | None:
    """A parameter that is a number of 64 bits; None when not given.

    Raises:
        ApiError: 500, as Consul says it.
    """
    text: str | None = call.param(name)
    if text is None:
        return None
    try:
        return parse_uint(text)
    except ValueError as error:
        raise ApiError(500, str(error)) from None


def as_dict(names: tuple[str, ...], packed: list[Any]) -> dict[str, Any]:
    """A packed record by field names."""
    return dict(zip(names, packed, strict=True))


def read_mode(options: ReadOptions) -> ReadMode:
    """How fresh a request wants its answer."""
    return {
        "stale": ReadMode.STALE,
        "consistent": ReadMode.CONSISTENT,
    }.get(options.consistency, ReadMode.DEFAULT)
