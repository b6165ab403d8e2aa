"""The incremental view against a model that computes what is shown from scratch at every step."""

from collections.abc import Hashable
from functools import partial

from hypothesis import example, given, settings
from hypothesis import strategies as st

from svcmesh.catalog.changes import (
    ExternalNode,
    NodeBound,
    NodeHealthChanged,
    NodeUnbound,
    Owner,
    OwnNode,
    RecordChanged,
    ViewChange,
)
from svcmesh.catalog.records import (
    Body,
    CheckRecord,
    HealthStatus,
    Kind,
    NodeId,
    NodeRecord,
    ServiceRecord,
)
from svcmesh.catalog.topics import CHECKS, NODES, SERVICES, Part, Topic
from svcmesh.catalog.view import CatalogView
from svcmesh.catalog.view_rows import CheckRow, NodeRow, ServiceRow

IDS = [NodeId(letter * 8) for letter in "abc"]
NAMES = ["n1", "N1", "n2"]
SERVICE_NAMES = ["web", "Web", "db"]
ADDRESSES = ["10.0.0.1", "10.0.0.2", ""]

owners: st.SearchStrategy[Owner] = st.one_of(
    st.sampled_from(IDS).map(OwnNode), st.sampled_from(["n1", "n2"]).map(ExternalNode)
)
addresses = st.sampled_from(ADDRESSES)
node_records = st.builds(
    NodeRecord, name=st.sampled_from(NAMES), address=addresses, datacenter=st.just("dc1")
)
service_records = st.builds(
    ServiceRecord,
    id=st.sampled_from(["1", "2"]),
    name=st.sampled_from(SERVICE_NAMES),
    tags=st.sampled_from([(), ("x",), ("x", "y")]),
    port=st.sampled_from([0, 80]),
    address=addresses,
)
check_records = st.builds(
    CheckRecord,
    id=st.sampled_from(["c1", "c2", "serfHealth"]),
    name=st.just("check"),
    status=st.sampled_from([*HealthStatus, "odd"]),
    service_id=st.sampled_from(["", "1", "2"]),
)


def record_change(owner: Owner, body: Body) -> RecordChanged:
    match body:
        case NodeRecord():
            return RecordChanged(owner, Kind.NODE, "", None, body)
        case ServiceRecord():
            return RecordChanged(owner, Kind.SERVICE, body.id, None, body)
        case CheckRecord():
            return RecordChanged(owner, Kind.CHECK, body.id, None, body)


changes: st.SearchStrategy[ViewChange] = st.one_of(
    st.builds(record_change, owners, st.one_of(node_records, service_records, check_records)),
    st.builds(record_change, owners, node_records),
    st.builds(RecordChanged, owners, st.just(Kind.NODE), st.just(""), old=st.none(), new=st.none()),
    st.builds(
        RecordChanged,
        owners,
        st.just(Kind.SERVICE),
        st.sampled_from(["1", "2"]),
        old=st.none(),
        new=st.none(),
    ),
    st.builds(
        RecordChanged,
        owners,
        st.just(Kind.CHECK),
        st.sampled_from(["c1", "c2", "serfHealth"]),
        old=st.none(),
        new=st.none(),
    ),
    st.builds(NodeBound, st.sampled_from(IDS), st.sampled_from(NAMES), st.booleans()),
    st.builds(NodeHealthChanged, st.sampled_from(IDS), st.booleans()),
    st.builds(NodeUnbound, st.sampled_from(IDS)),
)

Projection = dict[Topic, Hashable]
Where = tuple[str, str]
"""Node id (empty: external) and name."""


