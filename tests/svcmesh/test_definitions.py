"""Service definitions. Error texts are those of a recorded Consul 1.8.7, unless marked as ours."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.catalog.records import TaggedAddress
from svcmesh.definitions import (
    DefinitionError,
    ServiceDefinition,
    definition_to_json,
    definition_warnings,
    parse_service_definition,
)

Json = dict[str, Any]


def parse(obj: object) -> ServiceDefinition:
    """As the body of a request."""
    return parse_service_definition(obj, where="", strict=True)


def refusal(obj: object, where: str = "") -> str:
    with pytest.raises(DefinitionError) as caught:
        parse_service_definition(obj, where=where, strict=True)
    return str(caught.value)


def test_a_name_is_enough_and_the_rest_has_consuls_defaults() -> None:
    assert parse({"Name": "web"}) == ServiceDefinition(id="web", name="web")


@pytest.mark.parametrize(
    "obj",
    [
        {
            "ID": "web-1", "Name": "web", "Tags": ["a", "b"], "Port": 80, "Address": "10.0.0.1",
            "TaggedAddresses": {"lan": {"Address": "10.0.0.2", "Port": 81}},
            "Meta": {"k": "v"}, "Weights": {"Passing": 3, "Warning": 2},
            "EnableTagOverride": True,
        },
        {
            "id": "web-1", "name": "web", "tags": ["a", "b"], "port": 80, "address": "10.0.0.1",
            "tagged_addresses": {"lan": {"address": "10.0.0.2", "port": 81}},
            "meta": {"k": "v"}, "weights": {"passing": 3, "warning": 2},
            "enable_tag_override": True,
        },
    ],
    ids=["as the API has it", "as files have it"],
)  # fmt: skip
def test_camel_and_snake_case_mean_the_same(obj: Json) -> None:
    assert parse(obj) == ServiceDefinition(
        id="web-1",
        name="web",
        tags=("a", "b"),
        port=80,
        address="10.0.0.1",
        tagged_addresses={"lan": TaggedAddress("10.0.0.2", 81)},
        meta={"k": "v"},
        weight_passing=3,
        weight_warning=2,
        enable_tag_override=True,
    )


def test_of_two_spellings_of_a_field_the_later_one_counts() -> None:
    assert parse({"name": "y", "NAME": "z"}).name == "z"


def test_null_and_empty_fields_count_as_absent() -> None:
    empty: Json = {
        "Tags": None, "Meta": None, "Port": None, "Weights": None, "Check": {}, "Checks": [],
        "Connect": {"Native": False}, "Proxy": None, "Kind": "", "Token": "",
    }  # fmt: skip
    assert parse({"Name": "web", **empty}) == parse({"Name": "web"})


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        ({"Port": 1}, "Missing service name"),
        ({"ID": "only"}, "Missing service name"),
        (None, "Missing service name"),
        ({"Name": "x", "Bogus": 1}, 'Request decode failed: json: unknown field "Bogus"'),
        ({"Name": "x", "Weights": {"Foo": 1}}, 'Request decode failed: json: unknown field "Foo"'),
        ({"Name": "x", "Address": "0.0.0.0"}, "Invalid service address"),
        ({"Name": "x", "Address": "[::]"}, "Invalid service address"),
        ({"Name": "x", "Weights": {}}, "Invalid Weights: Passing must be greater than 0"),
        (
            {"Name": "x", "Weights": {"Passing": 1, "Warning": -1}},
            "Invalid Weights: Warning must be greater or equal than 0",
        ),
        (
            {"Name": "x", "Weights": {"Passing": 70000, "Warning": 1}},
            "Invalid Weights: DNS Weight must be between 0 and 65535",
        ),
        (
            {"Name": "x", "Meta": {"a b": "c"}},
            "Invalid Service Meta: Couldn't load metadata pair ('a b', 'c'): "
            "Key contains invalid characters",
        ),
        (
            {"Name": "x", "Meta": {"": "c"}},
            "Invalid Service Meta: Couldn't load metadata pair ('', 'c'): Key cannot be blank",
        ),
        (
            {"Name": "x", "Meta": {"consul-x": "c"}},
            "Invalid Service Meta: Couldn't load metadata pair ('consul-x', 'c'): "
            "Key prefix 'consul-' is reserved for internal use",
        ),
        (
            {"Name": "x", "Meta": {str(n): "" for n in range(65)}},
            "Invalid Service Meta: Node metadata cannot contain more than 64 key/value pairs",
        ),
    ],
)
def test_what_consul_refuses_is_refused_in_its_words(obj: object, text: str) -> None:
    assert refusal(obj) == text


def test_more_checks_than_an_agent_takes_up_in_a_moment_are_refused() -> None:
    def checked(count: int) -> Json:
        return {"Name": "x", "Checks": [{"TTL": "10s"}] * count}

    assert len(parse_service_definition(checked(256), where="", strict=True).checks) == 256
    assert refusal(checked(257)) == "Checks: at most 256 may be given, got 257"


@pytest.mark.parametrize(
    ("key_letters", "value_letters", "is_accepted"),
    [(128, 512, True), (129, 1, False), (1, 513, False)],
)
def test_metadata_is_limited_to_128_bytes_a_key_and_512_a_value(
    key_letters: int, value_letters: int, is_accepted: bool
) -> None:
    obj = {"Name": "x", "Meta": {"k" * key_letters: "v" * value_letters}}
    if is_accepted:
        assert parse(obj).meta
    else:
        assert "is too long" in refusal(obj)


@pytest.mark.parametrize(
    ("obj", "field", "got", "expected"),
    [
        ({"Name": 5}, "Name", "number", "string"),
        ({"Name": "x", "Port": "eighty"}, "Port", "string", "int"),
        ({"Name": "x", "Port": 80.5}, "Port", "number 80.5", "int"),
        ({"Name": "x", "Port": True}, "Port", "bool", "int"),
        ({"Name": "x", "Tags": "a"}, "Tags", "string", "array of strings"),
        ({"Name": "x", "Tags": [1]}, "Tags", "number", "string"),
        ({"Name": "x", "Meta": {"k": 5}}, "Meta.k", "number", "string"),
        ({"Name": "x", "EnableTagOverride": "yes"}, "EnableTagOverride", "string", "bool"),
        ({"Name": "x", "Weights": 5}, "Weights", "number", "object"),
        ({"Name": "x", "TaggedAddresses": {"wan": "5"}}, "TaggedAddresses.wan", "string", "object"),
    ],
)
def test_a_wrong_type_names_the_field_and_what_was_expected(
    obj: Json, field: str, got: str, expected: str
) -> None:
    # As Consul: the outermost field, and Go's names of types.
    outer = field.split(".")[0]
    go_type = {"array of strings": "[]string", "object": "struct"}.get(expected, expected)
    assert refusal(obj) == (
        f"Request decode failed: json: cannot unmarshal {got} into Go struct field .{outer} "
        f"of type {go_type}"
    )
    assert refusal(obj, "service") == f"service.{field}: expected {expected}, got {got}"


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_dns_cannot_carry_is_refused(port: int) -> None:
    assert "between 0 and 65535" in refusal({"Name": "x", "Port": port})
    tagged = {"lan": {"Address": "10.0.0.1", "Port": port}}
    assert "TaggedAddresses.lan.Port" in refusal({"Name": "x", "TaggedAddresses": tagged})


def test_a_definition_that_cannot_be_replicated_is_refused() -> None:
    assert "may not exceed 65536 bytes" in refusal({"Name": "x", "Tags": ["t" * 100] * 700})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("connect", {"sidecar_service": {"port": 1}}),
        ("proxy", {"destination_service_name": "x"}),
        ("kind", "connect-proxy"),
        ("socket_path", "/secret"),
    ],
)
def test_what_is_not_built_is_refused_by_name_and_without_its_value(
    key: str, value: object
) -> None:
    text = refusal({"name": "x", key: value}, "services[1]")
    assert text.startswith(f"services[1]: {key}: ")
    assert "not built" in text
    assert "secret" not in text


def test_a_whole_number_may_have_a_point_in_a_file_but_not_in_a_request() -> None:
    obj = {"name": "x", "port": 80.0}
    assert parse_service_definition(obj, where="service", strict=True).port == 80
    assert "number 80.0" in refusal(obj)
    assert "expected int" in refusal({"name": "x", "port": 80.5}, "service")


def test_a_token_is_taken_and_gives_nothing_as_there_is_no_access_control() -> None:
    assert parse({"Name": "x", "Token": "t"}) == parse({"Name": "x"})
    assert "Token of type string" in refusal({"Name": "x", "Token": 1})


def test_in_a_file_an_unknown_field_is_named_by_its_whole_path() -> None:
    obj = {"name": "x", "weights": {"pasing": 1}}
    assert refusal(obj, "services[2]") == "invalid config key services[2].Weights.pasing"


def test_a_weight_left_out_is_1_in_a_file_and_0_in_a_request() -> None:
    obj = {"name": "x", "weights": {"passing": 3}}
    assert parse(obj).weight_warning == 0
    assert parse_service_definition(obj, where="service", strict=True).weight_warning == 1


def test_unless_strict_unknown_fields_are_ignored() -> None:
    obj = {"Name": "x", "FromTheFuture": 1, "Weights": {"Passing": 1, "Warning": 1, "Other": 2}}
    assert parse_service_definition(obj, where="services/x", strict=False).name == "x"


@pytest.mark.parametrize(
    "obj", [{"Name": "\ud800"}, {"\udfff": 1}, {"Name": "x", "TaggedAddresses": {"\ud800": {}}}]
)
def test_half_a_surrogate_pair_is_refused_in_text_that_can_be_sent(obj: Json) -> None:
    text = refusal(obj)
    assert "not valid Unicode" in text
    assert text.encode()


@pytest.mark.parametrize("name", ["foo_bar", "a b", "x.y", "n" * 64])
def test_a_name_that_dns_cannot_ask_for_is_a_warning(name: str) -> None:
    assert name in definition_warnings(parse({"Name": name}))[0]
    assert definition_warnings(parse({"Name": "web-1"})) == ()


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
definitions = st.builds(
    ServiceDefinition,
    id=text.filter(bool),
    name=text.filter(bool),
    tags=st.lists(text, max_size=3).map(tuple),
    port=st.integers(0, 65535),
    address=text.filter(lambda address: address not in {"0.0.0.0", "::", "[::]"}),
    tagged_addresses=st.dictionaries(
        text, st.builds(TaggedAddress, text, st.integers(0, 65535)), max_size=3
    ),
    meta=st.dictionaries(st.from_regex(r"[A-Za-z0-9_]{1,9}", fullmatch=True), text, max_size=3),
    weight_passing=st.integers(1, 65535),
    weight_warning=st.integers(0, 65535),
    enable_tag_override=st.booleans(),
)


@given(definitions)
def test_a_kept_definition_reads_back_as_itself(definition: ServiceDefinition) -> None:
    kept = json.loads(json.dumps(definition_to_json(definition)))
    assert parse_service_definition(kept, where="services/x", strict=False) == definition


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    ["Name", "ID", "tags", "Port", "address", "TaggedAddresses", "meta", "Weights", "check", "x"]
)


@given(st.dictionaries(field_names, json_values, max_size=5) | json_values, st.booleans())
def test_any_json_is_a_definition_or_a_definition_error(obj: object, strict: bool) -> None:
    try:
        definition = parse_service_definition(obj, where="", strict=strict)
    except DefinitionError:
        return
    assert definition.record.name == definition.name


def test_more_tags_than_agents_exchange_are_refused() -> None:
    body = {"Name": "web", "Tags": ["t"] * 8193}
    with pytest.raises(DefinitionError, match="at most 8192 tags"):
        parse_service_definition(body, where="", strict=True)
