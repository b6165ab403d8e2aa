"""Keeps alias checks up to date: with this node's checks, and with those of other nodes."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from svcmesh.catalog.records import CheckRecord
from svcmesh.checks.alias import alias_result, followed_services, missing_node, missing_service
from svcmesh.checks.definition import Alias, CheckDefinition
from svcmesh.checks.runner import CheckRunner
from svcmesh.checks.table import CheckTable, ProbeResult


class NodeChecks(Protocol):
    """The checks of other nodes, as the catalog has them."""

    @property
    def own_name(self) -> str:
        """This agent's node."""

    def checks(self, node: str, service_id: str) -> list[CheckRecord] | None:
        """The checks of a node, and of one of its services unless the id is empty.

        Raises:
            KeyError: The node has no such service. None: there is no such node.
        """

    def watch(self, node: str, on_change: Callable[[], None]) -> Callable[[], None]:
        """Call `on_change` once, when the node or its checks change; returns how to forget it."""


class LocalChecks(Protocol):
    """What this module reads of the local state."""

    @property
    def services(self) -> Mapping[str, object]: ...

    @property
    def table(self) -> CheckTable: ...

    def check_ids(self, service_id: str) -> Iterator[str]: ...

    def check_record(self, check_id: str) -> CheckRecord: ...


class AliasFollower:
    """Sets the state of every alias whenever what it follows has changed.

    Changes are gathered for one turn of the event loop, and looked at together.
    """

    def __init__(self, local: LocalChecks, runner: CheckRunner, nodes: NodeChecks) -> None:
        self._local, self._runner, self._nodes = local, runner, nodes
        self._loop = asyncio.get_running_loop()
        self._aliases: dict[str, Alias] = {}
        self._followed: dict[str, list[str]] = {}
        """Services of this node by the alias that follows them; emptied when that may change."""
        self._watches: dict[str, Callable[[], None]] = {}
        """How to stop watching other nodes, by alias."""
        self._stale: dict[str, None] = {}
        self._is_due = False

    def close(self) -> None:
        """Follow nobody any more."""
        for cancel in self._watches.values():
            cancel()
        self._watches.clear()
        self._aliases.clear()

    # -- what the local state tells ---------------------------------------------------------

    def services_changed(self) -> None:
        """A service came, changed or went."""
        self._refresh(self._aliases)

    def check_put(self, definition: CheckDefinition) -> None:
        """A check came, or was replaced."""
        if self._aliases.pop(definition.id, None) is not None:
            self._stop_watching(definition.id)
            self._followed.clear()
        if isinstance(definition.source, Alias):
            self._aliases[definition.id] = definition.source
            self._followed.clear()
            self._refresh(self._aliases)

    def check_dropped(self, check_id: str, service_id: str) -> None:
        """A check went."""
        if self._aliases.pop(check_id, None) is not None:
            self._stop_watching(check_id)
            self._followed.clear()
            self._refresh(self._aliases)
        else:
            self._followers_refresh(service_id)

    def check_changed(self, definition: CheckDefinition) -> None:
        """The state of a check has changed."""
        if definition.id not in self._aliases:
            self._followers_refresh(definition.service_id)

    # -- refreshing -------------------------------------------------------------------------

    def _followers_refresh(self, service_id: str) -> None:
        if self._aliases:
            self._refresh(
                alias_id
                for alias_id in self._aliases
                if not service_id or service_id in self._followed_by(alias_id)
            )

    def _followed_by(self, alias_id: str) -> list[str]:
        followed = self._followed.get(alias_id)
        if followed is None:
            followed = followed_services(self._aliases[alias_id], self._aliases_of)
            self._followed[alias_id] = followed
        return followed

    def _aliases_of(self, service_id: str) -> Iterable[Alias]:
        for check_id in self._local.check_ids(service_id):
            alias = self._aliases.get(check_id)
            if alias is not None and self._is_local(alias):
                yield alias

    def _is_local(self, alias: Alias) -> bool:
        return not alias.node or alias.node.lower() == self._nodes.own_name.lower()

    def _refresh(self, alias_ids: Iterable[str]) -> None:
        for alias_id in alias_ids:
            self._stale[alias_id] = None
        if self._stale and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._refresh_stale)

    def _refresh_stale(self) -> None:
        self._is_due = False
        stale, self._stale = self._stale, {}
        for alias_id in stale:
            alias = self._aliases.get(alias_id)
            if alias is None:
                continue
            if self._is_local(alias):
                result = self._local_result(alias_id, alias)
            else:
                result = self._remote_result(alias_id, alias)
            self._runner.carry_out(
                self._local.table.follow(
                    alias_id, result.status, result.output, now=self._loop.time()
                )
            )

    def _local_result(self, alias_id: str, alias: Alias) -> ProbeResult:
        local = self._local
        if alias.service_id and alias.service_id not in local.services:
            return missing_service(alias.service_id, self._nodes.own_name)
        return alias_result(
            local.check_record(check_id)
            for service_id in self._followed_by(alias_id)
            for check_id in local.check_ids(service_id)
            if check_id not in self._aliases
        )

    def _remote_result(self, alias_id: str, alias: Alias) -> ProbeResult:
        self._stop_watching(alias_id)
        self._watches[alias_id] = self._nodes.watch(alias.node, lambda: self._refresh([alias_id]))
        try:
            checks = self._nodes.checks(alias.node, alias.service_id)
        except KeyError:
            return missing_service(alias.service_id, alias.node)
        return missing_node(alias.node) if checks is None else alias_result(checks)

    def _stop_watching(self, alias_id: str) -> None:
        cancel = self._watches.pop(alias_id, None)
        if cancel is not None:
            cancel()
