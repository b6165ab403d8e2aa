"""The domains that are answered for, and the names inside them that answers point at."""

from dataclasses import dataclass

from dnsserver.config import DnsConfig
from dnsserver.labels import encode_name, split_labels
from dnsserver.records import Record, soa_record


@dataclass(frozen=True, slots=True)
class Zone:
    """One domain. Answers use the zone that was asked, pointers from addresses the primary one."""

    # Differs from Consul 1.8, which always names the primary domain; later releases do as we do.
    name: bytes
    labels: tuple[bytes, ...]
    domain: str
    """With the final dot."""

    @classmethod
    def of(cls, domain: str) -> "Zone":
        """Return the zone of a valid domain name, folded to lower case."""
        text = domain.lower().removesuffix(".") + "."
        name = encode_name(text)
        assert name is not None, "the configuration was checked"
        return cls(name, split_labels(name), text)

    def node_name(self, node: str, datacenter: str) -> bytes | None:
        """Return `NODE.node.DC.` in this zone, None when the node's name fits no label."""
        return encode_name(f"{node}.node.{datacenter}.{self.domain}")

    def address_name(self, packed: bytes, datacenter: str) -> bytes | None:
        """Return the hex name of an address."""
        end = encode_name(f"addr.{datacenter}.{self.domain}")
        if end is None:
            return None
        # Not as text: there are many more of them than names that are worth remembering.
        label = packed.hex().encode("ascii")
        return bytes((len(label),)) + label + end

    def service_name(self, service: str, datacenter: str) -> bytes | None:
        """Return `SERVICE.service.DC.` in this zone, None when the service's name fits no label."""
        return encode_name(f"{service}.service.{datacenter}.{self.domain}")

    def soa(self, config: DnsConfig, serial: int) -> Record:
        """Return the start of authority; its TTL is the negative one, by RFC 2308."""
        master, mailbox = encode_name(f"ns.{self.domain}"), encode_name(f"hostmaster.{self.domain}")
        soa = config.soa
        return soa_record(
            self.name,
            soa.min_ttl_s,
            (master or self.name, mailbox or self.name),
            (serial & 0xFFFFFFFF, soa.refresh_s, soa.retry_s, soa.expire_s, soa.min_ttl_s),
        )


class Zones:
    """The primary zone and the alternative one."""

    def __init__(self, config: DnsConfig) -> None:
        self.primary = Zone.of(config.domain)
        zones = [self.primary]
        if config.alt_domain.strip("."):
            zones.append(Zone.of(config.alt_domain))
        # The longer one first: one domain may be inside the other.
        self._zones = sorted(zones, key=lambda zone: len(zone.labels), reverse=True)

    def find(self, labels: tuple[bytes, ...]) -> Zone | None:
        """Return the zone that a name in lower case belongs to."""
        for zone in self._zones:
            if labels[-len(zone.labels) :] == zone.labels:
                return zone
        return None
