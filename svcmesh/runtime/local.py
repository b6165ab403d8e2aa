"""The agent's own services and checks: registered over HTTP and kept on disk, or configured.

`LocalState` owns them. What is registered is on disk before it is published; what a configuration
file defines is not kept: its file is read again at the next start.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import Final

from svcmesh.catalog.bodies import replication_problem
from svcmesh.catalog.errors import CatalogFullError, RecordTooLargeError
from svcmesh.catalog.records import Body, CheckRecord, HealthStatus, Kind
from svcmesh.checks.definition import (
    SCRIPTS_DISABLED,
    CheckDefinition,
    Maintenance,
    ScriptProbe,
    Ttl,
)
from svcmesh.checks.maintenance import maintenance_check, maintenance_id
from svcmesh.checks.runner import CheckRunner, Fact
from svcmesh.checks.table import (
    CheckChanged,
    CheckConfig,
    CheckState,
    CheckTable,
    ProbeResult,
    ServiceExpired,
)
from svcmesh.definitions import DefinitionError, ServiceDefinition, definition_warnings
from svcmesh.errors import (
    ScriptsDisabledError,
    StorageError,
    UnknownCheckError,
    UnknownServiceError,
)
from svcmesh.runtime.aliases import AliasFollower, NodeChecks
from svcmesh.runtime.kept import KeptState, check_plan, service_plan
from svcmesh.runtime.tasks import BackgroundTasks
from svcmesh.runtime.ttl_states import TtlStateKeeper
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir, TtlState

logger = logging.getLogger("agent.checks")
services_logger = logging.getLogger("agent.services")

PUBLISHED_OUTPUT_CHARS_MAX: Final = 8192
"""Of a check's output, whatever the limits on it: every agent holds what is published."""


LOGGED_OUTPUT_CHARS_MAX: Final = 200
"""Of the first line of a check's output, when its status has changed."""


@dataclass(frozen=True, slots=True)
class ScriptPolicy:
    """Which checks may run commands."""

    configured: bool = False
    """Those of configuration files."""
    registered: bool = False
    """Those that come over HTTP."""


