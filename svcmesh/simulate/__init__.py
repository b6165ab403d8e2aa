"""The deterministic simulator: virtual time and an in-memory network around the state machines."""

from svcmesh.simulate.clock import Timer, VirtualClock
from svcmesh.simulate.network import Link, SimulatedNetwork

__all__ = ["Link", "SimulatedNetwork", "Timer", "VirtualClock"]
