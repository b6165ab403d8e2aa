"""Answers about a service without going record by record: large ones, and most of the others.

The rules are those of `message.py`.
"""

from dnsserver.addressrow import address_record_bytes
from dnsserver.answers import AddressRun, TargetRun
from dnsserver.pool import Target
from dnsserver.query import HEADER_BYTES, Query
from dnsserver.writer import POINTER_BYTES, Body, Writer

SMALL_UNCOMPRESSED_BYTES_MAX = 505
"""A shortened small response keeps to this also when somebody on the way unpacks its names."""


def encode_addresses(
    query: Query, run: AddressRun, answers_max: int | None, bytes_max: int
) -> Body:
    """Shorten the records of addresses, which all have the same size."""
    record_bytes = address_record_bytes(run.type)
    found = len(run.records) // record_bytes
    fixed_bytes = HEADER_BYTES + len(query.question)
    count = found
    if answers_max is not None and count > answers_max:
        unpacked_bytes = len(query.name) - POINTER_BYTES + record_bytes
        fitting = (SMALL_UNCOMPRESSED_BYTES_MAX - fixed_bytes) // unpacked_bytes
        count = min(answers_max, max(fitting, 1))
    count = min(count, (bytes_max - fixed_bytes) // record_bytes)
    data = query.question + run.records[: count * record_bytes]
    return Body(data, (count, 0, 0), is_cut=count < found)


def encode_targets(query: Query, run: TargetRun, answers_max: int | None, bytes_max: int) -> Body:
    """Encode SRV records and the addresses of their targets."""
    targets = run.targets
    if answers_max is not None and len(targets) > answers_max:
        targets = _shorten(query, targets, answers_max)
        writer = _write_all(query, targets)
        extras = _distinct(targets)
        for target in extras:
            writer.write_address(target.name, target.address)
        if len(writer.buffer) <= bytes_max:
            return writer.body((len(targets), 0, len(extras)), is_cut=True)
    elif not run.overflows:
        writer = _write_all(query, targets)
        for target in targets:
            writer.write_address(target.name, target.address)
        for record in run.additional:
            writer.write(record)
        if len(writer.buffer) <= bytes_max:
            counts = (len(targets), 0, len(targets) + len(run.additional))
            return writer.body(counts, is_cut=False)
    return _encode_what_fits(query, targets, bytes_max)


def _write_all(query: Query, targets: list[Target]) -> Writer:
    writer = Writer(query.question)
    for target in targets:
        writer.write_srv(target.srv, target.name)
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
            size += name_bytes - POINTER_BYTES + len(target.srv)
        for target in _distinct(kept):
            size += len(target.name) + len(target.address)
        if size <= SMALL_UNCOMPRESSED_BYTES_MAX:
            return kept
    return targets[: min(answers_max, 1)]


def _encode_what_fits(query: Query, targets: list[Target], bytes_max: int) -> Body:
    """Encode as many targets as fit with their addresses."""
    writer = Writer(query.question)
    written, reserved_bytes = 0, 0
    extras: dict[bytes, Target] = {}
    for target in targets:
        mark = len(writer.buffer)
        writer.write_srv(target.srv, target.name)
        name = target.name
        extra_bytes = 0
        if name not in extras:
            extra_bytes = writer.owner_bytes_at_most(name) + len(target.address)
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
        writer.write_address(target.name, target.address)
    return writer.body((written, 0, len(extras)), is_cut=True)
