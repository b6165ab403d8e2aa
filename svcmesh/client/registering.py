"""Keeping a service registered: when to register, when to say that it lives. No I/O.

| state        | due action | answer                | then                                      |
|--------------|------------|-----------------------|-------------------------------------------|
| unregistered | register   | done                  | registered, next sign of life in a third  |
|              |            | none, or refused      | unregistered, after a growing pause       |
| registered   | sign       | done                  | registered, next sign in a third          |
|              |            | the agent forgot it   | unregistered, register at once            |
|              |            | none                  | registered, after a growing pause         |
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from random import Random
from typing import Final

from svcmesh.client.watching import retry_pause_s

SIGNS_PER_TTL: Final = 3
"""Two signs of life may be lost before the agent takes the service for dead."""

SIGN_S_MAX: Final = 5.0
"""An agent that came back without our registration is noticed within this time."""

RETRY_S_MIN: Final = 0.25
RETRY_S_MAX: Final = 5.0


@dataclass(frozen=True, slots=True)
class Registration:
    """What is registered."""

    name: str
    _: KW_ONLY
    id: str = ""
    """Of the instance, once on its agent. Empty: the name, with the port when there is one."""
    port: int = 0
    address: str = ""
    """Empty: the node's."""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    weights: tuple[int, int] | None = None
    """Shares when passing and when warning."""
    ttl_s: float | None = 15.0
    """The agent takes the service for dead when it has heard nothing for this long. None: it
    stays until it is deregistered, with what `checks` say of its health."""
    deregister_after_s: float | None = 600.0
    """How long a service that is not heard of stays registered; the agent's least is a minute."""
    checks: Sequence[Mapping[str, object]] = ()
    """Further checks, as the agent's API takes them."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if not self.name:
            raise ValueError("a service needs a name")
        if self.ttl_s is not None and self.ttl_s < 1:
            raise ValueError("ttl_s is at least a second")

    @property
    def service_id(self) -> str:
        """The id, given or made."""
        return self.id or (f"{self.name}-{self.port}" if self.port else self.name)

    @property
    def check_id(self) -> str:
        """Of the check that our signs of life feed."""
        return f"service:{self.service_id}"

    @property
    def sign_s(self) -> float:
        """Time between two signs of life."""
        return SIGN_S_MAX if self.ttl_s is None else min(SIGN_S_MAX, self.ttl_s / SIGNS_PER_TTL)

    def body(self, status: str, output: str) -> dict[str, object]:
        """The body of `/v1/agent/service/register`, with the current state of the check."""
        checks = [dict(check) for check in self.checks]
        if self.ttl_s is not None:
            ttl: dict[str, object] = {
                "CheckID": self.check_id,
                "Name": f"Service '{self.name}' says that it is well",
                "TTL": f"{self.ttl_s:g}s",
                "Status": status,
                "Notes": output,
            }
            if self.deregister_after_s is not None:
                ttl["DeregisterCriticalServiceAfter"] = f"{self.deregister_after_s:g}s"
            checks.insert(0, ttl)
        body: dict[str, object] = {
            "ID": self.service_id,
            "Name": self.name,
            "Port": self.port,
            "Address": self.address,
            "Tags": list(self.tags),
            "Meta": dict(self.meta),
            "Checks": checks,
        }
        if self.weights is not None:
            body["Weights"] = {"Passing": self.weights[0], "Warning": self.weights[1]}
        return body


class RegistrationState:
    """Whether the agent knows the service, and when to do something about it."""

    def __init__(self, sign_s: float, *, now: float, rng: Random) -> None:
        self.is_registered = False
        self.due_at = now
        self._sign_s, self._rng = sign_s, rng
        self._failures = 0

    def handle_done(self, *, now: float) -> None:
        """The agent has taken the registration, or the sign of life."""
        self.is_registered = True
        self._failures = 0
        self.due_at = now + self._sign_s * self._rng.uniform(0.9, 1.0)

    def handle_forgotten(self, *, now: float) -> None:
        """The agent does not know what we registered."""
        self.is_registered = False
        self.due_at = now

    def handle_failure(self, *, now: float) -> None:
        """There was no answer, or the registration was refused."""
        self._failures += 1
        pause_s = retry_pause_s(
            self._failures, least_s=RETRY_S_MIN, most_s=RETRY_S_MAX, rng=self._rng
        )
        self.due_at = now + min(pause_s, self._sign_s)
