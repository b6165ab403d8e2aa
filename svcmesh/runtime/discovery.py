"""The catalog on one agent, and everything that this agent publishes in it."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from random import Random

from gossip.types import Address, MemberName
from svcmesh import __version__
from svcmesh.catalog import CatalogView, Replica, ReplicaConfig
from svcmesh.catalog.changes import (
    BecameReady,
    CatalogDropped,
    CatalogEffect,
    ClockDrift,
    EpochRaised,
    IdentityContested,
    IdentityRestored,
)
from svcmesh.catalog.records import Body, CheckRecord, Kind, NodeId, NodeRecord, ServiceRecord
from svcmesh.checks.runner import most_probes
from svcmesh.checks.table import CheckConfig
from svcmesh.config import AgentConfig
from svcmesh.consistency import CatalogConsistency
from svcmesh.errors import NameReservedError
from svcmesh.explaining import Explainer
from svcmesh.healthlog import HealthLog
from svcmesh.runtime.catalog import CatalogRuntime
from svcmesh.runtime.externalfile import ExternalFile
from svcmesh.runtime.kept import KeptState
from svcmesh.runtime.local import LocalState, ScriptPolicy
from svcmesh.runtime.nodes import CatalogNodes
from svcmesh.runtime.ownstate import OwnState
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir

logger = logging.getLogger("agent.catalog")


class Discovery:
    """The catalog's replica with what belongs to it, and this agent's own part of it.

    `replica` and `catalog` hold the records, `local` this agent's services and checks;
    `consistency` and `explainer` tell of them.
    """

    def __init__(
        self,
        config: AgentConfig,
        state: OwnState,
        data_dir: DataDir,
        committer: GroupCommitter,
        view: CatalogView,
        *,
        send: Callable[[MemberName | Address, bytes], None],
    ) -> None:
        """Begin with what is on disk; `send(to, payload)` hands a message to other agents.

        Raises:
            StorageError: The disk refuses.
        """
        loop = asyncio.get_running_loop()
        self._state, self._data_dir, self._view = state, data_dir, view
        self._node_name = config.node_name
        self._reserved_by: str | None = None
        self.replica = Replica(
            ReplicaConfig(),
            name=config.node_name,
            node_id=NodeId(state.node_id),
            epoch=state.epoch,
            expects_peers=bool(config.start_join or config.retry_join)
            or bool(state.lan.known_peers),
            now=loop.time(),
            rng=Random(),
        )
        health_log = HealthLog(started_utc=time.time())
        self.catalog = CatalogRuntime(
            self.replica,
            view,
            send=send,
            on_fact=self._on_fact,
            health_log=health_log,
            on_unsaved=self._note_unsaved,
        )
        self._external: ExternalFile | None = None
        """What a server keeps on disk beyond its own registrations."""
        if config.server and data_dir.root is not None:
            self._external = ExternalFile(data_dir.root)
            self._external.start(self.catalog)
        self.consistency = CatalogConsistency(self.replica, view, clock=loop.time)
        self.explainer = Explainer(
            view,
            health_log,
            own_name=config.node_name,
            own_check=self._own_check,
            only_passing=config.dns.only_passing,
        )
        self.local = LocalState(
            data_dir,
            committer,
            publish=self.catalog.put_own,
            withdraw=self.catalog.delete_own,
            check_identity=self.check_identity,
            config=CheckConfig(
                output_bytes_max=config.check_output_max_size,
                discards_output=config.discard_check_output,
                update_interval_s=config.check_update_interval_s,
                probes_max=most_probes(),
            ),
            scripts=ScriptPolicy(
                configured=config.enable_script_checks or config.enable_local_script_checks,
                registered=config.enable_script_checks,
            ),
            rng=Random(),
            node_checks=CatalogNodes(view, own_name=config.node_name),
        )

    async def close(self) -> None:
        """End the checks, and say nothing more to other agents."""
        await self.local.close()
        self.catalog.close()
        if self._external is not None:
            await self._external.close()

    def publish(self, config: AgentConfig, kept: KeptState) -> None:
        """Publish our node and services: those of earlier runs, and those configured."""
        self.catalog.member_alive(config.node_name, NodeId(self._state.node_id), is_peer=True)
        self.publish_node(config)
        if config.server:
            self.catalog.put_own(
                ServiceRecord(
                    id="consul",
                    name="consul",
                    port=config.ports.server,
                    meta={"version": __version__},
                )
            )
        for warning in self._data_dir.warnings:
            logger.error("data_dir: %s", warning)
        self.local.load(kept, config.services, config.checks)

    def publish_node(self, config: AgentConfig) -> None:
        """Publish our node as the configuration has it."""
        family = "ipv6" if ":" in config.advertise_addr else "ipv4"
        family_wan = "ipv6" if ":" in config.advertise_addr_wan else "ipv4"
        addresses = {
            "lan": config.advertise_addr,
            f"lan_{family}": config.advertise_addr,
            "wan": config.advertise_addr_wan,
            f"wan_{family_wan}": config.advertise_addr_wan,
        }
        self.catalog.put_own(
            NodeRecord(
                name=config.node_name,
                address=config.advertise_addr,
                datacenter=config.datacenter,
                tagged_addresses=addresses,
                meta={**config.node_meta, "consul-network-segment": ""},
            )
        )

    def register_external(self, node_name: str, bodies: Sequence[Body]) -> None:
        """Publish records of a node without an agent.

        Raises:
            NameReservedError: Another node holds our name or id.
        """
        self.check_identity()
        for body in bodies:
            self.catalog.put_external(node_name, body)

    def deregister_external(self, node_name: str, keys: Sequence[tuple[Kind, str]]) -> None:
        """Withdraw records of a node without an agent.

        Raises:
            NameReservedError: Another node holds our name or id.
        """
        self.check_identity()
        for kind, record_id in keys:
            self.catalog.delete_external(node_name, kind, record_id)

    async def external_saved(self) -> None:
        """Return when what was written of external records would survive a crash.

        At once on an agent that does not keep them: its peers have them.

        Raises:
            StorageError: The disk refuses. They are in force all the same.
        """
        if self._external is not None:
            await self._external.saved()

    def _note_unsaved(self) -> None:
        if self._external is not None:
            self._external.note_change()

    def check_identity(self) -> None:
        """Refuse to publish while our name is not ours.

        Raises:
            NameReservedError: Another node holds our name or id.
        """
        if self._reserved_by is not None:
            raise NameReservedError(self._node_name, self._reserved_by)

    def _own_check(self, check_id: str) -> CheckRecord | None:
        return self.local.check_record(check_id) if check_id in self.local.table else None

    def _on_fact(self, fact: CatalogEffect) -> None:
        match fact:
            case BecameReady():
                count = len(self._view.nodes())
                logger.info("synced: %d node%s", count, "" if count == 1 else "s")
            case IdentityContested():
                self._reserved_by = fact.holder
                logger.error(
                    "our node %s is held by %s: this agent's services are hidden until that ends",
                    fact.what,
                    fact.holder,
                )
            case IdentityRestored():
                self._reserved_by = None
                logger.info("our node name and id are ours again: publishing")
            case EpochRaised():
                logger.warning("a peer knew a later epoch of this node: raised ours")
                self._state.epoch = fact.epoch
                self._state.note_change()
            case ClockDrift():
                logger.warning("our clock is %+.1f s from our peers' median", fact.drift_s)
            case CatalogDropped():
                # Counted by the replica.
                return
            case _:
                raise AssertionError(f"not a fact: {fact}")
