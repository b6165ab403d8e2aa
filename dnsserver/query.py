"""Queries from the network: bytes to a `Query`, or a reason why not.

Strict about the header and the question, and about EDNS0 (RFC 6891) with client subnet (RFC 7871);
other records are skipped. The work for one packet is bounded: one question, at most four records,
and no compression pointer is ever followed.
"""

import struct
from dataclasses import dataclass, replace
from ipaddress import ip_address

from dnsserver.errors import QueryRejectedError
from dnsserver.labels import NAME_BYTES_MAX
from dnsserver.records import FORMERR, NOTIMP, OPCODE_NOTIFY, OPCODE_QUERY, OPT

QUERY_BYTES_MAX = 4096
"""A question and its options never need more."""
HEADER_BYTES = 12
OPTION_CLIENT_SUBNET = 8

_HEADER = struct.Struct(">HHHHHH")
_COUNTS = struct.Struct(">HHHHH")
_TYPE_AND_CLASS = struct.Struct(">HH")
_RECORD_FIXED = struct.Struct(">HHIH")
_SUBNET_FIXED = struct.Struct(">HBB")
_PREFIX_AT = 6
"""Of the prefix in the option; the scope follows it."""
_SUBNET_PREFIX_MAX = {0: 0, 1: 32, 2: 128}


@dataclass(frozen=True, slots=True)
class Edns:
    """What the client's OPT record says."""

    udp_bytes: int
    """The size of UDP responses that it takes, as sent; below 512 counts as 512."""
    version_and_flags: bytes
    """Four bytes, the DO flag among them; nothing in an answer depends on them."""
    subnet_option: bytes
    """Its client subnet, made ready to echo with scope 0. Empty: none."""

    def subnet_echo(self, *, is_for_subnet: bool) -> bytes:
        """Return the option to answer with: good for every client, or for this subnet only."""
        option = self.subnet_option
        if not option or not is_for_subnet:
            return option
        prefix = option[_PREFIX_AT : _PREFIX_AT + 1]
        return option[: _PREFIX_AT + 1] + prefix + option[_PREFIX_AT + 2 :]

    @property
    def subnet_address(self) -> str:
        """The address of the client subnet; empty without one."""
        packed = self.subnet_option[_PREFIX_AT + 2 :]
        size = {1: 4, 2: 16}.get(self.subnet_option[_PREFIX_AT - 1] if packed else 0)
        return "" if size is None else str(ip_address(packed.ljust(size, b"\0")))


@dataclass(frozen=True, slots=True)
class Query:
    """One well-formed query."""

    id: int
    flags: int
    name: bytes
    """As sent, letter case included."""
    type: int
    question: bytes
    """The whole question section, to be echoed."""
    edns: Edns | None

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15

    def plain(self) -> "Query":
        """Return the query that has the same answer, but for what is echoed.

        Its name is in lower case and its EDNS0 has no options.
        """
        edns = self.edns
        if edns is not None and edns.subnet_option:
            edns = replace(edns, subnet_option=b"")
        question = self.question[:-4].lower() + self.question[-4:]
        if edns is self.edns and question == self.question:
            # Most are, and frozen dataclasses are slow to copy.
            return self
        return replace(self, name=self.name.lower(), question=question, edns=edns)

    def key(self) -> bytes:
        """Return the bytes of a plain query as they are mostly sent, without the id."""
        edns = self.edns
        if edns is None:
            return _COUNTS.pack(self.flags, 1, 0, 0, 0) + self.question
        opt = _RECORD_FIXED.pack(OPT, edns.udp_bytes, 0, 0)
        return b"".join(
            (
                _COUNTS.pack(self.flags, 1, 0, 0, 1),
                self.question,
                b"\0",
                opt[:4],
                edns.version_and_flags,
                opt[-2:],
            )
        )


