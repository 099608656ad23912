"""The whole server: its nurseries and drain, its start, and its HTTP routes.

May import all rooms but cli. Exports nothing by name: its entry points are `server.open_server` and
`serve.serve`.
"""
