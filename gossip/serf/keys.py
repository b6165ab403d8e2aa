"""Key management: what a key query asks, and carrying it out on a keyring (10.13).

The machine decodes and the shell carries out, because a changed keyring has to be on disk before
anybody is told that it changed.
"""

import base64
from typing import Final

from gossip.errors import ConfigError, StateError
from gossip.serf.events import KeyOperation
from gossip.wire.crypto import Keyring
from gossip.wire.messages import KeyResponse
from gossip.wire.serf import encode_serf

_NO_KEYRING: Final = "No keyring to modify (encryption not enabled)"
_EMPTY_KEYRING: Final = "Keyring is empty (encryption not enabled)"


def perform(keyring: Keyring | None, operation: KeyOperation, key: bytes) -> KeyResponse:
    """Carry out an operation; the answer to give. A failure leaves the keyring as it was."""
    if keyring is None:
        is_list = operation is KeyOperation.LIST
        return _answer(False, _EMPTY_KEYRING if is_list else _NO_KEYRING)
    try:
        match operation:
            case KeyOperation.LIST:
                keys = tuple(key_text(each) for each in keyring.keys)
                return KeyResponse(True, "", keys, keys[0])
            case KeyOperation.INSTALL:
                keyring.add(key)
            case KeyOperation.USE:
                keyring.use(key)
            case KeyOperation.REMOVE:
                keyring.remove(key)
    except (ConfigError, StateError) as error:
        return _answer(False, str(error))
    return _answer(True)


def failed(message: str) -> KeyResponse:
    """An operation that was not carried out."""
    return _answer(False, message)


def encode_answer(response: KeyResponse, *, bytes_max: int) -> bytes:
    """Encode an answer; of a list that is too long, as many keys as fit.

    Raises:
        ValueError: Not even an empty list fits.
    """
    encoded = encode_serf(response)
    kept = len(response.keys)
    while len(encoded) > bytes_max:
        if not kept:
            raise ValueError("no answer fits")
        kept -= 1
        text = f"truncated key list response, showing first {kept} of {len(response.keys)} keys"
        encoded = encode_serf(
            KeyResponse(response.result, text, response.keys[:kept], response.primary_key)
        )
    return encoded


def key_text(key: bytes) -> str:
    """A key as operators write it."""
    return base64.b64encode(key).decode()


def _answer(result: bool, message: str = "") -> KeyResponse:
    return KeyResponse(result, message, (), "")
