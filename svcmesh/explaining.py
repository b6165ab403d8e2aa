"""Why a service instance is, or is not, in answers: every check of it, with since when and by whom.

Answers come from one agent's view and memory (`healthlog.py`). No I/O.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from svcmesh.catalog.changes import ExternalNode, Owner, OwnNode
from svcmesh.catalog.records import CheckRecord, HealthStatus
from svcmesh.catalog.view import CatalogView
from svcmesh.catalog.view_rows import SERF_CHECK_ID, CheckRow, NodeRow, ServiceRow
from svcmesh.checks.maintenance import NODE_CHECK_ID, SERVICE_CHECK_PREFIX
from svcmesh.healthlog import HealthEntry, HealthLog

STEPS_MAX: Final = 10
"""Of a check's history that are shown."""


class CheckKind(StrEnum):
    """What a check speaks of."""

    MEMBER = "member"
    """Whether the agent of the node is alive, by gossip."""
    NODE = "node"
    SERVICE = "service"
    MAINTENANCE = "maintenance"
    """An operator keeps it out."""


@dataclass(frozen=True, slots=True)
class ExplainedCheck:
    """One check that has a say."""

    kind: CheckKind
    id: str
    name: str
    status: str
    since_utc: float | None
    """When it came to be so. None: before `HealthLog.since_utc`."""
    seen_by: str
    """The node whose agent runs it; for a member, who sees it so."""
    output: str
    """What it says, or the reason of a maintenance."""
    excludes: bool
    """Whether it alone keeps the instance out of DNS."""
    history: tuple[HealthEntry, ...]
    """The latest first."""


@dataclass(frozen=True, slots=True)
class ExplainedInstance:
    """One instance and all that decides on it."""

    node: str
    service_id: str
    service: str
    address: str
    port: int
    is_external: bool
    checks: tuple[ExplainedCheck, ...]
    """Those that keep it out first."""

    @property
    def is_answered(self) -> bool:
        """Whether DNS answers with it."""
        return not any(check.excludes for check in self.checks)


class Explainer:
    """Explains from one agent's view.

    `own_check` gives the latest of the agent's own checks by id, whose output may be newer than
    what it publishes; `only_passing` is its setting for DNS.
    """

    def __init__(
        self,
        view: CatalogView,
        log: HealthLog,
        *,
        own_name: str,
        own_check: Callable[[str], CheckRecord | None],
        only_passing: bool,
    ) -> None:
        self._view, self._log = view, log
        self._own_name, self._own_check, self._only_passing = own_name, own_check, only_passing

    @property
    def remembers_since_utc(self) -> float:
        """From when on the agent knows what happened."""
        return self._log.since_utc

    def instances(self, name: str) -> list[ExplainedInstance]:
        """Every instance with this id; if there is none, those of the service of this name."""
        by_id = [row for node in self._view.nodes() if (row := node.services.get(name))]
        rows: Iterable[ServiceRow] = by_id or self._view.service(name)
        found = [self._instance(row) for row in rows]
        return sorted(found, key=lambda one: (one.is_answered, one.node, one.service_id))

    def _instance(self, row: ServiceRow) -> ExplainedInstance:
        node, record = row.node, row.record
        checks = [self._check(check) for check in (*node.node_checks, *row.checks)]
        order = list(CheckKind)
        checks.sort(key=lambda one: (not one.excludes, order.index(one.kind), one.id))
        return ExplainedInstance(
            node=node.name,
            service_id=record.id,
            service=record.name,
            address=record.address or node.body.address,
            port=record.port,
            is_external=not node.is_own,
            checks=tuple(checks),
        )

    def _check(self, row: CheckRow) -> ExplainedCheck:
        record, node = row.record, row.node
        if node.node_id == self._view.local_node_id:
            record = self._own_check(record.id) or record
        kind = _kind(row)
        history = tuple(_first(self._log.of(_owner(node), record.id), STEPS_MAX))
        is_known = bool(history) and history[0].new == record.status and not history[0].was_there
        excludes = record.status == HealthStatus.CRITICAL or (
            self._only_passing and record.status != HealthStatus.PASSING
        )
        return ExplainedCheck(
            kind=kind,
            id=record.id,
            name=record.name,
            status=record.status,
            since_utc=history[0].at_utc if is_known else None,
            seen_by=self._own_name if kind is CheckKind.MEMBER else node.name,
            output=record.notes if kind is CheckKind.MAINTENANCE else record.output,
            excludes=excludes,
            history=history,
        )


def _kind(row: CheckRow) -> CheckKind:
    check_id = row.record.id
    if row.node.is_own and check_id == SERF_CHECK_ID:
        return CheckKind.MEMBER
    if check_id == NODE_CHECK_ID or check_id.startswith(SERVICE_CHECK_PREFIX):
        return CheckKind.MAINTENANCE
    return CheckKind.SERVICE if row.record.service_id else CheckKind.NODE


def _owner(node: NodeRow) -> Owner:
    return ExternalNode(node.key) if node.node_id is None else OwnNode(node.node_id)


def _first(entries: Iterator[HealthEntry], count: int) -> Iterator[HealthEntry]:
    for _, entry in zip(range(count), entries, strict=False):
        yield entry
