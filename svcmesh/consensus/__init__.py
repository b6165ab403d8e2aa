"""The consistent store: Raft on the servers, and on top of it keys, sessions and locks."""
