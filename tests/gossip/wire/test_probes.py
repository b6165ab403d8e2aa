"""Pings and acks are written in pieces: together they must be the map of their fields."""

from hypothesis import given

from gossip.wire import encode_message
from gossip.wire.body import pack
from gossip.wire.messages import Ack, Ping
from tests.gossip.wire.strategies import acks, pings


@given(pings)
def test_a_ping_is_written_as_the_map_of_its_fields_in_order(ping: Ping) -> None:
    source = {
        "SourceAddr": ping.source_addr,
        "SourceNode": ping.source_node,
        "SourcePort": ping.source_port,
    }
    fields = {"Node": ping.node, "SeqNo": ping.seq_no}
    fields |= {key: value for key, value in source.items() if value}

    assert encode_message(ping) == b"\x00" + pack(fields)


@given(acks)
def test_an_ack_is_written_as_the_map_of_its_fields_in_order(ack: Ack) -> None:
    fields = {"Payload": ack.payload, "SeqNo": ack.seq_no}

    assert encode_message(ack) == b"\x02" + pack(fields)
