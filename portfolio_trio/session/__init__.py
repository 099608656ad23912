"""One connection: its reader and writer, its requests, and the run of its one analysis.

May import peers, hub, access, market, metrics, store, http and protocol. Exports nothing by name:
`connection.Session` and `services.Services` are its entry points.
"""
