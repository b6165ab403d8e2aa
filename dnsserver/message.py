"""From the records of an answer to the bytes of a response that fits.

Consul's rules: a small UDP response about a service has at most so many answers; then answers are
dropped from the end until the rest fits, and with them the additional records that nothing refers
to any more. Names are compressed as RFC 1035 section 4.1.4 says, except SRV targets (RFC 2782),
which other names may point to nevertheless.

Written by hand: dnslib costs seven times as much, and its compression pointers go wrong beyond
16 KiB, where large TCP responses are.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

from dnsserver import records
from dnsserver.addressrow import AddressRow
from dnsserver.answers import AddressRun, Answer, TargetRun
from dnsserver.envelope import ANSWER_COUNT_AT, ID_BYTES, Room, header, opt_record, response_flags
from dnsserver.query import HEADER_BYTES, Query
from dnsserver.records import Record
from dnsserver.runs import SMALL_UNCOMPRESSED_BYTES_MAX, encode_addresses, encode_targets
from dnsserver.writer import Body, Writer, uncompressed_bytes


def encode_response(
    query: Query, answer: Answer, room: Room, *, sets_tc: bool, has_recursors: bool
) -> tuple[bytes, bool]:
    """Return the response, never larger than the room, and whether anything was left out.

    `sets_tc`: whether TC says so of a service, too; `has_recursors`: what RA says. Answers are
    never reordered.
    """
    opt = opt_record(query, answer) if answer.has_edns else b""
    bytes_max = room.bytes_max - len(opt)
    answers_max = room.answers_max if answer.is_of_service else None
    match answer.run:
        case None:
            body = _encode_records(query, answer, answers_max, bytes_max)
        case AddressRun():
            body = encode_addresses(query, answer.run, answers_max, bytes_max)
        case TargetRun():
            body = encode_targets(query, answer.run, answers_max, bytes_max)
        case _:
            assert_never(answer.run)
    answers, authority, additional = body.counts
    if not answer.is_of_service and answers < len(answer.answers):
        # Only of a service are some answers as good as all. Differs from Consul, which sends
        # all of them in a datagram that is larger than what the client takes.
        sets_tc = True
    flags = response_flags(
        query, answer, is_cut=body.is_cut and sets_tc, has_recursors=has_recursors
    )
    start = header(query, flags, (answers, authority, additional + (1 if opt else 0)))
    return b"".join((start, body.after_header, opt)), body.is_cut


def stretch_encoder(
    response: bytes, query: Query, row: AddressRow
) -> Callable[[range], list[bytes]]:
    """Return what makes any responses to a query of which `response`, without its id, is one.

    All of them have a stretch of `row`; they differ in where that begins, and in nothing else.
    What they are is read from the row when they are made.
    """
    answers_at = HEADER_BYTES - ID_BYTES + len(query.question)
    count_at = ANSWER_COUNT_AT - ID_BYTES
    count = int.from_bytes(response[count_at : count_at + 2], "big")
    size = row.record_bytes
    stretch_bytes = count * size
    head, tail = response[:answers_at], response[answers_at + stretch_bytes :]
    join = b"".join

    def encode(beginnings: range) -> list[bytes]:
        # What all of them have of the row: they overlap in nearly all of it.
        records = row.stretch(beginnings.start, count + len(beginnings) - 1)
        places = range(0, len(beginnings) * size, size)
        return [join((head, records[at : at + stretch_bytes], tail)) for at in places]

    return encode


def _encode_records(query: Query, answer: Answer, answers_max: int | None, bytes_max: int) -> Body:
    answers, additional = answer.answers, answer.additional
    is_cut = False
    if answers_max is not None and len(answers) > answers_max:
        answers, additional = _shorten(query, answer, answers_max)
        is_cut = True
    writer = Writer(query.question)
    for record in (*answers, *answer.authority, *additional):
        writer.write(record)
        if len(writer.buffer) > bytes_max:
            break
    else:
        return writer.body((len(answers), len(answer.authority), len(additional)), is_cut=is_cut)
    writer = Writer(query.question)
    return writer.body(_write_what_fits(writer, answer, answers, bytes_max), is_cut=True)


def _shorten(query: Query, answer: Answer, answers_max: int) -> tuple[list[Record], list[Record]]:
    """Keep at most `answers_max` answers, and at least one of those that should fit."""
    index = _index(answer.additional)
    fixed_bytes = HEADER_BYTES + len(query.question)
    for count in range(answers_max, 0, -1):
        answers = answer.answers[:count]
        additional = _referenced(answers, index)
        kept = (*answers, *answer.authority, *additional)
        if fixed_bytes + sum(map(uncompressed_bytes, kept)) <= SMALL_UNCOMPRESSED_BYTES_MAX:
            return answers, additional
    answers = answer.answers[: min(answers_max, 1)]
    return answers, _referenced(answers, index)


def _write_what_fits(
    writer: Writer, answer: Answer, answers: Sequence[Record], bytes_max: int
) -> tuple[int, int, int]:
    """Write as many answers as fit with their additional records; return the sections' counts."""
    authority = answer.authority
    authority_bytes = sum(map(writer.bytes_at_most, authority))
    if len(writer.buffer) + authority_bytes > bytes_max:
        authority, authority_bytes = [], 0
    index = _index(answer.additional)
    written = 0
    reserved_bytes = authority_bytes
    extras: list[Record] = []
    seen: set[bytes] = set()
    for record in answers:
        mark = len(writer.buffer)
        writer.write(record)
        own_extras = _referenced((record,), index, seen)
        extra_bytes = sum(map(writer.bytes_at_most, own_extras))
        if len(writer.buffer) + reserved_bytes + extra_bytes > bytes_max:
            # The last resort is one answer without its additional records.
            if written or len(writer.buffer) + reserved_bytes > bytes_max:
                writer.undo_to(mark)
                break
            written += 1
            break
        written += 1
        reserved_bytes += extra_bytes
        extras += own_extras
    for record in (*authority, *extras):
        writer.write(record)
    return written, len(authority), len(extras)


def _index(additional: Iterable[Record]) -> dict[bytes, Record]:
    index: dict[bytes, Record] = {}
    for record in additional:
        index.setdefault(record.name.lower(), record)
    return index


def _referenced(
    answers: Iterable[Record], index: dict[bytes, Record], seen: set[bytes] | None = None
) -> list[Record]:
    """Return the additional records of SRV and NS targets, aliases followed, each target once."""
    seen = set() if seen is None else seen
    found: list[Record] = []
    for answer in answers:
        if answer.type not in (records.SRV, records.NS):
            continue
        target = answer.names[0].lower()
        while target not in seen:
            seen.add(target)
            record = index.get(target)
            if record is None:
                break
            found.append(record)
            if record.type != records.CNAME:
                break
            target = record.names[0].lower()
    return found
