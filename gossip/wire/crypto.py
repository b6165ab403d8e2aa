"""AES-GCM around packets and streams, and the keys for it (gossip protocol, 4.2).

Nonces are handed in: this package draws no randomness of its own. The shell takes 12 fresh
bytes from the operating system for every payload; a repeated nonce breaks the cipher.
"""

from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gossip.errors import ConfigError, DecodeError, StateError
from gossip.wire import reasons

NONCE_BYTES: Final = 12
ENCRYPTION_OVERHEAD_BYTES: Final = 1 + NONCE_BYTES + 16
"""Version, nonce and tag of a version-1 payload, the one that is sent."""
KEY_BYTES: Final = (16, 24, 32)
_BLOCK_BYTES: Final = 16
_PAYLOAD_BYTES_MIN: Final = (ENCRYPTION_OVERHEAD_BYTES + _BLOCK_BYTES, ENCRYPTION_OVERHEAD_BYTES)
"""By version: an empty message of version 0 still has a block of padding."""

NonceSource = Callable[[], bytes]
"""Gives `NONCE_BYTES` bytes that were never given before."""


class Keyring:
    """The pool's keys in order: the first one encrypts, all of them decrypt.

    Never empty; a pool without encryption has no keyring.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take the keys, the primary one first; repeated ones count once.

        Raises:
            ConfigError: There is none, or one has other than 16, 24 or 32 bytes.
        """
        if not keys:
            raise ConfigError("keyring: needs at least one key")
        self._ciphers: dict[bytes, AESGCM] = {}
        for key in keys:
            self.add(key)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All keys, the primary one first."""
        return tuple(self._ciphers)

    @property
    def primary(self) -> bytes:
        """The key that encrypts."""
        return next(iter(self._ciphers))

    def add(self, key: bytes) -> None:
        """Install `key` behind the others; nothing changes if it is there.

        Raises:
            ConfigError: It has other than 16, 24 or 32 bytes. The keyring is unchanged.
        """
        if len(key) not in KEY_BYTES:
            raise ConfigError(f"key: 16, 24 or 32 bytes, got {len(key)}")
        self._ciphers.setdefault(bytes(key), AESGCM(key))

    def use(self, key: bytes) -> None:
        """Make an installed key the primary one; the others keep their order.

        Raises:
            StateError: It is not installed. The keyring is unchanged.
        """
        if key not in self._ciphers:
            raise StateError("the key is not in the keyring")
        cipher = self._ciphers.pop(key)
        self._ciphers = {key: cipher, **self._ciphers}

    def remove(self, key: bytes) -> None:
        """Forget `key`; nothing changes if it is not there.

        Raises:
            StateError: It is the primary key. The keyring is unchanged.
        """
        if key == self.primary:
            raise StateError("the primary key cannot be removed")
        self._ciphers.pop(key, None)

    def restore(self, keys: Sequence[bytes]) -> None:
        """Go back to the keys of an earlier moment, the primary one first."""
        assert keys
        self._ciphers = {key: AESGCM(key) for key in keys}

    def encrypt(self, plaintext: bytes, *, aad: bytes, nonce: bytes, version: int = 1) -> bytes:
        """Seal `plaintext` with the primary key.

        Version 0 is for pools that speak memberlist protocol 1; nobody else sends it.
        """
        assert plaintext, "receivers may stop at an empty plaintext"
        assert len(nonce) == NONCE_BYTES
        assert version in (0, 1)
        if version == 0:
            pad = _BLOCK_BYTES - len(plaintext) % _BLOCK_BYTES
            plaintext += bytes((pad,)) * pad
        cipher = next(iter(self._ciphers.values()))
        return bytes((version,)) + nonce + cipher.encrypt(nonce, plaintext, aad)

    def decrypt_untrusted(self, payload: bytes, *, aad: bytes) -> bytes:
        """Open `payload` with the first key that authenticates it. Never returns empty bytes.

        Raises:
            DecodeError: No key does, or the payload's form is wrong (`bad-encryption`).
        """
        return self.open_untrusted(payload, aad=aad)[0]

    def open_untrusted(self, payload: bytes, *, aad: bytes) -> tuple[bytes, bytes]:
        """As `decrypt_untrusted`, with the key that opened it."""
        if not payload:
            raise DecodeError(reasons.EMPTY)
        version = payload[0]
        if version > 1:
            raise DecodeError(reasons.BAD_ENCRYPTION, f"version {version}")
        if len(payload) < _PAYLOAD_BYTES_MIN[version]:
            raise DecodeError(reasons.BAD_ENCRYPTION, f"only {len(payload)} bytes")
        nonce, sealed = payload[1 : 1 + NONCE_BYTES], payload[1 + NONCE_BYTES :]
        for key, cipher in self._ciphers.items():
            try:
                plaintext = cipher.decrypt(nonce, sealed, aad)
            except InvalidTag:
                continue
            is_padded = version == 0
            return _unpadded_untrusted(plaintext) if is_padded else _not_empty(plaintext), key
        raise DecodeError(reasons.DECRYPT_FAILED, "no key opens it")


def _unpadded_untrusted(plaintext: bytes) -> bytes:
    pad = plaintext[-1] if plaintext else 0
    if not 1 <= pad <= min(_BLOCK_BYTES, len(plaintext)):
        raise DecodeError(reasons.BAD_PADDING, f"padding byte {pad}")
    return _not_empty(plaintext[:-pad])


def _not_empty(plaintext: bytes) -> bytes:
    if not plaintext:
        raise DecodeError(reasons.EMPTY, "encryption of nothing")
    return plaintext
