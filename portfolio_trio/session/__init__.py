"""One connection: its reader and writer, its requests, and the run of its analysis.

May import peers, hub, access, market, metrics, store, http and protocol. `connection.Session` and
`services.Services` are the entry points.
"""
