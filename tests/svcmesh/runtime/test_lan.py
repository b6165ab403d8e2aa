import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from gossip.serf.events import Event
from gossip.swim.effects import StallNoticed
from svcmesh.config import load_config
from svcmesh.runtime import lan
from svcmesh.runtime.lan import gossip_config


@pytest.mark.parametrize(("setting", "are_sent"), [("true", False), ("false", True)])
def test_coordinates_are_gossiped_unless_they_are_turned_off(
    setting: str, are_sent: bool, tmp_path: Path
) -> None:
    path = tmp_path / "agent.hcl"
    path.write_text(f"disable_coordinates = {setting}")
    assert gossip_config(load_config({"dev": True}, [path])).serf.coordinates is are_sent


def test_a_stall_of_this_process_is_told_to_the_operator(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Member:
        """As much of a gossip member as is looked at."""

        def __init__(self, on_event: Callable[[Event], None]) -> None:
            self.tell = on_event

        @classmethod
        async def create(
            cls, _: object, *, on_event: Callable[[Event], None], **__: object
        ) -> "Member":
            return cls(on_event)

        def stats(self) -> dict[str, int]:
            return {"health_score": 2}

    async def main() -> None:
        monkeypatch.setattr(lan, "Gossip", Member)
        pool = lan.LanPool(load_config({"dev": True}, []), MagicMock(), None, MagicMock())
        member: Any = await pool.start(MagicMock(), MagicMock())
        member.tell(StallNoticed(0.5))

    asyncio.run(main())
    [said] = caplog.messages
    assert "did not run for 0.50 s" in said
    assert "health score 2" in said
