"""Agent-to-agent calls: framed msgpack over TCP or TLS, many at once on one connection.

A frame is a length (u32, big-endian) and a msgpack array:

| first | rest | what |
| --- | --- | --- |
| 0 | id, method, body, milliseconds left | a call; the deadline travels with it |
| 1 | id, body | its answer |
| 2 | id, code, text | its error |
| 3 | method, body | a note that nobody answers and that may be lost |
| 4 | word, text | about the connection itself, below |

Who was dialled says `ready` when it has taken the connection, or `refused` and why; before that no
call is sent, so a call that meets a refusal, by TLS too, has certainly not been done. `leaving`: no
new calls, please, on this connection; those under way are answered. Who dials without TLS opens
with `hello`: that first byte (a frame's length is below 2^25) tells it from TLS, whose records
begin with 22, so one port serves both while a cluster changes over.

Either side may call the other. Bodies are what msgpack carries; methods check them.
"""

from svcmesh.rpc.connection import Bounds, Connection
from svcmesh.rpc.errors import RpcClosedError, RpcError, RpcRefusedError, RpcTimeoutError
from svcmesh.rpc.frames import Body
from svcmesh.rpc.pool import RpcPool
from svcmesh.rpc.security import AcceptRules, DialRules
from svcmesh.rpc.server import Callers, RpcServer
from svcmesh.rpc.serving import Methods, seconds_untrusted

__all__ = [
    "AcceptRules",
    "Body",
    "Bounds",
    "Callers",
    "Connection",
    "DialRules",
    "Methods",
    "RpcClosedError",
    "RpcError",
    "RpcPool",
    "RpcRefusedError",
    "RpcServer",
    "RpcTimeoutError",
    "seconds_untrusted",
]
