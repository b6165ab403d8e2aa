"""Events, keys, round trips, forced leaves and the log. Texts are Consul 1.8.7's."""

import pytest

from tests.cli.conftest import Run, StubApi

EVENT_ID = "42b69ab5-9ec3-9399-f823-b91dc5dd0dcf"
RING = {
    "WAN": False,
    "Datacenter": "dc1",
    "Segment": "",
    "Keys": {"b=": 1, "a=": 2},
    "PrimaryKeys": {"a=": 2},
    "NumNodes": 2,
}


class TestEvent:
    def test_an_event_is_fired_with_its_filters(self, run: Run, api: StubApi) -> None:
        api.answer("/v1/agent/self", {})
        api.answer("/v1/event/fire/deploy", {"ID": EVENT_ID})
        result = run("event", "-name=deploy", "-node", "web", "-service=x", "-tag=y", "payload")
        assert (result.status, result.out) == (0, f"Event ID: {EVENT_ID}\n")
        _, request = api.requests
        assert request.method == "PUT"
        assert request.path == "/v1/event/fire/deploy?node=web&service=x&tag=y"
        assert request.body == "payload"

    @pytest.mark.parametrize(
        ("args", "text"),
        [
            ([], "Event name must be specified\n\nUsage:"),
            (["-name=x", "-tag=y"], "Cannot provide tag filter without service filter.\n"),
            (
                ["-name=x", "-node=("],
                "Failed to compile node filter regexp: "
                "error parsing regexp: missing closing ): `(`\n",
            ),
            (["-name=x", "a", "b"], "Too many command line arguments."),
        ],
    )
    def test_what_is_wrong_is_said_before_anything_is_sent(
        self, run: Run, api: StubApi, args: list[str], text: str
    ) -> None:
        result = run("event", *args)
        assert (result.status, result.out) == (1, "")
        assert result.err.startswith(text)
        assert api.requests == []


class TestKeyring:
    def test_the_list_says_how_many_have_each_key(self, run: Run, api: StubApi) -> None:
        api.answer("/v1/operator/keyring", [RING])
        result = run("keyring", "-list", "-relay-factor=2")
        assert (result.status, result.out) == (
            0,
            "==> Gathering installed encryption keys...\n\ndc1 (LAN):\n  a= [2/2]\n  b= [1/2]\n",
        )
        assert api.paths() == ["/v1/operator/keyring?relay-factor=2"]

    def test_the_keys_in_use_are_a_list_of_their_own(self, run: Run, api: StubApi) -> None:
        api.answer("/v1/operator/keyring", [RING])
        result = run("keyring", "-list-primary")
        assert result.out.endswith("dc1 (LAN):\n  a= [2/2]\n")

    @pytest.mark.parametrize(
        ("flag", "method", "said"),
        [
            ("-install", "POST", "==> Installing new gossip encryption key...\n"),
            ("-use", "PUT", "==> Changing primary gossip encryption key...\n"),
            ("-remove", "DELETE", "==> Removing gossip encryption key...\n"),
        ],
    )
    def test_changes(self, run: Run, api: StubApi, flag: str, method: str, said: str) -> None:
        api.answer("/v1/operator/keyring", "")
        result = run("keyring", flag, "a=")
        assert (result.status, result.out) == (0, said)
        (request,) = api.requests
        assert (request.method, request.body) == (method, {"Key": "a="})

    def test_a_failure_ends_with_one(self, run: Run, api: StubApi) -> None:
        api.answer("/v1/operator/keyring", "1 error", status=500)
        result = run("keyring", "-use=a=")
        assert result.status == 1
        assert result.err == "error: Unexpected response code: 500 (1 error)\n"

    @pytest.mark.parametrize(
        ("args", "text"),
        [
            ([], "Usage: svcmesh keyring"),
            (["-list", "-use=a"], "Only a single action is allowed"),
            (["-list", "-relay-factor=9"], "Error parsing relay factor: Relay factor must be in"),
            (["-use=a", "-local-only"], "Error validating local-only: local-only can only be"),
        ],
    )
    def test_wrong_flags(self, run: Run, api: StubApi, args: list[str], text: str) -> None:
        result = run("keyring", *args)
        assert result.status == 1
        assert result.err.startswith(text)
        assert api.requests == []


