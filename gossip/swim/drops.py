"""Why the membership machines leave a well-formed message without effect: one metric each.

They are the `reason` of `MessageDropped`. Reasons for refusing bytes are in `gossip.wire.reasons`.
What is normal traffic (a rumor heard twice, a late ack) has no reason and is not reported.
"""

# Claims about members.
BAD_NAME = "claim-bad-name"
BAD_META = "claim-bad-meta"
BAD_VSN = "claim-bad-vsn"
BAD_ADDRESS = "claim-bad-address"
INCOMPATIBLE_VERSIONS = "claim-incompatible-versions"
NOT_ADMITTED = "claim-not-admitted"
INCARNATION_ZERO = "claim-incarnation-zero"
MEMBERS_MAX = "members-max"
INCARNATION_LIMIT = "accusation-at-incarnation-limit"

# Probing.
PING_FOR_ANOTHER_NAME = "ping-for-another-name"
INDIRECT_PINGS_MAX = "indirect-pings-max"
DIALS_MAX = "dials-max"
ANSWER_RATE = "answer-rate-to-strangers"
TCP_PING_ONLY = "probe-answered-by-tcp-only"

# Rumors and exchanges.
RUMOR_TOO_LARGE = "rumor-too-large"
MERGE_INCOMPATIBLE = "merge-incompatible-versions"
MERGE_NOT_ADMITTED = "merge-not-admitted"
UNKNOWN_STREAM = "unknown-stream"
