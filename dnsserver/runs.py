"""Answers about a service without going record by record: large ones, and most of the others.

The rules are those of `message.py`.
"""

from dnsserver.answers import AddressRun, TargetRun
from dnsserver.query import HEADER_BYTES, Query
from dnsserver.service_records import Target
from dnsserver.writer import CLASS_IN, QUESTION_POINTER, RECORD_FIXED, Body, Writer

SMALL_UNCOMPRESSED_BYTES_MAX = 505
"""A shortened small response keeps to this also when somebody on the way unpacks its names."""

_POINTER = QUESTION_POINTER.to_bytes(2, "big")
_SRV_HEAD_BYTES = 6


def encode_addresses(
    query: Query, run: AddressRun, answers_max: int | None, bytes_max: int
) -> Body:
    """Encode addresses of one family, which all have the same size."""
    count = len(run.packed)
    address_bytes = len(run.packed[0])
    fixed_bytes = HEADER_BYTES + len(query.question)
    if answers_max is not None and count > answers_max:
        unpacked_bytes = len(query.name) + RECORD_FIXED.size + address_bytes
        fitting = (SMALL_UNCOMPRESSED_BYTES_MAX - fixed_bytes) // unpacked_bytes
        count = min(answers_max, max(fitting, 1))
    record_bytes = len(_POINTER) + RECORD_FIXED.size + address_bytes
    count = min(count, (bytes_max - fixed_bytes) // record_bytes)
    start = _POINTER + RECORD_FIXED.pack(run.type, CLASS_IN, run.ttl_s, address_bytes)
    packed = start.join(run.packed[:count])
    data = b"".join((query.question, start if count else b"", packed))
    return Body(data, (count, 0, 0), is_cut=count < len(run.packed))


def encode_targets(query: Query, run: TargetRun, answers_max: int | None, bytes_max: int) -> Body:
    """Encode SRV records and the addresses of their targets."""
    targets = run.targets
    if answers_max is not None and len(targets) > answers_max:
        targets = _shorten(query, targets, answers_max)
        writer = _write_all(query, run, targets)
        extras = _distinct(targets)
        for target in extras:
            writer.write_address(target.name, run.ttl_s, target.packed)
        if len(writer.buffer) <= bytes_max:
            return writer.body((len(targets), 0, len(extras)), is_cut=True)
    elif not run.overflows:
        writer = _write_all(query, run, targets)
        for target in targets:
            writer.write_address(target.name, run.ttl_s, target.packed)
        for record in run.additional:
            writer.write(record)
        if len(writer.buffer) <= bytes_max:
            counts = (len(targets), 0, len(targets) + len(run.additional))
            return writer.body(counts, is_cut=False)
    return _encode_what_fits(query, run, targets, bytes_max)


def _write_all(query: Query, run: TargetRun, targets: list[Target]) -> Writer:
    writer = Writer(query.question)
    for target in targets:
        writer.write_srv(run.ttl_s, target.weight, target.port, target.name)
    return writer


def _distinct(targets: list[Target]) -> list[Target]:
    return list({target.name: target for target in reversed(targets)}.values())


def _shorten(query: Query, targets: list[Target], answers_max: int) -> list[Target]:
    """Keep at most `answers_max` targets, and at least one of those that should fit."""
    name_bytes = len(query.name)
    for count in range(answers_max, 1, -1):
        kept = targets[:count]
        size = HEADER_BYTES + len(query.question)
        for target in kept:
            size += name_bytes + RECORD_FIXED.size + _SRV_HEAD_BYTES + len(target.name)
        for target in _distinct(kept):
            size += len(target.name) + RECORD_FIXED.size + len(target.packed)
        if size <= SMALL_UNCOMPRESSED_BYTES_MAX:
            return kept
    return targets[: min(answers_max, 1)]


def _encode_what_fits(query: Query, run: TargetRun, targets: list[Target], bytes_max: int) -> Body:
    """Encode as many targets as fit with their addresses."""
    writer = Writer(query.question)
    written, reserved_bytes = 0, 0
    extras: dict[bytes, Target] = {}
    for target in targets:
        mark = len(writer.buffer)
        writer.write_srv(run.ttl_s, target.weight, target.port, target.name)
        name = target.name
        extra_bytes = 0
        if name not in extras:
            extra_bytes = writer.address_bytes_at_most(name, target.packed)
        if len(writer.buffer) + reserved_bytes + extra_bytes > bytes_max:
            # The last resort is one answer without its address.
            if written or len(writer.buffer) > bytes_max:
                writer.undo_to(mark)
            else:
                written = 1
            break
        written += 1
        if extra_bytes:
            reserved_bytes += extra_bytes
            extras[name] = target
    for target in extras.values():
        writer.write_address(target.name, run.ttl_s, target.packed)
    return writer.body((written, 0, len(extras)), is_cut=True)