class LocalState:
    """This agent's services and checks; publishes and withdraws their records.

    A service's definition here is without its checks: those are in the table, like all others.
    """

    def __init__(
        self,
        data_dir: DataDir,
        committer: GroupCommitter,
        *,
        publish: Callable[[Body], None],
        withdraw: Callable[[Kind, str], None],
        check_identity: Callable[[], None],
        config: CheckConfig,
        scripts: ScriptPolicy,
        rng: Random,
        node_checks: NodeChecks,
    ) -> None:
        """Begin with nothing.

        `check_identity` raises while this agent may not register anything; `node_checks` knows the
        checks of other nodes, for aliases.
        """
        self._data_dir, self._committer = data_dir, committer
        self._publish, self._withdraw = publish, withdraw
        self._check_identity, self._scripts = check_identity, scripts
        self._loop = asyncio.get_running_loop()
        self._services: dict[str, ServiceDefinition] = {}
        self._checks_of: dict[str, dict[str, None]] = {}
        """Ids of checks by service, in the order of their registration; empty: of the node."""
        self._service_then: dict[str, ServiceDefinition | None] = {}
        """By check: its service as it was when the check was registered."""
        self._configured_services: set[str] = set()
        self._configured_checks: set[str] = set()
        self._table = CheckTable(config, rng=rng)
        self._runner = CheckRunner(self._table, on_fact=self._on_fact)
        self._aliases = AliasFollower(self, self._runner, node_checks)
        self._ttl_states = TtlStateKeeper(data_dir, committer, self._ttl_state)
        self._expiring = BackgroundTasks()

    async def close(self) -> None:
        """End all probes, and save what TTL checks said last."""
        self._aliases.close()
        await self._expiring.end()
        await self._runner.close()
        await self._ttl_states.close()

    # -- reading ----------------------------------------------------------------------------

    @property
    def services(self) -> Mapping[str, ServiceDefinition]:
        """Services by id, without their checks."""
        return self._services

    @property
    def table(self) -> CheckTable:
        """All checks, by id."""
        return self._table

    def check_ids(self, service_id: str) -> Iterator[str]:
        """The checks of a service, or of the node if the id is empty, as they were registered."""
        return iter(self._checks_of.get(service_id, ()))

    def check_record(self, check_id: str) -> CheckRecord:
        """A check as it is now, with output that may not be published yet.

        As in Consul, with the name and tags that its service had when it was registered; in the
        catalog it has those of when it was published.
        """
        return self._record(self._table[check_id], self._service_then[check_id])

    # -- loading ----------------------------------------------------------------------------

    def load(
        self,
        kept: KeptState,
        services: Iterable[ServiceDefinition],
        checks: Sequence[CheckDefinition] = (),
    ) -> None:
        """Publish what earlier runs kept and what configuration defines; the latter wins.

        Raises:
            DefinitionError: Configuration has a check that may not be, or of an unknown service.
        """
        states = kept.ttl_states
        self._services |= {service.id: service for service in kept.services}
        for check in kept.checks:
            if check.service_id and check.service_id not in self._services:
                logger.warning("check %s: its service is gone", check.id)
            elif isinstance(check.source, ScriptProbe) and not self._scripts.registered:
                logger.error("check %s: not restored, %s", check.id, SCRIPTS_DISABLED)
            else:
                self._put_check(check, _restored(states.get(check.id)))
        for service in self._services.values():
            self._publish_safely(service.record)
        self.reconfigure(services, checks, states)

    def reconfigure(
        self,
        services: Iterable[ServiceDefinition],
        checks: Sequence[CheckDefinition] = (),
        ttl_states: Mapping[str, TtlState] = MappingProxyType({}),
    ) -> None:
        """Replace the configured services and checks by these; registered ones stay.

        Raises:
            DefinitionError: A check may not be, or its service is unknown. Nothing has changed.
        """
        wanted = {service.id: service for service in services}
        wanted_checks = {check.id: check for service in wanted.values() for check in service.checks}
        wanted_checks |= {check.id: check for check in checks}
        for check in wanted_checks.values():
            if isinstance(check.source, ScriptProbe) and not self._scripts.configured:
                raise DefinitionError(f'Failed to register check "{check.id}": {SCRIPTS_DISABLED}')
            is_known = check.service_id in wanted or (
                check.service_id in self._services
                and check.service_id not in self._configured_services
            )
            if check.service_id and not is_known:
                raise DefinitionError(
                    f'Failed to register check "{check.id}": '
                    f'ServiceID "{check.service_id}" does not exist'
                )
        for service_id in self._configured_services - wanted.keys():
            self._drop_service(service_id)
        for check_id in self._configured_checks - wanted_checks.keys():
            self._drop_check(check_id)
        for service in wanted.values():
            self._put_service(service, ttl_states, is_configured=True)
        for check in checks:
            self._put_check(check, _restored(ttl_states.get(check.id)), is_configured=True)

    # -- services ---------------------------------------------------------------------------

    async def register_service(
        self, definition: ServiceDefinition, *, replaces_checks: bool = False
    ) -> None:
        """Add or replace a service with its checks; durable when this returns.

        Its other checks stay, unless `replaces_checks`; maintenance mode stays in any case.

        Raises:
            ScriptsDisabledError, DefinitionError: A check is refused. Nothing has changed.
            StorageError: It could not be kept; nothing was published.
        """
        self._check_identity()
        for check in definition.checks:
            self._permit(check, definition)
        gone = self._replaced(definition) if replaces_checks else []
        plan = service_plan(self._data_dir, definition.id, definition)
        for check in definition.checks:
            plan |= check_plan(self._data_dir, check.id, check)
        for check_id in gone:
            plan |= check_plan(self._data_dir, check_id, None)
        await self._committer.commit(plan)
        for check_id in gone:
            self._drop_check(check_id)
        if definition.id not in self._services:
            services_logger.info("registered: service=%s", definition.id)
            for warning in definition_warnings(definition):
                services_logger.warning("%s", warning)
        self._put_service(definition)

    async def deregister_service(self, service_id: str) -> None:
        """Remove a service with its checks.

        Raises:
            UnknownServiceError: There is none of this id.
            StorageError: It could not be forgotten; it stays published.
        """
        if service_id not in self._services:
            raise UnknownServiceError(service_id)
        plan = service_plan(self._data_dir, service_id, None)
        for check_id in self.check_ids(service_id):
            plan |= check_plan(self._data_dir, check_id, None)
        await self._committer.commit(plan)
        services_logger.info("deregistered: service=%s", service_id)
        self._drop_service(service_id)

    def _replaced(self, definition: ServiceDefinition) -> list[str]:
        kept = {check.id for check in definition.checks}
        return [
            check_id
            for check_id in self.check_ids(definition.id)
            if check_id not in kept
            and not isinstance(self._table[check_id].definition.source, Maintenance)
        ]

    # -- checks -----------------------------------------------------------------------------

    async def register_check(self, definition: CheckDefinition) -> None:
        """Add or replace a check of the node or of a service; durable when this returns.

        Raises:
            UnknownServiceError: There is no such service.
            ScriptsDisabledError, DefinitionError: It is refused. Nothing has changed.
            StorageError: It could not be kept; nothing was published.
        """
        self._check_identity()
        service = self._services.get(definition.service_id)
        if definition.service_id and service is None:
            raise UnknownServiceError(definition.service_id)
        self._permit(definition, service)
        await self._committer.commit(check_plan(self._data_dir, definition.id, definition))
        if not definition.service_id or definition.service_id in self._services:
            self._put_check(definition)

    async def deregister_check(self, check_id: str) -> None:
        """Remove a check; one that is not there is fine.

        Raises:
            StorageError: It could not be forgotten; it stays published.
        """
        if check_id in self._table:
            await self._committer.commit(check_plan(self._data_dir, check_id, None))
            self._drop_check(check_id)

    async def report(self, check_id: str, status: HealthStatus, output: str) -> None:
        """Take what a service says of its TTL check; durable when this returns.

        A report that only renews the check is on disk a moment later.

        Raises:
            UnknownCheckError: There is no such check with a TTL.
            StorageError: It could not be kept. It counts all the same.
        """
        if check_id not in self._table or not isinstance(
            self._table[check_id].definition.source, Ttl
        ):
            raise UnknownCheckError(f'CheckID "{check_id}" does not have associated TTL')
        before = self._table[check_id].status
        self._runner.carry_out(self._table.report(check_id, status, output, now=self._loop.time()))
        if before is status:
            self._ttl_states.save_soon(check_id)
        else:
            await self._ttl_states.save(check_id)

    async def set_maintenance(self, service_id: str, reason: str | None) -> None:
        """Put a service, or the node if the id is empty, into maintenance, or end it with None.

        Maintenance that is on already keeps its reason.

        Raises:
            UnknownServiceError: There is no such service.
            StorageError: It could not be kept. Nothing has changed.
        """
        if service_id and service_id not in self._services:
            raise UnknownServiceError(service_id)
        check_id = maintenance_id(service_id)
        if reason is None:
            await self.deregister_check(check_id)
        elif check_id not in self._table:
            await self.register_check(maintenance_check(service_id, reason))

    def _permit(self, check: CheckDefinition, service: ServiceDefinition | None) -> None:
        if isinstance(check.source, ScriptProbe) and not self._scripts.registered:
            raise ScriptsDisabledError(
                "Scripts are disabled on this agent from remote calls; to enable, configure "
                "'enable_script_checks' to true"
            )
        longest = "\U0001f600" * PUBLISHED_OUTPUT_CHARS_MAX
        record = _record(check, service, check.status, longest)
        if (problem := replication_problem(record)) is not None:
            raise DefinitionError(f"a check {problem}")

    # -- what changes in memory and in the catalog ------------------------------------------

    def _put_service(
        self,
        definition: ServiceDefinition,
        ttl_states: Mapping[str, TtlState] = MappingProxyType({}),
        *,
        is_configured: bool = False,
    ) -> None:
        service_id = definition.id
        self._services[service_id] = replace(definition, checks=())
        _mark(self._configured_services, service_id, is_configured)
        # The checks first: nobody is to see the new service without them, and so passing.
        for check in definition.checks:
            self._put_check(check, _restored(ttl_states.get(check.id)), is_configured=is_configured)
        self._publish_safely(definition.record)
        self._aliases.services_changed()

    def _drop_service(self, service_id: str) -> None:
        if self._services.pop(service_id, None) is None:
            return
        self._configured_services.discard(service_id)
        self._withdraw(Kind.SERVICE, service_id)
        for check_id in list(self.check_ids(service_id)):
            self._drop_check(check_id)
        self._aliases.services_changed()

    def _put_check(
        self,
        definition: CheckDefinition,
        state: ProbeResult | None = None,
        *,
        is_configured: bool = False,
    ) -> None:
        check_id = definition.id
        if check_id in self._table:
            self._unlist(check_id)
        self._checks_of.setdefault(definition.service_id, {})[check_id] = None
        self._service_then[check_id] = self._services.get(definition.service_id)
        _mark(self._configured_checks, check_id, is_configured)
        effects = self._table.put(definition, now=self._loop.time(), state=state)
        self._aliases.check_put(definition)
        self._runner.carry_out(effects)

    def _drop_check(self, check_id: str) -> None:
        if check_id not in self._table:
            return
        service_id = self._unlist(check_id)
        self._configured_checks.discard(check_id)
        del self._service_then[check_id]
        self._runner.carry_out(self._table.remove(check_id))
        self._withdraw(Kind.CHECK, check_id)
        self._aliases.check_dropped(check_id, service_id)

    def _unlist(self, check_id: str) -> str:
        service_id = self._table[check_id].definition.service_id
        siblings = self._checks_of[service_id]
        del siblings[check_id]
        if not siblings:
            del self._checks_of[service_id]
        return service_id

    def _on_fact(self, fact: Fact) -> None:
        match fact:
            case CheckChanged():
                state = self._table[fact.check_id]
                if fact.has_turned:
                    _log_turn(state)
                service = self._services.get(state.definition.service_id)
                self._publish_safely(self._record(state, service))
                self._aliases.check_changed(state.definition)
            case ServiceExpired():
                logger.warning(
                    "service %s: check %s has been critical for too long, deregistering it",
                    fact.service_id,
                    fact.check_id,
                )
                self._expiring.spawn(self._expire(fact.service_id))

    async def _expire(self, service_id: str) -> None:
        try:
            await self.deregister_service(service_id)
        except (UnknownServiceError, StorageError) as error:
            logger.error("service %s: not deregistered: %s", service_id, error)

    def _publish_safely(self, body: Body) -> None:
        """Publish a record; one that other agents could not take is logged instead."""
        try:
            self._publish(body)
        except (CatalogFullError, RecordTooLargeError) as error:
            logger.error("not published: %s", error)

    def _record(self, state: CheckState, service: ServiceDefinition | None) -> CheckRecord:
        output = state.output[:PUBLISHED_OUTPUT_CHARS_MAX]
        return _record(state.definition, service, state.status, output)

    def _ttl_state(self, check_id: str) -> TtlState | None:
        if check_id not in self._table:
            return None
        state = self._table[check_id]
        if not isinstance(state.definition.source, Ttl):
            return None
        return TtlState(
            check_id, state.status, state.output, time.time() + state.definition.source.ttl_s
        )


def _record(
    check: CheckDefinition, service: ServiceDefinition | None, status: HealthStatus, output: str
) -> CheckRecord:
    return CheckRecord(
        id=check.id,
        name=check.name,
        status=status,
        output=output,
        notes=check.notes,
        service_id=check.service_id,
        service_name="" if service is None else service.name,
        service_tags=() if service is None else service.tags,
        type=check.type,
    )


def _log_turn(state: CheckState) -> None:
    level = logging.INFO if state.status is HealthStatus.PASSING else logging.WARNING
    first_line = state.output.strip().partition("\n")[0][:LOGGED_OUTPUT_CHARS_MAX]
    logger.log(level, "check %s is now %s: %s", state.definition.id, state.status.value, first_line)


def _restored(kept: TtlState | None) -> ProbeResult | None:
    """What a TTL check said last, unless its time has run out meanwhile."""
    if kept is None or kept.expires_utc <= time.time():
        return None
    return ProbeResult(kept.status, kept.output)


def _mark(marked: set[str], name: str, is_marked: bool) -> None:
    if is_marked:
        marked.add(name)
    else:
        marked.discard(name)