class Model:
    """Records, bindings, and the order in which nodes began to claim a name. Nothing derived."""

    def __init__(self) -> None:
        self.bodies: dict[Owner, dict[tuple[Kind, str], Body]] = {}
        self.bound: dict[NodeId, tuple[str, bool]] = {}
        self.claims: list[tuple[Owner, str]] = []
        self.holders: dict[str, Owner] = {}

    def apply(self, change: ViewChange) -> None:
        match change:
            case RecordChanged():
                held = self.bodies.setdefault(change.owner, {})
                held.pop((change.kind, change.id), None)
                if change.new is not None:
                    held[change.kind, change.id] = change.new
            case NodeBound():
                if self.bound.get(change.node_id, ("", False))[0] != change.name:
                    self.bound.pop(change.node_id, None)
                    self._settle()
                self.bound[change.node_id] = (change.name, change.is_alive)
            case NodeHealthChanged():
                if change.node_id in self.bound:
                    self.bound[change.node_id] = (self.bound[change.node_id][0], change.is_alive)
            case NodeUnbound():
                self.bound.pop(change.node_id, None)
        self._settle()

    def _settle(self) -> None:
        claims = [
            (owner, owner.name if isinstance(owner, ExternalNode) else bound[0].lower())
            for owner, held in self.bodies.items()
            if (Kind.NODE, "") in held and (bound := self._binding(owner)) is not None
        ]
        kept = [claim for claim in self.claims if claim in claims]
        self.claims = kept + [claim for claim in claims if claim not in kept]
        for key in ("n1", "n2"):
            claimants = [owner for owner, name in self.claims if name == key]
            own = [owner for owner in claimants if isinstance(owner, OwnNode)]
            holder = self.holders.pop(key, None)
            if holder is not None and holder in (own or claimants):
                self.holders[key] = holder
            elif claimants:
                self.holders[key] = (own or claimants)[0]

    def _binding(self, owner: Owner) -> tuple[str, bool] | None:
        return self.bound.get(owner.node_id) if isinstance(owner, OwnNode) else ("", True)

    def projection(self) -> Projection:
        """What each topic stands for, as plain values."""
        found: dict[Topic, list[Hashable]] = {topic: [] for topic in ALL_TOPICS}
        for key, owner in sorted(self.holders.items()):
            held = self.bodies[owner]
            record = held[Kind.NODE, ""]
            assert isinstance(record, NodeRecord)
            binding = self._binding(owner)
            assert binding is not None
            is_own = isinstance(owner, OwnNode)
            spelled = record.name if record.name.lower() == key else key
            where = (owner.node_id, binding[0]) if isinstance(owner, OwnNode) else ("", spelled)
            services = {b.id: b for b in held.values() if isinstance(b, ServiceRecord)}
            checks = [
                # An instance of another name is shown anew, and so are its checks.
                (b.id, str(b.status), b.service_id, b.service_id and services[b.service_id].name)
                for b in held.values()
                if isinstance(b, CheckRecord)
                and (not b.service_id or b.service_id in services)
                and not (is_own and b.id == "serfHealth")
            ]
            if is_own:
                checks.append(("serfHealth", "passing" if binding[1] else "critical", "", ""))
            body = (record.name, record.address)
            found[NODES].append((where, body))
            found[Topic(Part.NODE, key)].append(
                (where, body, frozenset(map(service_value, services.values())))
            )
            found[Topic(Part.NODE_CHECKS, key)].append((where, frozenset(checks)))
            if checks:
                found[CHECKS].append((where, frozenset(checks)))
            for service in services.values():
                name = service.name.lower()
                found[SERVICES].append((where, service.id, service.name, service.tags))
                found[Topic(Part.SERVICE, name)].append((where, body, service_value(service)))
                mine = frozenset(check for check in checks if check[2] in ("", service.id))
                if mine:
                    found[Topic(Part.SERVICE_CHECKS, name)].append((where, service.id, mine))
        return {topic: frozenset(values) for topic, values in found.items()}


ALL_TOPICS = [
    NODES,
    SERVICES,
    CHECKS,
    *(Topic(part, key) for part in (Part.NODE, Part.NODE_CHECKS) for key in ("n1", "n2")),
    *(Topic(part, key) for part in (Part.SERVICE, Part.SERVICE_CHECKS) for key in ("web", "db")),
]


def service_value(record: ServiceRecord) -> Hashable:
    return (record.id, record.name, record.tags, record.port, record.address)


