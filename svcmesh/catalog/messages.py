"""What agents say to each other about their catalogs; `codec.py` has them as bytes."""

from dataclasses import dataclass
from typing import Final, Literal

from svcmesh.catalog.fields import NUMBER_MAX
from svcmesh.catalog.log import Entry, Origin
from svcmesh.catalog.records import NodeId

FROM_THE_START: Final = NUMBER_MAX
"""As `Want.full_floor`: a full transfer that is to begin, whatever the server's floor."""


@dataclass(frozen=True, slots=True)
class Compare:
    """Do you have what I have? Answered by `Same` or `Buckets`."""

    fingerprint: int
    settled: tuple[int, ...] = ()
    """Fingerprints that differ from ours with nothing to exchange, as we found out before."""


@dataclass(frozen=True, slots=True)
class Same:
    """The fingerprints are equal."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Fingerprints by bucket, for the receiver to find where we differ."""

    hashes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What its sender has of one origin."""

    is_external: bool
    origin: Origin
    through: int
    floor: int
    hash: int
    """Of an own log's live records."""
    loose: int
    """Hash of what it has past the first gap; 0: nothing."""


@dataclass(frozen=True, slots=True)
class Summaries:
    """All of the sender's summaries in `buckets`; empty `buckets`: an announcement of some.

    An answer covers those of the buckets asked about that its byte budget allows.
    """

    buckets: tuple[int, ...]
    summaries: tuple[Summary, ...]
    is_answer: bool


@dataclass(frozen=True, slots=True)
class Want:
    """Ask for one origin's records above `after`; where the first gap begins, for loose ones."""

    is_external: bool
    origin: Origin
    after: int
    full_floor: int | None
    """Within a full transfer: the floor it began at."""


@dataclass(frozen=True, slots=True)
class Wants:
    wants: tuple[Want, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """All of the sender's records of an origin with `after` < sequence <= `through`."""

    is_external: bool
    origin: Origin
    base: int
    floor: int
    after: int
    through: int
    is_full: bool
    """Part of a transfer from the start, deletes left out: to be built aside."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Pages:
    """Records, as a rumor or as the answer to `Wants`."""

    pages: tuple[Page, ...]
    is_answer: bool
    pass_on: bool


@dataclass(frozen=True, slots=True)
class WantExternal:
    """Ask for the whole external space, from the origin after `cursor` (None: from the start)."""

    cursor: Origin | None
    after: int


@dataclass(frozen=True, slots=True)
class ExternalPage:
    """A part of the whole external space, in the order of origins; `next_cursor` None ends it."""

    pages: tuple[Page, ...]
    next_cursor: Origin | None
    next_after: int


@dataclass(frozen=True, slots=True)
class Contested:
    """Your name (or id) is held by somebody else here."""

    what: Literal["name", "id"]
    holder: str
    """Who: a node id when `what` is "name", a name when it is "id"."""


CatalogMessage = (
    Compare | Same | Buckets | Summaries | Wants | Pages | WantExternal | ExternalPage | Contested
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message and who says it. `wall_ms` is the sender's wall clock."""

    sender: str
    sender_id: NodeId
    wall_ms: int
    message: CatalogMessage
