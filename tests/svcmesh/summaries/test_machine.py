"""One server's machine, with messages written by hand."""

from collections.abc import Mapping
from random import Random

from svcmesh.summaries import Entry, Peer, Send, ServiceCount, Summaries, SummariesConfig
from svcmesh.summaries.codec import (
    Changes,
    Hello,
    Position,
    Positions,
    SummaryMessage,
    Want,
    decode_untrusted,
    encode,
)

ME = Peer("me.dc1", "dc1", "b")
NEIGHBOUR = Peer("n.dc1", "dc1", "c")
FAR = Peer("far.dc2", "dc2", "a")
FARTHER = Peer("farther.dc2", "dc2", "b")
WALL_MS = 1_800_000_000_000


class Counts:
    """Counts that a test sets."""

    def __init__(self, **services: int) -> None:
        self.services = {name: ServiceCount(n, n) for name, n in services.items()}
        self.changed: list[str] = []

    def set(self, name: str, number: int) -> None:
        if number:
            self.services[name] = ServiceCount(number, number)
        else:
            self.services.pop(name, None)
        self.changed.append(name)

    def all(self) -> Mapping[str, ServiceCount]:
        return self.services

    def of(self, name: str) -> ServiceCount:
        return self.services.get(name, ServiceCount(0, 0))

    @property
    def has_changed(self) -> bool:
        return bool(self.changed)

    def take_changed(self) -> list[str]:
        taken, self.changed = self.changed, []
        return taken


class Server:
    """The machine, its clock, and what it has sent."""

    def __init__(
        self,
        counts: Counts | None = None,
        *others: Peer,
        me: Peer = ME,
        config: SummariesConfig | None = None,
    ) -> None:
        self.counts = counts or Counts()
        self.is_ready = True
        self.now = 0.0
        self.machine = Summaries(
            me,
            self.counts,
            is_ready=lambda: self.is_ready,
            now=0.0,
            rng=Random(1),
            config=config,
        )
        self.meet(*(others or (NEIGHBOUR, FAR, FARTHER)))

    def meet(self, *others: Peer) -> None:
        self.machine.set_peers([ME, *others], {one.datacenter for one in others}, now=self.now)

    def run(self, duration_s: float) -> list[tuple[str, SummaryMessage]]:
        """What is sent in some time, but for the greetings."""
        sent: list[Send] = []
        end = self.now + duration_s
        while self.machine.next_deadline_at <= end:
            self.now = max(self.now, self.machine.next_deadline_at)
            wall_ms = WALL_MS + int(self.now * 1000)
            sent += self.machine.handle_timer(now=self.now, wall_ms=wall_ms)
        self.now = end
        return [each for each in read(sent) if not isinstance(each[1], Hello)]

    def set(self, name: str, number: int) -> None:
        self.counts.set(name, number)
        self.machine.note_counts(now=self.now)

    def hear(self, message: SummaryMessage, sender: Peer = FAR) -> list[tuple[str, SummaryMessage]]:
        payload = encode(message, sender.name)
        return read(self.machine.handle_message_untrusted(payload, now=self.now))

    def known(self, datacenter: str = "dc2") -> dict[str, int]:
        return {name: entry.instances for name, entry in self.machine.entries(datacenter)}


def read(sent: list[Send]) -> list[tuple[str, SummaryMessage]]:
    return [(each.to, decode_untrusted(each.payload)[1]) for each in sent]


def said(
    after: int,
    through: int,
    *names: str,
    generation: int = 5,
    latest: int | None = None,
    pass_on: bool = False,
    datacenter: str = "dc2",
) -> Changes:
    """Changes with these services, numbered one after the other up to `through`."""
    first = through - len(names) + 1
    changes = tuple((name, Entry(1, 1, 1, n)) for n, name in enumerate(names, first))
    latest = through if latest is None else latest
    return Changes(datacenter, generation, after, through, latest, pass_on, changes)


# -- publishing ---------------------------------------------------------------------------------


def test_the_publisher_tells_its_neighbours_and_one_server_of_each_other_data_center() -> None:
    server = Server(Counts(web=2, db=1))
    sent = server.run(0.1)
    assert [to for to, _ in sent] == [NEIGHBOUR.name, FAR.name]
    messages = [message for _, message in sent if isinstance(message, Changes)]
    assert [one.is_to_pass_on for one in messages] == [False, True]
    assert [(name, entry[:2]) for name, entry in messages[0].changes] == [
        ("db", (1, 1)),
        ("web", (2, 2)),
    ]


