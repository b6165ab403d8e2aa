"""Writes to the agent's own state, finished whatever the client does."""

import asyncio
from collections.abc import Awaitable

from svcmesh.api.answers import ApiError
from svcmesh.errors import NameReservedError, ScriptsDisabledError, StorageError, UnknownCheckError
from svcmesh.reading import DefinitionError


async def write(work: Awaitable[None]) -> None:
    """Finish a write even when the client hangs up.

    Raises:
        ApiError: 400 for a definition that is refused, 500 for what the agent cannot do.
        UnknownServiceError: For the caller, who knows what to answer.
    """
    try:
        await asyncio.shield(work)
    except DefinitionError as error:
        raise ApiError(400, str(error)) from error
    except (NameReservedError, ScriptsDisabledError, StorageError, UnknownCheckError) as error:
        raise ApiError(500, str(error)) from error