def projection_of(view: CatalogView) -> Projection:
    """The same as `Model.projection`, read from the view's lookups."""
    found: Projection = {
        NODES: frozenset((where(row), body_value(row)) for row in view.nodes()),
        SERVICES: frozenset(
            (where(row.node), row.record.id, row.record.name, row.record.tags)
            for name in ("web", "db")
            for row in view.service(name)
        ),
        CHECKS: frozenset(
            (place, frozenset(check_value(c) for c in checks if where(c.node) == place))
            for checks in [list(view.checks_in_state("any"))]
            for place in {where(check.node) for check in checks}
        ),
    }
    for key in ("n1", "n2"):
        node = view.node(key)
        nodes = [node] if node is not None else []
        found[Topic(Part.NODE, key)] = frozenset(
            (
                where(row),
                body_value(row),
                frozenset(service_value(service.record) for service in row.services.values()),
            )
            for row in nodes
        )
        found[Topic(Part.NODE_CHECKS, key)] = frozenset(
            (where(row), frozenset(map(check_value, row.all_checks()))) for row in nodes
        )
    for key in ("web", "db"):
        found[Topic(Part.SERVICE, key)] = frozenset(
            (where(row.node), body_value(row.node), service_value(row.record))
            for row in view.service(key)
        )
        found[Topic(Part.SERVICE_CHECKS, key)] = frozenset(
            (where(row.node), row.record.id, checks)
            for row in view.service(key)
            if (checks := frozenset(map(check_value, (*row.node.node_checks, *row.checks))))
        )
    return found


def where(node: NodeRow) -> Where:
    return (node.id, node.name)


def body_value(node: NodeRow) -> Hashable:
    return (node.body.name, node.body.address)


def check_value(row: CheckRow) -> Hashable:
    service_id = row.record.service_id
    name = service_id and row.node.services[service_id].record.name
    return (row.record.id, str(row.record.status), service_id, name)


@settings(max_examples=150, deadline=None)
@given(st.lists(changes, max_size=40))
def test_any_sequence_of_changes_shows_what_a_rebuild_shows(sequence: list[ViewChange]) -> None:
    view = CatalogView(local_node_id=IDS[0], datacenter="dc1", index_start=1)
    model = Model()
    for change in sequence:
        view.apply(change)
        model.apply(change)
        assert projection_of(view) == model.projection()
        assert_secondary_indexes_agree(view)


def assert_secondary_indexes_agree(view: CatalogView) -> None:
    shown: list[ServiceRow] = [row for node in view.nodes() for row in node.services.values()]
    for address in ADDRESSES[:2]:
        assert {row.name for row in view.nodes_by_address(address)} == {
            row.name for row in view.nodes() if row.body.address == address
        }
        assert set(view.services_by_address(address)) == {
            row for row in shown if row.record.address == address
        }
    everything = list(view.checks_in_state("any"))
    for state in ("passing", "warning", "critical", "odd"):
        assert {id(row) for row in view.checks_in_state(state)} == {
            id(row) for row in everything if row.record.status == state
        }
    assert set(view.service_tags()) == {row.record.name for row in shown}


@settings(max_examples=150, deadline=None)
@given(st.lists(changes, max_size=40))
@example(
    [
        record_change(
            ExternalNode("n2"), NodeRecord(name="n2", address="10.0.0.1", datacenter="dc1")
        ),
        record_change(ExternalNode("n2"), ServiceRecord(id="1", name="db")),
        record_change(
            ExternalNode("n2"),
            CheckRecord(id="c1", name="check", status=HealthStatus.PASSING, service_id="1"),
        ),
        record_change(ExternalNode("n2"), ServiceRecord(id="1", name="web")),
    ]
)
def test_a_watch_is_woken_exactly_when_its_topic_changes(sequence: list[ViewChange]) -> None:
    view = CatalogView(local_node_id=IDS[0], datacenter="dc1", index_start=1)
    for change in sequence:
        before, index = projection_of(view), view.index
        indexes = {topic: view.topic_index([topic]) for topic in ALL_TOPICS}
        woken: set[Topic] = set()
        watches = [view.watch([topic], partial(woken.add, topic)) for topic in ALL_TOPICS]
        view.apply(change)
        for watch in watches:
            view.cancel_watch(watch)
        after = projection_of(view)
        changed = {topic for topic in ALL_TOPICS if before[topic] != after[topic]}
        assert woken == changed
        assert (view.index > index) == bool(changed)
        for topic in ALL_TOPICS:
            assert view.topic_index([topic]) >= indexes[topic]
            assert view.topic_index([topic]) <= view.index
        assert all(view.topic_index([topic]) == view.index for topic in changed)
