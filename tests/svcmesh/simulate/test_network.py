"""The simulator's network."""

from random import Random

from svcmesh.simulate import Link, SimulatedNetwork, VirtualClock


def network_of(*endpoints: str, link: Link | None = None) -> tuple[SimulatedNetwork, list[str]]:
    """A network whose endpoints note what arrives, and answer requests with their name."""
    clock = VirtualClock()
    network, log = SimulatedNetwork(clock, rng=Random(1), link=link), list[str]()

    def attach(name: str) -> None:
        def receive(source: object, datagram: object) -> None:
            log.append(f"{clock.now > 0} {source}->{name}: {datagram}")

        network.attach(name, receive, lambda source, request: f"{name} to {source}: {request}")

    for endpoint in endpoints:
        attach(endpoint)
    return network, log


def ask(network: SimulatedNetwork, timeout_s: float = 1.0) -> list[tuple[float, object, object]]:
    """What `a` hears when it asks `b`, and when."""
    clock, heard = network.clock, list[tuple[float, object, object]]()
    network.exchange(
        "a",
        "b",
        "hello",
        timeout_s=timeout_s,
        done=lambda reply, why: heard.append((clock.now, reply, why)),
    )
    return heard


def test_a_datagram_arrives_later() -> None:
    network, log = network_of("a", "b")
    network.send("a", "b", "x")
    assert log == []
    network.clock.run_for(1)
    assert log == ["True a->b: x"]


def test_loss_and_duplication_have_their_rates() -> None:
    network, log = network_of("a", "b", link=Link(loss=0.5, duplicate=0.0))
    for _ in range(1000):
        network.send("a", "b", "x")
    network.clock.run_for(1)
    assert 400 < len(log) < 600
    network.link = Link(loss=0.0, duplicate=0.5)
    log.clear()
    for _ in range(1000):
        network.send("a", "b", "x")
    network.clock.run_for(1)
    assert 1400 < len(log) < 1600


def test_a_partition_lets_nothing_across_until_it_heals() -> None:
    network, log = network_of("a", "b", "c")
    network.partition(["a"], ["b"])
    network.send("a", "b", "x")
    network.send("a", "c", "to one in no island")
    network.clock.run_for(1)
    assert log == ["True a->c: to one in no island"]
    network.heal()
    network.send("a", "b", "y")
    network.clock.run_for(1)
    assert log[-1] == "True a->b: y"


def test_datagrams_alone_can_be_cut() -> None:
    network, log = network_of("a", "b")
    network.block("a", "b", streams_too=False)
    network.send("a", "b", "x")
    heard = ask(network)
    network.clock.run_for(2)
    assert log == []
    assert [reply for _, reply, _ in heard] == ["b to a: hello"]


def test_a_stream_to_nobody_is_refused_and_over_a_cut_link_silent() -> None:
    network, _ = network_of("a", "b")
    network.detach("b")
    refused = ask(network)
    network.clock.run_for(2)
    network.block("a", "b")
    start = network.clock.now
    silent = ask(network)
    network.clock.run_for(2)
    assert [why for _, _, why in refused] == ["refused"]
    assert silent == [(start + 1.0, None, "timeout")]


def test_what_comes_to_a_held_endpoint_waits_for_its_release() -> None:
    network, log = network_of("a", "b")
    network.hold("b")
    network.send("a", "b", "x")
    heard = ask(network, timeout_s=5.0)
    network.clock.run_for(2)
    assert log == []
    assert heard == []
    network.release("b")
    network.clock.run_for(1)
    assert log == ["True a->b: x"]
    assert [reply for _, reply, _ in heard] == ["b to a: hello"]


def test_a_held_endpoint_makes_the_asker_wait_for_its_timeout_once() -> None:
    network, _ = network_of("a", "b")
    network.hold("b")
    heard = ask(network)
    network.clock.run_for(3)
    network.release("b")
    network.clock.run_for(3)
    assert heard == [(1.0, None, "timeout")]
