"""The deterministic simulator: virtual time and an in-memory network around the state machines."""

from svcmesh.simulate.clock import Timer, VirtualClock
from svcmesh.simulate.member import SimulatedMember
from svcmesh.simulate.network import Link, SimulatedNetwork
from svcmesh.simulate.pool import SimulatedPool

__all__ = [
    "Link",
    "SimulatedMember",
    "SimulatedNetwork",
    "SimulatedPool",
    "Timer",
    "VirtualClock",
]
