"""Addresses that are host names; expectations are recorded answers of Consul 1.8.7."""

from tests.dnsserver.fakes import Client, FakeDirectory, soa


def test_a_host_name_as_service_address_is_an_alias_for_every_type() -> None:
    directory = FakeDirectory()
    node = directory.add_node("confdc1", "10.20.5.1")
    directory.add_instance(node, "confdc", 5432, address="db.example.com")
    client = Client(directory)
    for type_ in ("A", "AAAA", "ANY", "CNAME", "MX"):
        seen = client.ask("confdc.service.svcmesh", type_)
        assert seen.answer == ["confdc.service.svcmesh. 0 IN CNAME db.example.com."]
        assert (seen.authority, seen.additional) == ([], [])
    seen = client.ask("confdc.service.svcmesh", "SRV")
    assert seen.answer == ["confdc.service.svcmesh. 0 IN SRV 1 1 5432 db.example.com."]
    assert seen.additional == []


def test_a_host_name_as_node_address_is_an_alias() -> None:
    directory = FakeDirectory()
    node = directory.add_node("hostn", "host.example.org", {"a": "b"})
    directory.add_instance(node, "hn", 80)
    client = Client(directory)
    seen = client.ask("hostn.node.svcmesh", "AAAA")
    assert seen.answer == ["hostn.node.svcmesh. 0 IN CNAME host.example.org."]
    assert seen.additional == ['hostn.node.svcmesh. 0 IN TXT "a=b"']
    seen = client.ask("hn.service.svcmesh", "SRV")
    assert seen.answer == ["hn.service.svcmesh. 0 IN SRV 1 1 80 host.example.org."]
    assert seen.additional == ['hostn.node.dc1.svcmesh. 0 IN TXT "a=b"']


def test_addresses_win_over_aliases_of_the_same_service() -> None:
    directory = FakeDirectory()
    directory.add_instance(directory.add_node("m1", "10.0.0.55"), "mix", 1, address="e.example.com")
    directory.add_instance(directory.add_node("m2", "10.0.0.56"), "mix", 2)
    client = Client(directory)
    assert client.ask("mix.service.svcmesh").answer == ["mix.service.svcmesh. 0 IN A 10.0.0.56"]
    assert client.ask("mix.service.svcmesh", "AAAA").answer == [
        "mix.service.svcmesh. 0 IN CNAME e.example.com."
    ]


def test_of_several_aliases_one_is_given() -> None:
    directory = FakeDirectory()
    for number in range(6):
        node = directory.add_node(f"n{number}", "10.0.0.1")
        directory.add_instance(node, "hosts", 1, address=f"e{number}.example.com")
    assert len(Client(directory).ask("hosts.service.svcmesh", edns=1232).answer) == 1


def test_an_alias_into_our_own_domain_brings_its_addresses_along() -> None:
    directory = FakeDirectory()
    directory.add_instance(directory.add_node("n1", "10.0.0.1"), "web", 80)
    node = directory.add_node("h", "10.0.0.50")
    directory.add_instance(node, "hc", 1, address="web.service.svcmesh")
    directory.add_instance(node, "hd", 1, address="n1.node.consul")
    client = Client(directory)
    assert client.ask("hc.service.svcmesh").answer == [
        "hc.service.svcmesh. 0 IN CNAME web.service.svcmesh.",
        "web.service.svcmesh. 0 IN A 10.0.0.1",
    ]
    seen = client.ask("hd.service.svcmesh", "SRV")
    assert seen.answer == ["hd.service.svcmesh. 0 IN SRV 1 1 1 n1.node.consul."]
    assert seen.additional == ["n1.node.consul. 0 IN A 10.0.0.1"]


def test_an_alias_to_a_large_service_brings_three_addresses_also_over_tcp() -> None:
    directory = FakeDirectory()
    directory.add_many("many", 40)
    node = directory.add_node("al1", "10.0.3.1")
    directory.add_instance(node, "almany", 1, address="many.service.svcmesh")
    answer = Client(directory).ask("almany.service.svcmesh", is_tcp=True).answer
    assert answer[0] == "almany.service.svcmesh. 0 IN CNAME many.service.svcmesh."
    assert len(answer) == 1 + 3


def test_aliases_that_point_at_each_other_end() -> None:
    directory = FakeDirectory()
    node = directory.add_node("loop", "10.0.0.52")
    directory.add_instance(node, "lp", 1, address="lp2.service.svcmesh")
    directory.add_instance(node, "lp2", 1, address="lp.service.svcmesh")
    seen = Client(directory).ask("lp.service.svcmesh", "SRV")
    assert seen.answer == ["lp.service.svcmesh. 0 IN SRV 1 1 1 lp2.service.svcmesh."]
    assert seen.additional == [
        "lp.service.svcmesh. 0 IN CNAME lp2.service.svcmesh.",
        "lp2.service.svcmesh. 0 IN CNAME lp.service.svcmesh.",
        "lp2.service.svcmesh. 0 IN CNAME lp.service.svcmesh.",
    ]


def test_an_instance_whose_address_is_the_asked_name_is_at_its_node() -> None:
    directory = FakeDirectory()
    node = directory.add_node("selfc", "10.0.0.54")
    directory.add_instance(node, "selfc", 1, address="selfc.service.svcmesh")
    client = Client(directory)
    assert client.ask("SELFC.service.svcmesh").answer == ["SELFC.service.svcmesh. 0 IN A 10.0.0.54"]
    assert client.ask("selfc.service.svcmesh", "SRV").answer == [
        "selfc.service.svcmesh. 0 IN SRV 1 1 1 selfc.node.dc1.svcmesh."
    ]
    assert client.ask("selfc.service.svcmesh", "AAAA").authority == [soa("svcmesh")]


def test_what_looks_like_an_address_and_is_none_is_a_host_name() -> None:
    directory = FakeDirectory()
    directory.add_instance(directory.add_node("zone", "fe80::1%lo"), "zn", 1)
    directory.add_instance(directory.add_node("badip", "10.0.0.300"), "bi", 1)
    client = Client(directory)
    assert client.ask("zn.service.svcmesh").answer == ["zn.service.svcmesh. 0 IN CNAME fe80::1%lo."]
    assert client.ask("bi.service.svcmesh").answer == ["bi.service.svcmesh. 0 IN CNAME 10.0.0.300."]


def test_a_host_name_that_fits_no_name_is_left_out() -> None:
    directory = FakeDirectory()
    node = directory.add_node("n", "10.0.0.1")
    directory.add_instance(node, "web", 1, address="x" * 64 + ".example.com")
    client = Client(directory)
    for type_ in ("A", "SRV"):
        seen = client.ask("web.service.svcmesh", type_)
        assert (seen.rcode, seen.answer, seen.authority) == ("NOERROR", [], [soa("svcmesh")])
