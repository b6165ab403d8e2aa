import asyncio

from svcmesh.agent import Agent
from svcmesh.config import load_config
from svcmesh.storage import DataDir


def test_every_setting_that_can_be_reloaded_has_somebody_who_applies_it() -> None:
    async def make() -> None:
        agent = Agent(load_config({"dev": True}, []), DataDir(None))
        await agent.close()

    asyncio.run(make())
