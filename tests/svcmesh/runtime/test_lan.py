from pathlib import Path

import pytest

from svcmesh.config import load_config
from svcmesh.runtime.lan import gossip_config


@pytest.mark.parametrize(("setting", "are_sent"), [("true", False), ("false", True)])
def test_coordinates_are_gossiped_unless_they_are_turned_off(
    setting: str, are_sent: bool, tmp_path: Path
) -> None:
    path = tmp_path / "agent.hcl"
    path.write_text(f"disable_coordinates = {setting}")
    assert gossip_config(load_config({"dev": True}, [path])).serf.coordinates is are_sent
