"""A registration that is kept alive as long as its context lasts."""

import asyncio
import logging
from contextlib import suppress
from random import Random
from types import TracebackType
from urllib.parse import quote

from svcmesh.client.errors import ClientClosedError, ClientError, RequestRefusedError
from svcmesh.client.instances import HealthStatus
from svcmesh.client.registering import Registration, RegistrationState
from svcmesh.client.transport import Transport

logger = logging.getLogger("svcmesh.client")


class ServiceRegistration:
    """Registers on entering, says regularly that the service lives, deregisters on leaving.

    An agent that comes back without the registration gets it again. Used once.
    """

    def __init__(
        self,
        transport: Transport,
        registration: Registration,
        *,
        waits: bool,
        timeout_s: float,
        rng: Random,
    ) -> None:
        self.registration = registration
        self.failure: ClientError | None = None
        """Why the agent could not be told last time; None while all is well."""
        self._transport, self._waits = transport, waits
        self._timeout_s, self._rng = timeout_s, rng
        self._status, self._output = HealthStatus.PASSING, ""
        self._state: RegistrationState | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_registered(self) -> bool:
        """Whether the agent has it, as far as is known."""
        return self._state is not None and self._state.is_registered

    async def __aenter__(self) -> "ServiceRegistration":
        """Register.

        Raises:
            ClientError: The agent cannot be told. Nothing is left behind.
        """
        assert self._task is None, "a registration is used once"
        now = asyncio.get_running_loop().time()
        self._state = RegistrationState(self.registration.sign_s, now=now, rng=self._rng)
        if self._waits:
            await self._register()
        self._task = asyncio.create_task(
            self._keep(self._state), name=f"svcmesh: keep {self.registration.service_id} registered"
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Deregister. When the agent cannot be told, the end of the TTL does the rest."""
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        service_id = self.registration.service_id
        try:
            await self._transport.put(
                f"/v1/agent/service/deregister/{quote(service_id, safe='')}",
                timeout_s=self._timeout_s,
            )
        except RequestRefusedError as refusal:
            # Forgotten by the agent, or taken away by somebody else: gone in any case.
            logger.info("deregistering %s: %s", service_id, refusal)
        except ClientError as failure:
            logger.warning("%s is not deregistered: %s", service_id, failure)

    async def set_status(self, status: HealthStatus, output: str = "") -> None:
        """Say how the service is from now on; the agent is told at once, or when it is back.

        Raises:
            ValueError: The registration has no TTL, or `status` is not for services to say.
        """
        if self.registration.ttl_s is None:
            raise ValueError("a registration without a TTL has no status of its own")
        if status is HealthStatus.MAINTENANCE:
            raise ValueError("maintenance is the agent's to begin and end")
        self._status, self._output = status, output
        self._changed.set()

    async def _keep(self, state: RegistrationState) -> None:
        clock = asyncio.get_running_loop().time
        with suppress(ClientClosedError):
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(state.due_at):
                        await self._changed.wait()
                self._changed.clear()
                try:
                    await (self._sign() if state.is_registered else self._register())
                except ClientClosedError:
                    raise
                except RequestRefusedError as error:
                    if state.is_registered:
                        logger.warning(
                            "registering %s again: %s", self.registration.service_id, error
                        )
                        state.handle_forgotten(now=clock())
                    else:
                        self._note(error)
                        state.handle_failure(now=clock())
                except ClientError as error:
                    self._note(error)
                    state.handle_failure(now=clock())

    def _note(self, error: ClientError) -> None:
        if self.failure is None:
            logger.warning("keeping %s registered: %s", self.registration.service_id, error)
        self.failure = error

    async def _register(self) -> None:
        await self._transport.put(
            "/v1/agent/service/register",
            self.registration.body(self._status.value, self._output),
            timeout_s=self._timeout_s,
        )
        self._handle_done()

    async def _sign(self) -> None:
        if self.registration.ttl_s is None:
            service_id = quote(self.registration.service_id, safe="")
            await self._transport.get(f"/v1/agent/service/{service_id}", timeout_s=self._timeout_s)
        else:
            await self._transport.put(
                f"/v1/agent/check/update/{quote(self.registration.check_id, safe='')}",
                {"Status": self._status.value, "Output": self._output},
                timeout_s=self._timeout_s,
            )
        self._handle_done()

    def _handle_done(self) -> None:
        assert self._state is not None
        self.failure = None
        self._state.handle_done(now=asyncio.get_running_loop().time())
