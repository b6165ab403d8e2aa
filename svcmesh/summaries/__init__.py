"""Which services each data center has and how many healthy instances, told over the WAN. No I/O.

One server of each data center (the alive one with the lowest node id) publishes what its catalog
counts; every server of every data center keeps what all of them say. See `machine.py`.
"""

from svcmesh.summaries.codec import SUMMARY_BYTE
from svcmesh.summaries.counting import ServiceCount, ServiceCounts
from svcmesh.summaries.listing import (
    GlobalService,
    Place,
    global_services,
    pack_services,
    unpack_services_untrusted,
)
from svcmesh.summaries.machine import Peer, Send, Summaries, SummariesConfig
from svcmesh.summaries.table import Entry

__all__ = [
    "SUMMARY_BYTE",
    "Entry",
    "GlobalService",
    "Peer",
    "Place",
    "Send",
    "ServiceCount",
    "ServiceCounts",
    "Summaries",
    "SummariesConfig",
    "global_services",
    "pack_services",
    "unpack_services_untrusted",
]