class TestRtt:
    @pytest.fixture(autouse=True)
    def _nodes(self, api: StubApi) -> None:
        def entry(name: str, x: float) -> dict[str, object]:
            coord = {"Vec": [x, *[0] * 7], "Error": 0.1, "Adjustment": 0, "Height": 0.0001}
            return {"Node": name, "Segment": "", "Coord": coord}

        api.answer("/v1/coordinate/nodes", [entry("cli-a", 0), entry("cli-b", 0.000136)])
        servers = [entry("cli-a", 0)]
        api.answer("/v1/coordinate/datacenters", [{"Datacenter": "dc1", "Coordinates": servers}])
        api.answer("/v1/agent/self", {"Config": {"NodeName": "cli-a", "Datacenter": "dc1"}})

    @pytest.mark.parametrize(
        ("args", "text"),
        [
            (["cli-a", "cli-b"], "Estimated cli-a <-> cli-b rtt: 0.336 ms (using LAN coordinates)"),
            (["cli-b"], "Estimated cli-b <-> cli-a rtt: 0.336 ms (using LAN coordinates)"),
            (
                ["-wan", "cli-a.dc1", "cli-a.dc1"],
                "Estimated cli-a.dc1 <-> cli-a.dc1 rtt: 0.200 ms (using WAN coordinates)",
            ),
        ],
    )
    def test_estimates(self, run: Run, args: list[str], text: str) -> None:
        result = run("rtt", *args)
        assert (result.status, result.out) == (0, f"{text}\n")

    @pytest.mark.parametrize(
        ("args", "text"),
        [
            (["cli-a", "nobody"], 'Could not find a coordinate for node "nobody"\n'),
            ([], "One or two node names must be specified\n\nUsage"),
            (["a", "b", "c"], "One or two node names must be specified\n\nUsage"),
            (
                ["-wan", "cli-a", "cli-b"],
                "Node names must be specified as <node name>.<datacenter> with -wan\n",
            ),
        ],
    )
    def test_refusals(self, run: Run, args: list[str], text: str) -> None:
        result = run("rtt", *args)
        assert (result.status, result.out) == (1, "")
        assert result.err.startswith(text)


class TestForceLeave:
    def test_nothing_is_printed_when_it_worked(self, run: Run, api: StubApi) -> None:
        api.answer("/v1/agent/force-leave/cli-b", "")
        for flags in ([], ["-prune"]):
            result = run("force-leave", *flags, "cli-b")
            assert (result.status, result.out, result.err) == (0, "", "")
        assert api.paths() == [
            "/v1/agent/force-leave/cli-b",
            "/v1/agent/force-leave/cli-b?prune=1",
        ]

    def test_an_unknown_name(self, run: Run, api: StubApi) -> None:
        text = "agent: No node found with name 'nobody'"
        api.answer("/v1/agent/force-leave/nobody", text, status=500)
        result = run("force-leave", "nobody")
        assert result.status == 1
        assert result.err == f"Error force leaving: Unexpected response code: 500 ({text})\n"

    def test_exactly_one_name_is_needed(self, run: Run) -> None:
        result = run("force-leave")
        assert result.status == 1
        text = "A single node name must be specified to force leave.\n\nUsage"
        assert result.err.startswith(text)


class TestMonitor:
    def test_lines_are_printed_until_the_agent_ends(self, run: Run, api: StubApi) -> None:
        api.answer("/v1/agent/monitor", "2026 [INFO]  agent: one\n2026 [INFO]  agent: two\n")
        result = run("monitor", "-log-level=debug", "-log-json")
        assert result.out == "2026 [INFO]  agent: one\n2026 [INFO]  agent: two\n"
        assert result.status == 1
        assert "Remote side ended the monitor!" in result.err
        assert api.paths() == ["/v1/agent/monitor?logjson=true&loglevel=debug"]

    def test_a_refusal(self, run: Run, api: StubApi) -> None:
        text = "Bad request: Unknown log level: bogus"
        api.answer("/v1/agent/monitor", text, status=400)
        result = run("monitor", "-log-level=bogus")
        assert result.status == 1
        assert result.err == f"Error starting monitor: Unexpected response code: 400 ({text})\n"
