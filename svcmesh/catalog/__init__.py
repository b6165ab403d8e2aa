"""The service catalog: records, their replication to every agent, and the typed view of them."""

from svcmesh.catalog.agreement import Difference, PeerAgreement
from svcmesh.catalog.changes import (
    AnswerSource,
    BecameReady,
    CatalogDropped,
    CatalogEffect,
    ClockDrift,
    EpochRaised,
    ExternalNode,
    IdentityContested,
    IdentityRestored,
    NodeBound,
    NodeHealthChanged,
    NodeUnbound,
    Owner,
    OwnNode,
    RecordChanged,
    SendCatalog,
    ViewChange,
)
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.errors import RecordTooLargeError
from svcmesh.catalog.records import (
    Body,
    CheckRecord,
    HealthStatus,
    Kind,
    NodeId,
    NodeRecord,
    ServiceRecord,
    TaggedAddress,
)
from svcmesh.catalog.replica import Replica
from svcmesh.catalog.view import CatalogView

__all__ = [
    "AnswerSource",
    "BecameReady",
    "Body",
    "CatalogDropped",
    "CatalogEffect",
    "CatalogView",
    "CheckRecord",
    "ClockDrift",
    "Difference",
    "EpochRaised",
    "ExternalNode",
    "HealthStatus",
    "IdentityContested",
    "IdentityRestored",
    "Kind",
    "NodeBound",
    "NodeHealthChanged",
    "NodeId",
    "NodeRecord",
    "NodeUnbound",
    "OwnNode",
    "Owner",
    "PeerAgreement",
    "RecordChanged",
    "RecordTooLargeError",
    "Replica",
    "ReplicaConfig",
    "SendCatalog",
    "ServiceRecord",
    "TaggedAddress",
    "ViewChange",
]
