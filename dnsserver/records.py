"""Resource records as they go into a response, and the numbers of RFC 1035 and its successors."""

import struct
from typing import Final, NamedTuple

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
TXT: Final = 16
AAAA: Final = 28
SRV: Final = 33
OPT: Final = 41
AXFR: Final = 252
ANY: Final = 255

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5

RCODE_NAMES: Final = {
    NOERROR: "NOERROR",
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
}

OPCODE_QUERY: Final = 0
OPCODE_NOTIFY: Final = 4

TXT_STRING_BYTES_MAX = 255

_SRV_HEAD = struct.Struct(">HHH")
_SOA_TAIL = struct.Struct(">IIIII")


class Record(NamedTuple):
    """One record of class IN. Its data is `head`, then `names`, then `tail`."""

    name: bytes
    """The owner, in wire form."""
    type: int
    ttl_s: int
    head: bytes = b""
    names: tuple[bytes, ...] = ()
    tail: bytes = b""


def address_record(name: bytes, packed: bytes, ttl_s: int) -> Record:
    """Return an A or AAAA record, by the length of the address."""
    return Record(name, A if len(packed) == 4 else AAAA, ttl_s, packed)


def name_record(name: bytes, type_: int, ttl_s: int, target: bytes) -> Record:
    """Return a CNAME, NS or PTR record."""
    return Record(name, type_, ttl_s, b"", (target,))


def srv_record(name: bytes, ttl_s: int, *, weight: int, port: int, target: bytes) -> Record:
    """Return an SRV record of priority 1 (RFC 2782)."""
    return Record(name, SRV, ttl_s, _SRV_HEAD.pack(1, weight, port), (target,))


def txt_record(name: bytes, ttl_s: int, text: str) -> Record:
    """Return a TXT record; a text over 255 bytes becomes several strings of one record."""
    # Differs from Consul, which sends no response at all for such a text.
    data = text.encode("utf-8", "surrogatepass")
    strings = [
        data[at : at + TXT_STRING_BYTES_MAX]
        for at in range(0, max(len(data), 1), TXT_STRING_BYTES_MAX)
    ]
    return Record(name, TXT, ttl_s, b"".join(bytes((len(part),)) + part for part in strings))


def soa_record(
    name: bytes, ttl_s: int, names: tuple[bytes, bytes], numbers: tuple[int, int, int, int, int]
) -> Record:
    """Return an SOA record; `numbers` are serial, refresh, retry, expire and minimum."""
    return Record(name, SOA, ttl_s, b"", names, _SOA_TAIL.pack(*numbers))
