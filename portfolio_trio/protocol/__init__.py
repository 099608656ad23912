"""The wire: messages, error codes and close codes; no I/O.

Imports only the rules for tickers, numbers and escaping. Import from the modules: `requests` and `messages`
have what clients and server send, `codes` and `closes` the tables, `asyncapi` the document.
"""
