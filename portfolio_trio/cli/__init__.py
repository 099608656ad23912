"""The command line: one module a command, and what they share.

Imports every room; no room imports it. `main` loads a command's module only when it is run, so that --help
and a supervisor need no numpy. Exports nothing: the entry point is `portfolio_trio.cli.main:main`.
"""
