"""Reading what the server sends: every message as its model, and what a newer server adds as `Unknown`."""

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
    """What stands beside a metric's value, whatever the metric; the fields are attributes.

    ``ConcentrationDetail.model_validate(detail.model_extra)`` makes it the metric's own model.
    """

    model_config = ConfigDict(frozen=True, extra="allow")


class ReceivedResult(AnalysisResult):
    """An `AnalysisResult` that was read and not computed: its detail keeps every field it came with."""

    detail: ReceivedDetail | None = None


class Unknown(Message):
    """A message of a type that this version does not know; its fields are attributes."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str

    @override
    def to_json(self) -> str:
        """The text of the frame; what came as null stays."""
        return self.model_dump_json(exclude={"id"} if self.id is None else None)


# Everything a server of this version sends.
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
    """A frame of the server that breaks the protocol: no JSON object, or fields that its type cannot have."""


def parse_message(frame: str | bytes) -> ServerMessage | Unknown:
    """Read one WebSocket frame of a server.

    Raises:
        ProtocolError: The frame is binary, no JSON, has no type, or lacks what its type needs.
    """
    if isinstance(frame, bytes):
        raise ProtocolError("a binary frame; the protocol has text frames only")
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
