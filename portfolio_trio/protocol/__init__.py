"""The wire: messages, error codes and close codes; no I/O.

Imports the rules for tickers, numbers and shown texts only. Exports nothing by name: `messages` has what
clients and server say, `codes` and `closes` the tables, `asyncapi` the document.
"""
