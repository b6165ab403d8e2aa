"""What an examination of the pool has found, and what is wrong with it, in sentences.

Network faults hide well in a gossip pool: relays and TCP stand in for blocked UDP until they too
are busy. So everything is tried on its own, by `runtime/doctor.py`.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from gossip.driver.diagnosis import PINGS, Diagnosis

SLOW_RTT_S: Final = 0.25
"""Half of the LAN's probe timeout: above it every hiccup is a missed probe."""
LOOP_LAG_S_MAX: Final = 0.25
CLOCK_DRIFT_S_MAX: Final = 1.0

PLAIN: Final = "plain text"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class MemberReport:
    """One member as it was reached."""

    diagnosis: Diagnosis
    is_failed: bool
    """Whether the pool takes it for failed."""
    seal: str
    """The fingerprint of the key that it sends with, or `PLAIN` or `UNKNOWN`."""
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Examination:
    """What an examination found."""

    loop_lag_s: float
    """How late the event loop was at its worst in the last minute."""
    clock_drift_s: float
    """Our wall clock against the median of the peers'; positive: ours is ahead."""
    health_score: int
    key: str
    """The fingerprint of our primary key, or `PLAIN` when we send plain text."""
    problems: tuple[str, ...]
    """Of this agent itself."""
    members: tuple[MemberReport, ...]
    """Those with problems first, then by name."""

    @property
    def is_healthy(self) -> bool:
        return not self.problems and not any(member.problems for member in self.members)


def fingerprint(key: bytes | None) -> str:
    """A short name for a key that gives nothing of it away."""
    return PLAIN if key is None else sha256(key).hexdigest()[:8]


def network_problems(found: Diagnosis, *, datagram_bytes: int) -> list[str]:
    """What is wrong with the way to a member, in sentences."""
    problems = []
    port = found.address.port
    if found.udp_rtt_s is None and found.tcp_rtt_s is None:
        return [f"does not answer at all ({found.tcp_error})"]
    if found.udp_rtt_s is None:
        problems.append(f"no answer by UDP, but by TCP: is UDP port {port} blocked on the way?")
    elif found.udp_lost:
        problems.append(f"{found.udp_lost} of {PINGS} UDP pings were lost")
    if found.tcp_rtt_s is None:
        problems.append(f"no answer by TCP: {found.tcp_error}")
    if found.udp_rtt_s is not None and found.datagram_bytes < datagram_bytes:
        problems.append(
            f"datagrams above {found.datagram_bytes} bytes do not arrive: "
            f"we send up to {datagram_bytes} (udp_buffer_bytes)"
        )
    if found.udp_rtt_s is not None and found.udp_rtt_s > SLOW_RTT_S:
        problems.append(f"slow: {found.udp_rtt_s * 1000:.0f} ms for a round trip")
    return problems


def failed_problems(found: Diagnosis, problems: list[str]) -> list[str]:
    """What is wrong with a member that the pool has declared failed, instead of `problems`."""
    if found.udp_rtt_s is None and found.tcp_rtt_s is None:
        return [f"has failed, and does not answer at all ({found.tcp_error})"]
    return ["is listed as failed, but answers this agent", *problems]


def seal_problems(seal: str, *, own: str) -> list[str]:
    """How a member's encryption differs from ours: the pool is on its way, or somebody was left."""
    if seal == own:
        return []
    if seal == PLAIN:
        return ["sends plain text"]
    return ["encrypts, this agent does not" if own == PLAIN else f"sends with key {seal}"]


def own_problems(*, lag_s: float, drift_s: float, health_score: int) -> tuple[str, ...]:
    """What is wrong with this agent itself, in sentences."""
    problems = []
    if lag_s > LOOP_LAG_S_MAX:
        problems.append(f"this agent was {lag_s:.1f} s late with its work: is the machine busy?")
    if abs(drift_s) > CLOCK_DRIFT_S_MAX:
        ahead = "ahead of" if drift_s > 0 else "behind"
        problems.append(f"its clock is {abs(drift_s):.1f} s {ahead} its peers' median")
    if health_score:
        problems.append(f"it missed acks or was accused lately (health score {health_score})")
    return tuple(problems)
