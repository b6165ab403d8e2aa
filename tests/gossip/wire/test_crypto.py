import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import ConfigError, DecodeError, StateError
from gossip.wire import Keyring

A, B, C = b"a" * 16, b"b" * 24, b"c" * 32
NONCE = bytes(range(12))


def sealed(plaintext: bytes, *, version: int, key: bytes = A, aad: bytes = b"") -> bytes:
    """A payload made without the code under test, so that it may be one that we never send."""
    return bytes((version,)) + NONCE + AESGCM(key).encrypt(NONCE, plaintext, aad)


def reason_of(keyring: Keyring, payload: bytes, aad: bytes = b"") -> str:
    with pytest.raises(DecodeError) as refused:
        keyring.decrypt_untrusted(payload, aad=aad)
    return refused.value.reason


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    payload = Keyring([B, A]).encrypt(b"hello", aad=b"x", nonce=NONCE)

    assert payload == sealed(b"hello", version=1, key=B, aad=b"x")
    assert Keyring([A, C, B]).decrypt_untrusted(payload, aad=b"x") == b"hello"
    assert reason_of(Keyring([A, C]), payload, b"x") == "decrypt-failed"


def test_using_a_key_makes_it_primary_and_keeps_the_order_of_the_others() -> None:
    keyring = Keyring([A, B])
    keyring.add(C)
    keyring.add(A)
    keyring.use(C)

    assert keyring.keys == (C, A, B)
    assert keyring.primary == C


def test_a_removed_key_no_longer_decrypts() -> None:
    payload = Keyring([B]).encrypt(b"hello", aad=b"", nonce=NONCE)
    keyring = Keyring([A, B])
    keyring.remove(B)
    keyring.remove(B)

    assert keyring.keys == (A,)
    assert reason_of(keyring, payload) == "decrypt-failed"


def test_the_primary_key_cannot_be_removed_nor_an_unknown_one_used() -> None:
    keyring = Keyring([A, B])

    with pytest.raises(StateError):
        keyring.remove(A)
    with pytest.raises(StateError):
        keyring.use(C)

    assert keyring.keys == (A, B)


@pytest.mark.parametrize("keys", [[], [b"short"], [A, b"x" * 17]])
def test_a_keyring_needs_keys_of_16_24_or_32_bytes(keys: list[bytes]) -> None:
    with pytest.raises(ConfigError):
        Keyring(keys)


@given(st.binary(min_size=1, max_size=100), st.sampled_from([0, 1]), st.binary(max_size=10))
def test_what_is_encrypted_decrypts_to_itself(plaintext: bytes, version: int, aad: bytes) -> None:
    payload = Keyring([A]).encrypt(plaintext, aad=aad, nonce=NONCE, version=version)

    assert Keyring([A]).decrypt_untrusted(payload, aad=aad) == plaintext
    assert (len(payload) - 29 == len(plaintext)) == (version == 1)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (sealed(b"hello", version=2), "bad-encryption"),
        (sealed(b"", version=1)[:28], "bad-encryption"),
        (sealed(b"x" * 15, version=0), "bad-encryption"),
        (sealed(b"", version=1), "empty"),
        (sealed(b"\x10" * 16, version=0), "empty"),
        (sealed(b"x" * 15 + b"\x00", version=0), "bad-padding"),
        (sealed(b"x" * 15 + b"\x11", version=0), "bad-padding"),
        (sealed(b"x" * 15 + b"\xff", version=0), "bad-padding"),
    ],
)
def test_a_payload_that_stops_the_reference_is_refused(payload: bytes, reason: str) -> None:
    assert reason_of(Keyring([A]), payload) == reason


@given(st.data())
def test_a_corrupted_payload_is_refused(data: st.DataObject) -> None:
    payload = bytearray(sealed(b"hello gossip", version=1))
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position] ^= data.draw(st.integers(1, 255))
    refused = reason_of(Keyring([A]), bytes(payload))

    assert refused in ("decrypt-failed", "bad-encryption")
