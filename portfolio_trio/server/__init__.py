"""The whole server: its nurseries and drain, its start, and its HTTP routes.

May import all rooms but cli. Its entry points are `server.open_server` and `serve.serve`.
"""
