"""What simulated members hand each other."""

from gossip.swim.effects import SendPacket
from gossip.wire import decode_message_untrusted
from gossip.wire.messages import Ack, IndirectPing, Nack, Ping
from svcmesh.simulate.network import Link
from svcmesh.simulate.pool import SimulatedPool


def packets_of_a_troubled_pool(seed: int) -> list[SendPacket]:
    pool = SimulatedPool(seed=seed, link=Link(loss=0.2))
    members = pool.add_joined(8)
    for member in members:
        member.records_packets = True
    members[1].set_tags({"role": "changed"})
    members[2].crash(host_too=True)
    pool.run_for(20)
    return [packet for member in members for _, packet in member.packets]


def test_a_message_handed_over_is_what_the_bytes_beside_it_say() -> None:
    packets = packets_of_a_troubled_pool(seed=1)

    handed_over = [(packet.message, packet.parts[0]) for packet in packets if packet.message]
    assert {type(message) for message, _ in handed_over} == {Ping, Ack, IndirectPing, Nack}
    for message, encoded in handed_over:
        decoded = decode_message_untrusted(encoded)
        assert decoded == message
        assert type(decoded) is type(message)


def test_whoever_gets_only_the_bytes_lives_through_the_same() -> None:
    """The oracle: a network that takes from every packet what is not in its bytes."""
    as_it_is, by_bytes = (SimulatedPool(seed=2, link=Link(loss=0.1)) for _ in range(2))
    send = by_bytes.network.send
    by_bytes.network.send = (  # type: ignore[method-assign]  # instead of a second network
        lambda source, target, packet: send(source, target, packet._replace(message=None))
    )
    histories = []
    for pool in (as_it_is, by_bytes):
        members = pool.add_joined(8)
        members[3].crash()
        pool.run_for(30)
        histories.append([(member.name, member.events) for member in members])
        histories[-1].append(("bytes", [pool.sent_bytes, pool.handled]))

    assert histories[0] == histories[1]
