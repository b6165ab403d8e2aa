"""Address templates, on a host of our own invention; their forms are those of Consul's guides."""

import pytest

from svcmesh.config.interfaces import host_addresses
from svcmesh.config.templates import expand
from svcmesh.errors import ConfigError
from tests.svcmesh.config.hosts import on_interface

HOST = [
    on_interface("lo", "127.0.0.1/8", "loopback"),
    on_interface("lo", "::1/128", "loopback"),
    on_interface("docker0", "172.17.0.1/16", "broadcast"),
    on_interface("eth0", "10.1.2.3/24", "broadcast", is_default=True),
    on_interface("eth0", "fe80::1/64", "broadcast", is_default=True),
    on_interface("eth1", "10.9.0.7/16", "broadcast"),
    on_interface("eth1", "fd00::7/64", "broadcast"),
    on_interface("ppp0", "203.0.114.9/32", "pointopoint"),
]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ GetPrivateIP }}", "10.1.2.3"),
        ("{{GetPrivateIP}}:8301", "10.1.2.3:8301"),
        ("{{ GetPrivateIPs }}", "10.1.2.3 172.17.0.1 10.9.0.7 fd00::7"),
        ("{{ GetPublicIP }}", "203.0.114.9"),
        ('{{ GetInterfaceIP "eth1" }}', "10.9.0.7"),
        ("{{ GetInterfaceIP `eth1` }}", "10.9.0.7"),
        ('{{ GetInterfaceIPs "eth1" }}', "10.9.0.7 fd00::7"),
        ('{{ GetInterfaceIP "eth9" }}', ""),
        ('{{ GetInterfaceIP "lo" }}', ""),  # as in Consul: nobody else reaches it
        ('127.0.0.1 {{ GetInterfaceIP "eth0" }}', "127.0.0.1 10.1.2.3"),
        ('{{ GetAllInterfaces | include "name" "^eth" | include "type" "IPv4" '
         '| join "address" " " }}', "10.1.2.3 10.9.0.7"),
        ('{{ GetAllInterfaces | include "name" "eth1" | include "flags" "forwardable|up" '
         '| attr "address" }}', "10.9.0.7"),
        ('{{ GetPrivateInterfaces | include "network" "10.9.0.0/16" | attr "address" }}',
         "10.9.0.7"),
        ('{{ GetDefaultInterfaces | exclude "type" "IPv6" | attr "address" }}', "10.1.2.3"),
        ('{{ GetAllInterfaces | include "rfc" "1918" | sort "-address" | limit 2 '
         '| join "address" "," }}', "172.17.0.1,10.9.0.7"),
        ('{{ GetAllInterfaces | exclude "name" "docker.*" | include "rfc" "1918" | offset 1 '
         '| attr "network" }}', "10.9.0.0/16"),
        ('{{ GetAllInterfaces | include "size" "16" | sort "name" | attr "name" }}', "docker0"),
        ('{{- GetAllInterfaces | unique "name" | join "name" "," -}}', "lo,docker0,eth0,eth1,ppp0"),
        ("no template", "no template"),
    ],
)  # fmt: skip
def test_templates_find_the_hosts_addresses(template: str, text: str) -> None:
    assert expand(template, lambda: HOST, at="bind_addr") == text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ GetEverything }}", "not known here: GetEverything"),
        ("{{ GetAllInterfaces }}", 'it ends without `attr "address"`'),
        ('{{ GetPrivateIP | attr "address" }}', "nothing can follow GetPrivateIP"),
        ('{{ GetAllInterfaces | include "name" "(" | attr "address" }}', "name '('"),
        ('{{ GetAllInterfaces | include "network" "x" | attr "address" }}', "network 'x'"),
        ('{{ GetAllInterfaces | include "colour" "x" | attr "address" }}', "chosen by 'colour'"),
        ('{{ GetAllInterfaces | sort "colour" | attr "address" }}', "sorted by 'colour'"),
        ('{{ GetAllInterfaces | attr "colour" }}', "no attribute 'colour'"),
        ('{{ GetAllInterfaces | include "rfc" "1" | attr "address" }}', "RFC 1"),
        ('{{ GetAllInterfaces || attr "address" }}', "a stage is empty"),
        ('{{ "GetAllInterfaces }}', "cannot read"),
    ],
)
def test_what_a_template_asks_for_in_vain_is_named_with_the_setting(
    template: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(template, lambda: HOST, at="bind_addr")
    assert str(caught.value).startswith("bind_addr: unable to parse address template {{")
    assert problem in str(caught.value)


def test_this_host_tells_its_loopback_address() -> None:
    own = [one for one in host_addresses() if str(one.ip) == "127.0.0.1"]
    assert [(str(one.network), one.is_private, "up" in one.flags) for one in own] == [
        ("127.0.0.0/8", False, True)
    ]
