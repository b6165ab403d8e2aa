"""Datagrams: layers in the stated order, and every bound of section 14 about packets."""

import zlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.config import PoolConfig
from gossip.types import MemberName, SeqNo
from gossip.wire import DecodedPacket, Keyring, PacketCodec, encode_message
from gossip.wire.framing import compress_body
from gossip.wire.lzw import compress
from gossip.wire.messages import Nack, PacketMessage, Ping
from tests.gossip.wire.strategies import packet_messages

NONCE = bytes(range(12))
NACK = encode_message(Nack(SeqNo(1)))
KEY = b"k" * 16


def codec_of(
    label: str = "",
    keys: list[bytes] | None = None,
    *,
    compressing: bool = False,
    skip_label: bool = False,
    verify: bool = True,
) -> PacketCodec:
    return PacketCodec(
        PoolConfig(
            label=label,
            skip_inbound_label_check=skip_label,
            verify_incoming=verify,
            verify_outgoing=verify,
        ),
        Keyring(keys) if keys else None,
        new_nonce=lambda: NONCE,
        compress=compressing,
    )


def reasons(decoded: DecodedPacket) -> list[str]:
    return [drop.reason for drop in decoded.drops]


def compound(*parts: bytes) -> bytes:
    sizes = b"".join(len(part).to_bytes(2, "big") for part in parts)
    return bytes((7, len(parts))) + sizes + b"".join(parts)


def compressed(packet: bytes) -> bytes:
    return compress_body(compress(packet))


@settings(deadline=None)
@given(
    st.lists(packet_messages, min_size=1, max_size=6),
    st.sampled_from(["", "pool"]),
    st.sampled_from([None, [b"k" * 16], [b"k" * 32, b"x" * 24]]),
    st.booleans(),
    st.booleans(),
)
def test_what_is_packed_is_unpacked_through_every_combination_of_layers(
    messages: list[PacketMessage],
    label: str,
    keys: list[bytes] | None,
    compressing: bool,
    crc: bool,
) -> None:
    codec = codec_of(label, keys, compressing=compressing)
    datagram = codec.encode([encode_message(message) for message in messages], crc=crc)

    decoded = codec.decode_untrusted(datagram)

    assert decoded.messages == messages
    assert decoded.drops == []


def test_layers_stand_in_the_stated_order() -> None:
    datagram = codec_of("pool", [KEY], compressing=True).encode([NACK] * 20, crc=True)

    assert datagram[:6] == b"\xf4\x04pool"
    checked = AESGCM(KEY).decrypt(NONCE, datagram[6 + 13 :], b"pool")
    assert checked[0] == 12
    assert checked[1:5] == zlib.crc32(checked[5:]).to_bytes(4, "big")
    assert checked[5:] == compressed(compound(*[NACK] * 20))


def test_compression_that_does_not_shorten_is_not_used() -> None:
    assert codec_of(compressing=True).encode([NACK], crc=False) == NACK


@pytest.mark.parametrize(("label", "keys"), [("", None), ("pool", None), ("pool", [KEY])])
def test_a_message_that_fills_the_room_fills_the_datagram(
    label: str, keys: list[bytes] | None
) -> None:
    codec = codec_of(label, keys)
    message = bytes(codec.room_bytes(1400))

    assert len(codec.encode([message], crc=False)) == 1400


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(b"", "empty", id="nothing"),
        pytest.param(b"\x0c" + bytes(4), "empty", id="checksum of nothing"),
        pytest.param(b"\x0c\x00", "unknown-type", id="cut checksum"),
        pytest.param(b"\x0c" + bytes(4) + NACK, "bad-crc", id="wrong checksum"),
        pytest.param(compound(b"\x0c" + bytes(4) + NACK), "unknown-type", id="checksum inside"),
        pytest.param(b"\x07", "compound-cut", id="compound without count"),
        pytest.param(b"\x07\x00", "compound-cut", id="compound of no parts"),
        pytest.param(b"\x07\x02\x00\x05\x00", "compound-cut", id="cut table"),
        pytest.param(compressed(b""), "empty", id="compression of nothing"),
        pytest.param(b"\x09\x82\xa4Algo\x01\xa3Buf\xa0", "bad-compression", id="algorithm"),
        pytest.param(b"\x09\x82\xa4Algo\x00\xa3Buf\xa0", "bad-compression", id="no codes"),
        pytest.param(compressed(bytes(65537)), "expansion-too-large", id="bomb"),
        pytest.param(compressed(compressed(NACK)), "too-many-layers", id="compressed twice"),
        pytest.param(
            compound(compound(compound(compound(NACK)))), "too-many-layers", id="nested too deep"
        ),
        pytest.param(b"\xf4\x04pool" + NACK, "wrong-label", id="label of another pool"),
        pytest.param(b"\xf4\x00" + NACK, "bad-label", id="empty label"),
        pytest.param(b"\xf4\x09pool", "bad-label", id="cut label"),
        pytest.param(b"\xf4", "bad-label", id="label mark alone"),
        pytest.param(b"\x06\x80", "unknown-type", id="push/pull in a packet"),
        pytest.param(b"\x01\x80", "bad-address", id="relay to nowhere"),
    ],
)
def test_a_bad_packet_is_dropped_with_its_reason(packet: bytes, reason: str) -> None:
    decoded = codec_of().decode_untrusted(packet)

    assert reasons(decoded) == [reason]
    assert decoded.messages == []


