"""``GET /asyncapi.json``: the protocol as an AsyncAPI document, made only once."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from portfolio_trio.http import Response
from portfolio_trio.metrics import BUILT_IN, installed_metrics
from portfolio_trio.protocol import asyncapi

if TYPE_CHECKING:
    from portfolio_trio.http import Request
    from portfolio_trio.metrics import MetricRegistry
    from portfolio_trio.protocol.schemas import Json
    from portfolio_trio.session.services import Services

# The valid values of Host; anything else is not repeated.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PLACE: Final = "host.invalid"


def document_of(metrics: MetricRegistry, **server: Any) -> Json:  # noqa: ANN401 - as `asyncapi.document`
    """The document of a server with these metrics."""
    details = {name: metric.detail for name, metric in metrics.items()}
    return asyncapi.document(details=details, more_codes=bool(details.keys() - set(BUILT_IN)), **server)


def installed_document() -> Json:
    """The document of a server as it would start here.

    Raises:
        PluginError: An installed metric cannot be used.
    """
    return document_of(installed_metrics())


class AsyncApiRoute:
    """Answers with the details of the installed metrics, and with the requested host.

    Everything except the host is the same for all requests; it takes milliseconds, and is made at the first
    one.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._parts: tuple[str, str] | None = None

    async def __call__(self, request: Request) -> Response:
        """Answer with the document."""
        if self._parts is None:
            self._parts = self._make()
        before, after = self._parts
        host = request.head.header("host") or ""
        shown = host if _HOST.fullmatch(host) else "localhost"
        return Response(body=f"{before}{json.dumps(shown)}{after}".encode())

    def _make(self) -> tuple[str, str]:
        secure = self._services.settings.tls_certificate is not None
        document = document_of(self._services.metrics, host=_PLACE, secure=secure)
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
        before, after = text.split(json.dumps(_PLACE))
        return before, after
