"""The sockets of one session: who sees what and in which order, and which run is open here or elsewhere.

May import market, metrics, store and protocol. Exports nothing by name: `hub.Hub` is its entry point, and
`run_state` holds the table of a run's life.
"""
