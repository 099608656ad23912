"""The sockets of one session: what each sees and in which order, and which run is open here or elsewhere.

May import market, metrics, store and protocol. `hub.Hub` is the entry point; `run_state` has the table of a
run's states.
"""