def test_a_server_that_is_not_the_one_with_the_lowest_id_publishes_nothing() -> None:
    server = Server(Counts(web=2), Peer("first.dc1", "dc1", "a"), FAR)
    assert server.run(5) == []


def test_nothing_is_sent_while_there_is_one_data_center() -> None:
    server = Server(Counts(web=2), NEIGHBOUR)
    assert server.run(5) == []
    server.meet(NEIGHBOUR, FAR)
    assert {to for to, _ in server.run(0.1)} == {NEIGHBOUR.name, FAR.name}


def test_nothing_is_published_of_a_catalog_that_is_not_in_sync() -> None:
    server = Server(Counts(web=2))
    server.is_ready = False
    assert server.run(5) == []
    server.is_ready = True
    assert len(server.run(1)) == 2


def test_only_what_has_changed_is_told_and_with_a_higher_version() -> None:
    server = Server(Counts(web=2, db=1))
    server.run(2)
    before = server.machine.entry("dc1", "web")
    server.set("web", 3)
    (_, message), _ = server.run(0.1)
    assert isinstance(message, Changes)
    assert [(name, entry.instances) for name, entry in message.changes] == [("web", 3)]
    assert before is not None
    assert message.changes[0][1].version > before.version


def test_a_count_that_is_back_where_it_was_is_not_told() -> None:
    server = Server(Counts(web=2))
    server.run(2)
    server.set("web", 3)
    server.set("web", 2)
    assert server.run(2) == []


def test_changes_that_come_all_the_time_are_told_in_batches() -> None:
    server = Server(Counts(web=1))
    server.run(2)
    batches = 0
    for number in range(100):
        server.set("web", number + 2)
        batches += len(server.run(0.05)) // 2
    assert 8 <= batches <= 11


def test_what_is_sent_for_changes_stays_within_its_rate() -> None:
    config = SummariesConfig(push_bytes_per_s=100)
    server = Server(Counts(web=1), config=config)
    server.run(60)
    sent_bytes = 0
    for number in range(100):
        server.set("web", number + 2)
        sent_bytes += sum(len(encode(message, ME.name)) for _, message in server.run(1))
    assert 50 * 100 < sent_bytes < 105 * 100


def test_services_that_are_gone_are_told_and_forgotten_with_the_next_generation() -> None:
    server = Server(Counts(**{f"s{n}": 1 for n in range(600)}))
    server.run(2)
    for n in range(600):
        server.set(f"s{n}", 0)
    messages = [message for _, message in server.run(30) if isinstance(message, Changes)]
    assert server.known("dc1") == {}
    server.set("web", 1)
    messages = [message for _, message in server.run(30) if isinstance(message, Changes)]
    assert [message.after for message in messages] == [0, 0]
    assert [name for name, _ in messages[0].changes] == ["web"]


def test_services_beyond_the_bound_are_left_out_and_counted() -> None:
    config = SummariesConfig(services_max=2)
    server = Server(Counts(a=1, b=1, c=1), config=config)
    server.run(1)
    assert server.known("dc1") == {"a": 1, "b": 1}
    assert server.machine.metrics["left_out"] == 1


def test_a_new_publisher_begins_a_generation_and_keeps_the_versions_of_what_is_as_it_was() -> None:
    first = Peer("first.dc1", "dc1", "a")
    server = Server(Counts(web=1, db=2), first, FAR)
    old = said(0, 2, "db", "web", datacenter="dc1", generation=7 << 60)
    server.hear(old, first)
    server.meet(FAR)
    ((_, message),) = server.run(0.1)
    assert isinstance(message, Changes)
    assert message.generation > old.generation
    assert {name: entry.version for name, entry in message.changes} == {
        "web": 1,
        "db": WALL_MS + 50,
    }


def test_who_is_contradicted_says_everything_anew_but_not_all_the_time() -> None:
    server = Server(Counts(web=1))
    server.run(5)
    generations = {2**63}
    for number in range(200):
        server.set("web", number + 1)
        rival = said(0, 1, "web", datacenter="dc1", generation=max(generations) + 1)
        server.hear(rival, NEIGHBOUR)
        generations |= {m.generation for _, m in server.run(0.1) if isinstance(m, Changes)}
    assert 3 <= len(generations) <= 5


# -- hearing ------------------------------------------------------------------------------------


def test_changes_are_taken_in_one_after_the_other() -> None:
    server = Server()
    assert server.hear(said(0, 1, "web")) == []
    assert server.hear(said(1, 2, "db")) == []
    assert server.known() == {"web": 1, "db": 1}