def decode_query_untrusted(packet: bytes) -> Query:
    """Return the query in `packet`.

    Raises:
        QueryRejectedError: It is none, or more than is answered.
    """
    if len(packet) < HEADER_BYTES:
        raise QueryRejectedError("short", None)
    id_, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(packet)
    if flags & 0x8000:
        raise QueryRejectedError("response", None)
    if flags >> 11 & 15 not in (OPCODE_QUERY, OPCODE_NOTIFY):
        raise QueryRejectedError("opcode", NOTIMP)
    # A NOTIFY may bring one answer, an IXFR one authority record (RFC 1995, 1996), and OPT can
    # be followed by a signature.
    if questions != 1 or answers > 1 or authorities > 1 or additionals > 2:
        raise QueryRejectedError("count", FORMERR)
    if len(packet) > QUERY_BYTES_MAX:
        raise QueryRejectedError("oversized", FORMERR)
    name_end = _question_name_end(packet)
    end = name_end + _TYPE_AND_CLASS.size
    if end > len(packet):
        raise QueryRejectedError("question", FORMERR)
    question = packet[HEADER_BYTES:end]
    edns = None
    for number in range(answers + authorities + additionals):
        # Like the reference, a packet that ends where a record was announced is taken as it is.
        if end == len(packet):
            break
        type_, size, ttl, data, end = _read_record(packet, end, question)
        if type_ == OPT and number >= answers + authorities:
            edns = Edns(size, ttl, _read_options(data, question))
    type_ = _TYPE_AND_CLASS.unpack_from(packet, name_end)[0]
    return Query(id_, flags, packet[HEADER_BYTES:name_end], type_, question, edns)


def _question_name_end(packet: bytes) -> int:
    """Return where the question's name ends. A pointer there could only lead into the header."""
    at = HEADER_BYTES
    while at < len(packet) and (length := packet[at]):
        at += 1 + length
        if length & 0xC0 or at - HEADER_BYTES >= NAME_BYTES_MAX:
            raise QueryRejectedError("question", FORMERR)
    return at + 1


def _read_record(packet: bytes, at: int, question: bytes) -> tuple[int, int, bytes, bytes, int]:
    """Return type, class, the four bytes of the TTL, data and end of the record at `at`."""
    while at < len(packet) and (length := packet[at]):
        if length & 0xC0 == 0xC0:
            at += 1
            break
        if length & 0xC0:
            raise QueryRejectedError("record", FORMERR, question)
        at += 1 + length
    at += 1
    if at + _RECORD_FIXED.size > len(packet):
        raise QueryRejectedError("record", FORMERR, question)
    type_, class_, _, data_bytes = _RECORD_FIXED.unpack_from(packet, at)
    at += _RECORD_FIXED.size
    end = at + data_bytes
    if end > len(packet):
        raise QueryRejectedError("record", FORMERR, question)
    return type_, class_, packet[at - 6 : at - 2], packet[at:end], end


def _read_options(data: bytes, question: bytes) -> bytes:
    """Check the framing of EDNS0 options; return the first client subnet, made ready to echo."""
    subnet = b""
    at = 0
    while at < len(data):
        if at + _TYPE_AND_CLASS.size > len(data):
            raise QueryRejectedError("option", FORMERR, question)
        code, option_bytes = _TYPE_AND_CLASS.unpack_from(data, at)
        at += _TYPE_AND_CLASS.size
        if at + option_bytes > len(data):
            raise QueryRejectedError("option", FORMERR, question)
        if code == OPTION_CLIENT_SUBNET:
            subnet = subnet or _read_subnet(data[at : at + option_bytes], question)
        at += option_bytes
    return subnet


def _read_subnet(option: bytes, question: bytes) -> bytes:
    if len(option) < _SUBNET_FIXED.size:
        raise QueryRejectedError("option", FORMERR, question)
    family, prefix, _ = _SUBNET_FIXED.unpack_from(option)
    if prefix > _SUBNET_PREFIX_MAX.get(family, -1):
        raise QueryRejectedError("option", FORMERR, question)
    address_bytes = (prefix + 7) // 8
    address = bytearray(option[_SUBNET_FIXED.size :][:address_bytes].ljust(address_bytes, b"\0"))
    if prefix % 8:
        address[-1] &= 0xFF << (8 - prefix % 8) & 0xFF
    # Scope 0: the answer does not depend on where the client is.
    echo = _SUBNET_FIXED.pack(family, prefix, 0) + bytes(address)
    return _TYPE_AND_CLASS.pack(OPTION_CLIENT_SUBNET, len(echo)) + echo
