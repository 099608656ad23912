"""The input of the generators: ``python -m tests.support.typescript.write FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from portfolio_trio.protocol.typescript import types
from portfolio_trio.server.asyncapi_route import installed_document


def main(folder: Path) -> None:
    """Write the document, and the types that this package makes of it."""
    document = installed_document()
    (folder / "document.json").write_text(json.dumps(document))
    (folder / "ours.ts").write_text(types(document))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
