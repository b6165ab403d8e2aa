"""HCL 1 against values that a real Consul 1.8.7 shows for the same texts."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.config.files import decode_hcl
from svcmesh.config.hcl import HclError, parse_hcl
from svcmesh.errors import ConfigError


def read(text: str) -> dict[str, object]:
    content = decode_hcl(text, name="x.hcl").content
    assert content is not None
    return content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", {}),
        ('data_dir = "/x" server = true ports { http = 1 }',
         {"data_dir": "/x", "server": True, "ports": {"http": 1}}),
        ('"dns_config" { "service_ttl" { "*" = "5s" "web" = "10s" } }',
         {"dns_config": {"service_ttl": {"*": "5s", "web": "10s"}}}),
        ("ports = { http = 1, dns = -1 }", {"ports": {"http": 1, "dns": -1}}),
        ("ports = {}", {"ports": {}}),
        ("a = 0x2134 b = 010000 c = 8.5e3 d = -.5",
         {"a": 8500, "b": 4096, "c": 8500.0, "d": -0.5}),
        ("retry_join = [\n 'a'\n]".replace("'", '"'), {"retry_join": ["a"]}),
        ('l = [\n  "a", # one\n  "b"\n  ,\n  "c",\n]', {"l": ["a", "b", "c"]}),
        ("# a\n// b\n/* c\n */ a = 1 # d\n/* e */ b = 2 // f", {"a": 1, "b": 2}),
        ('a = "1"\r\nb = "2"\r\n', {"a": "1", "b": "2"}),
        (r'a = "a\nb\t\"q\" \\ \u00e9 \x41\101"', {"a": 'a\nb\t"q" \\ é AA'}),
        ('a = "/tmp/${foo("bar")}/x %{y} $${z}"', {"a": '/tmp/${foo("bar")}/x %{y} $${z}'}),
        ('a = "{{ GetInterfaceIP \\"eth0\\" }}"', {"a": '{{ GetInterfaceIP "eth0" }}'}),
        ("a = <<EOF\nhello\n world\nEOF\n", {"a": "hello\n world\n"}),
        ("a = <<-EOF\n    a\n      b\n    EOF\nb = 1", {"a": "a\n  b\n", "b": 1}),
        ('http_config { response_headers { Access-Control-Allow-Origin = "*" } }',
         {"http_config": {"response_headers": {"Access-Control-Allow-Origin": "*"}}}),
        ('service "web" { port = 80 }', {"service": {"web": {"port": 80}}}),
        ('{ "data_dir": "/x", "ports": { "http": 1 } }',
         {"data_dir": "/x", "ports": {"http": 1}}),
    ],
)  # fmt: skip
def test_texts_are_read_as_consul_reads_them(text: str, content: object) -> None:
    assert read(text) == content


def test_of_a_repeated_scalar_the_last_counts_and_lists_add_up() -> None:
    assert read('a = "x"\na = "y"\nl = ["a"]\nl = ["b"]') == {"a": "y", "l": ["a", "b"]}


def test_blocks_and_lists_of_objects_are_the_same_thing() -> None:
    text = """
        services { name = "a" }
        services { name = "b" }
        services = [{ name = "c" }]
        check { ttl = "1s" }
        service { name = "d" checks { ttl = "2s" } check { ttl = "3s" } }
    """
    assert read(text) == {
        "services": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
        "check": {"ttl": "1s"},
        "service": {"name": "d", "checks": [{"ttl": "2s"}], "check": {"ttl": "3s"}},
    }


def test_fields_of_repeated_blocks_stay_apart() -> None:
    text = 'service { name = "a" weights { passing = 5 } } service { name = "b" meta { x = "y" } }'
    assert read(text)["service"] == [
        {"name": "a", "weights": {"passing": 5}},
        {"name": "b", "meta": {"x": "y"}},
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # Consul's words.
        ("data_dir = foo", "At 1:12: Unknown token: IDENT foo"),
        ('data_dir: "/x"', "At 1:9: illegal char"),
        ('a = 1\nl = [ "a" "b" ]', "error parsing list, expected comma or list end, got: STRING"),
        ("a = 1\nports { http = 1\n", "object expected closing RBRACE got: EOF"),
        ('a = "x\ny"', "literal not terminated"),
        ('a "x }}"\nb', "key 'b' expected start of object ('{') or assignment ('=')"),
        # Ours.
        ("a = ", "At 1:5: Unexpected end of file"),
        ("a = [1", "error parsing list, expected comma or list end, got: EOF"),
        ("}", "At 1:1: expected: IDENT | STRING got: RBRACE"),
        ("a = 1 /* b", "At 1:7: comment not terminated"),
        ("a = <<EOF\nb", "At 1:5: heredoc not terminated"),
        ("a = << EOF\nb", "heredoc anchor not found"),
        ('a = "\\q"', "illegal char escape"),
        ("a = 089", "illegal number 089"),
        ('a "b" = 1', "nested object expected: LBRACE got: ASSIGN"),
        ("a = " + "[" * 100, "nested more than 64 deep"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_column(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_hcl(text, name="x.hcl")
    assert str(caught.value).startswith("failed to parse x.hcl: At ")
    assert problem in str(caught.value)


@given(st.text(alphabet='ab1-."\\${}[]=,#/*<E\n \t', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(HclError):
        parse_hcl(text)
