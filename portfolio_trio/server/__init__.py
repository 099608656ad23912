"""The whole server: its nurseries and drain, its start, and its HTTP routes.

May import all rooms but cli. Exports nothing by name: `server.open_server` and `serve.serve` are its doors.
"""
