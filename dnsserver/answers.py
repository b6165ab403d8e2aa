"""What is asked, and what there is to answer with, before it becomes bytes.

A question is looked up once, as a `Plan`; answers are drawn from that, each with other instances or
the same in another order.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dnsserver import records
from dnsserver.addressrow import AddressRow
from dnsserver.directory import Stamp
from dnsserver.pool import Target
from dnsserver.records import Record
from dnsserver.shuffling import Mixture


@dataclass(frozen=True, slots=True)
class AddressRun:
    """A or AAAA records of the name that was asked: what most answers are, made in one piece."""

    type: int
    records: bytes


@dataclass(frozen=True, slots=True)
class TargetRun:
    """SRV records of the name that was asked, each with the address of its target."""

    targets: list[Target]
    additional: list[Record]
    """What comes along besides the addresses if all of it fits."""
    overflows: bool
    """Whether it is known that not everything will fit."""


@dataclass(slots=True)
class Answer:
    """The sections of a response."""

    rcode: int = records.NOERROR
    is_authoritative: bool = True
    has_recursion: bool = False
    """Whether to say that recursion is available although there is no recursor."""
    has_edns: bool = True
    """Whether the client's EDNS0 is answered with ours."""
    is_of_service: bool = False
    """Whether a small response is limited to a number of answers."""
    run: AddressRun | TargetRun | None = None
    """Answers, in place of all records."""
    answers: list[Record] = field(default_factory=list)
    authority: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    is_for_subnet: bool = False
    """Whether it is meant for the client's subnet, as far as the client has told it."""
    has_soa: bool = False
    """Whether it says what time it is, as the serial."""
    unresolved: list[bytes] = field(default_factory=list)
    """Host names outside our zones that recursors could say more about."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how much of an answer is of use."""

    name: bytes
    type: int
    answers_max: int
    """No more answers than this need to be found."""
    takes_none: bool
    """Whether none about a service will be sent, as it is configured for small responses."""
    bytes_max: int
    """Nor more than fill a message of this size."""
    alias_records_max: int
    """No more records than this are brought along for a host name; 0: no limit."""
    serial: int
    """For the SOA."""
    resolved: Mapping[bytes, Sequence[Record]] = field(default_factory=dict)
    """What recursors said about host names."""
    client: str = ""
    """The address that the answer is for: the client's, or what it says of its subnet."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A question looked up: what there is to answer with, before the dice are thrown."""

    draw: Callable[[int, Mixture], Answer]
    """`draw(beginning, mixture)` makes an answer; `mixture` decides what the beginning does not."""
    beginnings: int = 1
    """How many beginnings there are, 0 and up; all of them are equally likely."""
    stamp: Stamp | None = None
    """Whether the plan still holds. None: it is for once only."""
    row: AddressRow | None = None
    """Every answer is a stretch of it from its beginning on; all of them are equally long."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """A question that can be looked up only when others have answered."""

    plan: Callable[[], Awaitable[Plan]]
    """It does not raise."""


@dataclass(frozen=True, slots=True)
class NotOurs:
    """The question is for recursors."""
