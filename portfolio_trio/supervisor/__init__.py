"""Several workers on one port: a process that serves nothing itself, and the sockets it passes on.

May import settings and the local engine; does not load numpy or Lua. Its entry points are
`supervisor.supervise` and `listeners.open_listeners`.
"""
