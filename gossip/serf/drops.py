"""Why the Serf layer leaves a well-formed message without effect: one metric each.

They are the `reason` of `MessageDropped`, beside those of `gossip.swim.drops`.
"""

EMPTY_USER_MESSAGE = "serf-empty-message"
UNEXPECTED_TYPE = "serf-unexpected-type"
BAD_NAME = "serf-bad-name"
LAMPORT_JUMP = "serf-lamport-jump"
EVENT_TOO_OLD = "serf-event-too-old"
EVENT_TOO_LARGE = "serf-event-too-large"
EVENT_SLOT_FULL = "serf-event-slot-full"
QUERY_TOO_OLD = "serf-query-too-old"
QUERY_SLOT_FULL = "serf-query-slot-full"
RUMOR_TOO_LARGE = "serf-rumor-too-large"
RELAY_TO_STRANGER = "serf-relay-to-stranger"
RELAY_UNFIT = "serf-relay-unfit"
ABSURD_COORDINATE = "serf-absurd-coordinate"
ABSURD_RTT = "serf-absurd-rtt"
UNKNOWN_MEMBER = "serf-unknown-member"
"""A change of a member that was erased here."""
