"""What holds for every test: a busy machine is no verdict, and a simulated scenario has a seed."""

import asyncio
import os

import pytest
from hypothesis import HealthCheck, settings

from tests.patience import PatientPolicy

settings.register_profile(
    "svcmesh", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("svcmesh")

asyncio.set_event_loop_policy(PatientPolicy())

SEED_VARIABLE = "SVCMESH_SEED"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The scenario's seed: from the environment to replay one, else always the same."""
    value = int(os.environ.get(SEED_VARIABLE, "20240607"))
    replay = f"{SEED_VARIABLE}={value} pytest '{request.node.nodeid}'"
    request.node.add_report_section("call", "seed", f"replay with: {replay}")
    return value
