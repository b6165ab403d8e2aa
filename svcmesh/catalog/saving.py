"""The external space on disk: every record and every writer's version as a named value.

A name whose value is None is to be forgotten. What is on disk is at every instant a state that this
agent might have been in, if changes are written in the order in which they are handed out: first
records, then versions, which therefore never claim a record that is not there, and last the deletes
that have been forgotten, when it is known up to where.

Where values are kept is the shell's business (`svcmesh/runtime/externalfile.py`).
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgpack

from svcmesh.catalog.bodies import decode_body_untrusted
from svcmesh.catalog.fields import EPOCH_MAX, NUMBER_MAX
from svcmesh.catalog.log import Entry, Log, Origin, RecordKey
from svcmesh.catalog.records import NodeId
from svcmesh.errors import DecodeError

Changes = Mapping[str, bytes | None]
"""Values by name, in the order in which they are to be written."""

_RECORD, _VERSION = "r", "v"
REASON = "external-on-disk"


@dataclass(frozen=True, slots=True)
class SavedVersion:
    """How far a writer's log was known."""

    origin: Origin
    through: int
    floor: int


@dataclass(slots=True)
class Unsaved:
    """What has changed since it was last handed out. Invariant: in the order of changes."""

    keys: dict[RecordKey, None]
    origins: dict[Origin, None]
    forgotten: dict[RecordKey, None]
    """Of deletes."""

    @classmethod
    def nothing(cls) -> "Unsaved":
        """No changes."""
        return cls({}, {}, {})

    def __bool__(self) -> bool:
        return bool(self.keys or self.origins or self.forgotten)


def record_name(key: RecordKey) -> str:
    """The name of a record's value."""
    return _name(_RECORD, f"{key.node}\0{key.kind}\0{key.id}")


def version_name(origin: Origin) -> str:
    """The name of a writer's version."""
    return _name(_VERSION, f"{origin.node_id}\0{origin.epoch}")


def pack_record(entry: Entry, origin: Origin) -> bytes:
    """A record or a delete."""
    return _pack([*entry.key, *origin, entry.seq, entry.clock, entry.raw])


def pack_version(log: Log) -> bytes:
    """How far a log is known."""
    return _pack([*log.origin, log.through, log.floor])


def unpack_untrusted(
    values: Iterable[tuple[str, bytes]],
) -> tuple[list[tuple[Origin, Entry]], list[SavedVersion], int]:
    """Records and versions, and the number of values that are neither."""
    records: list[tuple[Origin, Entry]] = []
    versions: list[SavedVersion] = []
    broken = 0
    for name, value in values:
        try:
            if name.startswith(_VERSION):
                versions.append(_unpack_version(value))
            else:
                records.append(_unpack_record(value))
        except DecodeError:
            broken += 1
    return records, versions, broken


def _name(kind: str, what: str) -> str:
    return kind + blake2b(what.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _pack(fields: list[object]) -> bytes:
    packed: bytes = msgpack.packb(fields, unicode_errors="surrogateescape")
    return b64encode(packed)


def _unpack(value: bytes) -> Any:  # noqa: ANN401 -- checked by the callers
    try:
        return msgpack.unpackb(b64decode(value, validate=True), unicode_errors="surrogateescape")
    except (Base64Error, ValueError, TypeError, msgpack.UnpackException) as error:
        raise DecodeError(REASON, type(error).__name__) from error


def _unpack_record(value: bytes) -> tuple[Origin, Entry]:
    match _unpack(value):
        case [
            str() as node, str() as kind, str() as record_id, str() as node_id, int() as epoch,
            int() as seq, int() as clock, bytes() | None as raw,
        ]:  # fmt: skip
            _check_numbers(epoch, seq, clock)
            body = None if raw is None else decode_body_untrusted(kind, record_id, raw)
            entry = Entry(RecordKey(node, kind, record_id), seq, raw, body, clock)
            return Origin(NodeId(node_id), epoch), entry
        case _:
            raise DecodeError(REASON, "no record")


def _unpack_version(value: bytes) -> SavedVersion:
    match _unpack(value):
        case [str() as node_id, int() as epoch, int() as through, int() as floor]:
            _check_numbers(epoch, through, floor)
            return SavedVersion(Origin(NodeId(node_id), epoch), through, floor)
        case _:
            raise DecodeError(REASON, "no version")


def _check_numbers(epoch: int, *numbers: int) -> None:
    if not 0 <= epoch <= EPOCH_MAX or not all(0 <= n <= NUMBER_MAX for n in numbers):
        raise DecodeError(REASON, "a number out of range")
