"""Several workers on one port: a process that serves nothing itself, and the sockets it hands on.

May import settings and the local engine; loads no numpy and no Lua. Exports nothing by name: its entry
points are `supervisor.supervise` and `listeners.open_listeners`.
"""
