"""The command line: one module a command, and what they share.

Imports every room; no room imports it. `main` loads `commands` when it knows which one is wanted, and that
loads the command's own module: --help needs the standard library alone, and a supervisor no numpy. Exports
nothing: the entry point is `portfolio_trio.cli.main:main`.
"""
