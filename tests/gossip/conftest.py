"""The seed of a simulated scenario, and how to replay it."""

import os

import pytest

SEED_VARIABLE = "SVCMESH_SEED"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The scenario's seed: from the environment to replay one, else always the same."""
    value = int(os.environ.get(SEED_VARIABLE, "20240607"))
    replay = f"{SEED_VARIABLE}={value} pytest '{request.node.nodeid}'"
    request.node.add_report_section("call", "seed", f"replay with: {replay}")
    return value
