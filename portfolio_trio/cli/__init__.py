"""The command line: one module per command, and shared code.

Imports every room; no room imports it. `main` loads `commands` when the command is known, and that loads the
command's own module: --help needs only the standard library, and a supervisor no numpy. Exports nothing: the
entry point is `portfolio_trio.cli.main:main`.
"""