def test_what_was_missed_is_asked_for_once() -> None:
    server = Server()
    server.hear(said(0, 1, "web"))
    assert server.hear(said(2, 3, "db")) == [(FAR.name, Want((Position("dc2", 5, 1),)))]
    assert server.hear(said(3, 4, "api")) == []
    assert server.known() == {"web": 1}
    server.hear(said(1, 4, "x", "db", "api"))
    assert server.known() == {"web": 1, "x": 1, "db": 1, "api": 1}


def test_a_generation_in_pages_is_shown_when_it_is_complete() -> None:
    server = Server()
    server.hear(said(0, 1, "old"))
    assert server.hear(said(0, 1, "a", generation=6, latest=2)) == [
        (FAR.name, Want((Position("dc2", 6, 1),)))
    ]
    assert server.known() == {"old": 1}
    server.hear(said(1, 2, "b", generation=6))
    assert server.known() == {"a": 1, "b": 1}


def test_an_earlier_generation_changes_nothing() -> None:
    server = Server()
    server.hear(said(0, 1, "web", generation=6))
    server.hear(said(0, 9, "old", generation=5))
    assert server.known() == {"web": 1}


def test_the_publisher_passes_on_what_it_gets_for_its_data_center() -> None:
    server = Server()
    ((to, message),) = server.hear(said(0, 1, "web", pass_on=True))
    assert (to, message) == (NEIGHBOUR.name, said(0, 1, "web"))
    # Not twice, and not what it was not asked to.
    assert server.hear(said(0, 1, "web", pass_on=True)) == []
    assert server.hear(said(1, 2, "db")) == []


def test_a_data_center_that_is_not_in_the_pool_is_not_listened_to() -> None:
    server = Server()
    server.hear(said(0, 1, "web", datacenter="nowhere"))
    assert server.machine.metrics["dropped.summary-of-nobody"] == 1


def test_what_a_data_center_said_is_forgotten_with_it_and_not_when_it_is_out_of_reach() -> None:
    server = Server()
    server.hear(said(0, 1, "web"))
    server.machine.set_peers([ME, NEIGHBOUR], {"dc1", "dc2"}, now=server.now)
    assert server.known() == {"web": 1}
    server.machine.set_peers([ME, NEIGHBOUR], {"dc1"}, now=server.now)
    server.meet(NEIGHBOUR, FAR)
    assert server.known() == {}


def test_what_goes_beyond_the_bounds_is_dropped_and_counted() -> None:
    server = Server(config=SummariesConfig(entries_max=2))
    server.hear(said(0, 1, "web"))
    assert server.hear(said(1, 4, "a", "b", "c")) == []
    assert server.known() == {"web": 1}
    assert server.machine.metrics["dropped.summary-too-large"] == 1


def test_bytes_that_are_no_message_are_counted() -> None:
    server = Server()
    assert server.machine.handle_message_untrusted(b"\x82\xff", now=0.0) == []
    assert server.machine.metrics["dropped.summary-form"] == 1


# -- repair -------------------------------------------------------------------------------------


def test_who_has_the_same_is_not_answered_and_who_has_not_gets_what_it_lacks() -> None:
    one, other = Server(), Server(None, ME, FAR, FARTHER, me=NEIGHBOUR)
    one.hear(said(0, 2, "web", "db"))
    other.hear(said(0, 1, "web"))
    hello = Hello(one.machine._position_hash())
    ((_, positions),) = other.hear(hello, ME)
    ((_, changes),) = one.hear(positions, NEIGHBOUR)
    other.hear(changes, ME)
    assert other.known() == one.known()
    assert other.hear(hello, ME) == []


def test_who_is_told_of_more_than_it_has_asks_for_it() -> None:
    server = Server()
    server.hear(said(0, 1, "web"))
    ahead = Positions((Position("dc2", 5, 4),))
    assert server.hear(ahead) == [(FAR.name, Want((Position("dc2", 5, 1),)))]
    # Of somebody else not yet: it may be on its way.
    assert server.hear(ahead, NEIGHBOUR) == []


def test_an_empty_generation_is_worth_telling() -> None:
    server = Server()
    server.hear(said(0, 0, generation=6))
    (answer,) = server.hear(Want((Position("dc2", 5, 9),)), NEIGHBOUR)
    assert answer == (NEIGHBOUR.name, said(0, 0, generation=6))
