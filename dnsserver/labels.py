"""Domain names in wire form: a length byte before each label, a zero byte at the end, no pointers.

All names inside the package are such bytes, so that their length is their size and comparing is
cheap. Lower-casing the whole name is safe: a length is at most 63, below the letters.
"""

from functools import lru_cache

NAME_BYTES_MAX = 255
"""RFC 1035 section 2.3.4."""
LABEL_BYTES_MAX = 63
ROOT = b"\0"


@lru_cache(maxsize=8192)
def encode_name(text: str) -> bytes | None:
    """Return the wire form of a dotted name, None when it has empty or too long labels.

    The final dot is optional. Characters outside ASCII are sent as UTF-8, as they are.
    """
    stripped = text.removesuffix(".")
    if not stripped:
        return ROOT
    name = bytearray()
    for label in stripped.encode("utf-8", "surrogatepass").split(b"."):
        if not 1 <= len(label) <= LABEL_BYTES_MAX:
            return None
        name.append(len(label))
        name += label
    name.append(0)
    return bytes(name) if len(name) <= NAME_BYTES_MAX else None


def split_labels(name: bytes) -> tuple[bytes, ...]:
    """Return the labels of a name in wire form."""
    labels: list[bytes] = []
    at = 0
    while length := name[at]:
        labels.append(name[at + 1 : at + 1 + length])
        at += 1 + length
    return tuple(labels)


def label_text(label: bytes) -> str:
    """Return a label for looking up; one with dots or unprintable bytes matches no usual name."""
    text = label.decode("ascii", "backslashreplace")
    return text.replace(".", "\\.") if "." in text else text
