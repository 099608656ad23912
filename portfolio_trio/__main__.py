"""``python -m portfolio_trio``: the command line."""

import sys

from portfolio_trio.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
