"""Reading the server's messages: each as its model, and types that a newer server adds as `Unknown`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import override

from portfolio_trio.protocol.decisions import History, Plan, Risk, WhatIf
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisResult,
    AnalysisStarted,
    Error,
    Message,
    MetricFailure,
    Portfolio,
    PortfolioUpdate,
    Results,
)


class ReceivedDetail(BaseModel):
    """The detail of a metric's value, for any metric; its fields are attributes.

    ``ConcentrationDetail.model_validate(detail.model_extra)`` converts it to the metric's own model.
    """

    model_config = ConfigDict(frozen=True, extra="allow")


class ReceivedResult(AnalysisResult):
    """An `AnalysisResult` that was received: its detail keeps every field."""

    detail: ReceivedDetail | None = None


class Unknown(Message):
    """A message of a type that this version does not know; its fields are attributes."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str

    @override
    def to_json(self) -> str:
        """The text of the frame; fields received as null stay null."""
        return self.model_dump_json(exclude={"id"} if self.id is None else None)


# Every message that a server of this version sends.
ServerMessage = (
    ReceivedResult
    | Error
    | MetricFailure
    | Portfolio
    | Results
    | AnalysisStarted
    | AnalysisCompleted
    | AnalysisCancelled
    | AnalysisFailed
    | PortfolioUpdate
    | Risk
    | WhatIf
    | Plan
    | History
)

_KNOWN: TypeAdapter[ServerMessage] = TypeAdapter(Annotated[ServerMessage, Field(discriminator="type")])


class ProtocolError(ValueError):
    """A frame of the server that violates the protocol: not a JSON object, or fields its type cannot have."""


def parse_message(frame: str | bytes) -> ServerMessage | Unknown:
    """Read one WebSocket frame of a server.

    Raises:
        ProtocolError: The frame is binary, is not JSON, has no type, or lacks a field that its type needs.
    """
    if isinstance(frame, bytes):
        raise ProtocolError("a binary frame; the protocol has only text frames")
    try:
        return _KNOWN.validate_json(frame)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] != "union_tag_invalid":
            raise ProtocolError(_explain(first["loc"], first["msg"])) from None
    try:
        return Unknown.model_validate_json(frame)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ProtocolError(_explain(first["loc"], first["msg"])) from None


def _explain(place: tuple[int | str, ...], reason: str) -> str:
    return f"{'.'.join(map(str, place))}: {reason}" if place else reason