def test_three_layers_are_read() -> None:
    packet = compound(compressed(compound(NACK, NACK)))

    assert codec_of().decode_untrusted(packet) == DecodedPacket([Nack(SeqNo(1))] * 2, [])


def test_the_good_parts_of_a_compound_are_used() -> None:
    packet = compound(NACK, b"", b"\x00\xc1", NACK) + b"trailing"
    cut = compound(NACK, NACK + b"tail")[:-1]

    decoded = codec_of().decode_untrusted(packet)
    decoded_cut = codec_of().decode_untrusted(cut)

    assert decoded.messages == [Nack(SeqNo(1))] * 2
    assert reasons(decoded) == ["empty-part", "bad-body"]
    assert decoded_cut.messages == [Nack(SeqNo(1))]
    assert reasons(decoded_cut) == ["compound-cut"]


def test_a_packet_holds_at_most_1024_parts() -> None:
    packet = compound(*[compound(*[NACK] * 250)] * 10)

    decoded = codec_of().decode_untrusted(packet)

    # The compounds are parts themselves, and those behind the bound are refused one by one.
    assert len(decoded.messages) + 5 == 1024
    assert set(reasons(decoded)) == {"too-many-parts"}


def test_a_member_with_keys_drops_plaintext_and_foreign_keys() -> None:
    codec = codec_of(keys=[KEY])
    foreign = codec_of(keys=[b"x" * 16]).encode([NACK], crc=False)

    assert reasons(codec.decode_untrusted(bytes((0,)) * 60)) == ["decrypt-failed"]
    assert reasons(codec.decode_untrusted(foreign)) == ["decrypt-failed"]
    assert reasons(codec.decode_untrusted(NACK)) == ["bad-encryption"]
    assert codec_of().decode_untrusted(foreign).messages == []


def test_with_verification_off_plaintext_is_sent_and_taken_beside_ciphertext() -> None:
    codec = codec_of(keys=[KEY], verify=False)
    sealed = codec_of(keys=[KEY]).encode([NACK], crc=False)

    assert codec.encode([NACK], crc=False) == NACK
    assert codec.decode_untrusted(NACK).messages == [Nack(SeqNo(1))]
    assert codec.decode_untrusted(sealed).messages == [Nack(SeqNo(1))]


@pytest.mark.parametrize("plaintext", [b"", b"\x0c" + bytes(4)])
def test_encryption_of_nothing_is_dropped(plaintext: bytes) -> None:
    datagram = b"\x01" + NONCE + AESGCM(KEY).encrypt(NONCE, plaintext, b"")

    assert reasons(codec_of(keys=[KEY]).decode_untrusted(datagram)) == ["empty"]


def test_a_pool_with_a_label_takes_only_packets_with_it() -> None:
    codec = codec_of("pool")

    assert reasons(codec.decode_untrusted(NACK)) == ["wrong-label"]
    assert reasons(codec.decode_untrusted(b"\xf4\x04pole" + NACK)) == ["wrong-label"]
    assert codec.decode_untrusted(b"\xf4\x04pool" + NACK).messages == [Nack(SeqNo(1))]


def test_with_the_label_check_skipped_a_header_is_refused_and_the_label_authenticates() -> None:
    codec = codec_of("pool", [KEY], skip_label=True)
    with_header = codec_of("pool", [KEY]).encode([NACK], crc=False)

    assert reasons(codec.decode_untrusted(with_header)) == ["wrong-label"]
    assert codec.decode_untrusted(with_header[6:]).messages == [Nack(SeqNo(1))]


def test_an_encrypted_packet_of_a_pool_with_another_label_does_not_authenticate() -> None:
    datagram = codec_of("pool", [KEY]).encode([NACK], crc=False)

    assert reasons(codec_of(keys=[KEY]).decode_untrusted(datagram[6:])) == ["decrypt-failed"]


def test_a_key_installed_later_is_used_at_once() -> None:
    keyring = Keyring([KEY])
    codec = PacketCodec(PoolConfig(), keyring, new_nonce=lambda: NONCE)
    datagram = codec_of(keys=[b"x" * 16]).encode([NACK], crc=False)
    keyring.add(b"x" * 16)

    assert codec.decode_untrusted(datagram).messages == [Nack(SeqNo(1))]


def test_names_that_are_not_utf8_pass_through_unchanged() -> None:
    raw = b"\x00\x82\xa4Node\xa3\xff\xfe\xed\xa5SeqNo\x01"
    decoded = codec_of().decode_untrusted(raw)

    assert decoded.messages == [Ping(SeqNo(1), MemberName("\udcff\udcfe\udced"))]
    assert encode_message(decoded.messages[0]) == raw
