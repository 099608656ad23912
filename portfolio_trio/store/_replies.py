"""From a script's reply to typed values; a status other than success becomes the error it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from portfolio_trio.store._fields import Name, Shares, StoredTargets, Total
from portfolio_trio.store.errors import (
    MissingPrices,
    NothingTraded,
    PortfolioChanged,
    ResultsOutOfStep,
    RunNotCurrent,
    RunSuperseded,
    SessionMissing,
    StoreError,
    ValueOverflow,
    VersionConflict,
    WrongType,
)
from portfolio_trio.store.models import (
    CurrentAnalysis,
    Ending,
    Head,
    Portfolio,
    Revaluation,
    RunStart,
    Valued,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from portfolio_trio.store.models import Computed, Outcome
    from portfolio_trio.targets import Targets

_HOLDINGS: Final = TypeAdapter(dict[Name, Shares])
_TOTAL: Final = TypeAdapter(Total)
_CURRENT: Final = TypeAdapter(CurrentAnalysis | None)
_TARGETS: Final[TypeAdapter[Targets | None]] = TypeAdapter(StoredTargets)
_VALUED: Final = TypeAdapter(Valued)
_ENDING: Final = TypeAdapter(Ending)
_ENDINGS: Final = TypeAdapter(tuple[Ending, ...])

_REFUSALS: Final[Mapping[bytes, Callable[[str, Sequence[bytes]], StoreError]]] = {
    b"missing": lambda session_id, _: SessionMissing(session_id),
    b"wrong_type": lambda session_id, _: WrongType(session_id),
    b"superseded": lambda session_id, rest: RunSuperseded(session_id, int(rest[0]), ending(rest[1])),
    b"not_running": lambda session_id, rest: RunNotCurrent(session_id, ending(rest[0])),
    b"portfolio_changed": lambda session_id, rest: PortfolioChanged(session_id, int(rest[0])),
    b"out_of_step": lambda session_id, rest: ResultsOutOfStep(session_id, int(rest[0])),
    b"version": lambda session_id, rest: VersionConflict(session_id, int(rest[0])),
    b"missing_prices": lambda _, rest: MissingPrices([name.decode() for name in rest]),
    b"overflow": lambda _session_id, _: ValueOverflow(),
    b"unchanged": lambda _, rest: NothingTraded(rest[0].decode(), float(rest[1]), float(rest[2])),
}
_OUTCOMES: Final[Mapping[bytes, Outcome]] = {
    b"ok": "revalued",
    b"stale": "stale",
    b"missing": "missing",
    b"missing_prices": "missing_prices",
    b"overflow": "overflow",
    b"wrong_type": "wrong_type",
}


def refusal(session_id: str, reply: Sequence[bytes]) -> StoreError:
    """Return the error that a reply stands for."""
    status, *rest = reply
    make = _REFUSALS.get(status)
    return make(session_id, rest) if make else StoreError(f"unexpected reply of a script: {status.decode()}")


def portfolio(
    session_id: str,
    *,
    holdings: str | bytes,
    version: bytes,
    total: str | bytes,
    valued: str | bytes,
    current: bytes,
    targets: bytes = b"null",
    others: Sequence[bytes],
    attached: bool = True,
    counter: bytes = b"0",
    incarnation: str = "",
    ends: bytes = b"",
) -> Portfolio:
    """Build a portfolio from JSON texts.

    Raises:
        WrongType: The texts are not in the form that the store writes.
    """
    try:
        return Portfolio(
            session_id=session_id,
            holdings=_HOLDINGS.validate_json(holdings),
            version=int(version),
            total_value=_TOTAL.validate_json(total),
            valued=_VALUED.validate_json(valued),
            current_analysis=_CURRENT.validate_json(current),
            targets=_TARGETS.validate_json(targets),
            others=workers(others),
            attached=attached,
            run_counter=int(counter),
            incarnation=incarnation,
            run_ends=_endings(ends),
            texts=(holdings if isinstance(holdings, bytes) else holdings.encode(), targets),
        )
    except ValueError as error:  # pydantic's ValidationError is one
        raise WrongType(session_id) from error


def ending(text: bytes) -> Ending | None:
    """Read how a run ended; None if the document does not say, or has something the store never writes."""
    try:
        return _ENDING.validate_json(text) if text else None
    except ValidationError:
        return None


def _endings(text: bytes) -> tuple[Ending, ...]:
    try:
        return _ENDINGS.validate_json(text) if text else ()
    except ValidationError:
        # Someone edited it by hand. The next end overwrites it.
        return ()


def workers(names: Sequence[bytes]) -> tuple[str, ...]:
    """Read the workers at the end of a reply."""
    return tuple(name.decode() for name in names)


def run_start(
    session_id: str,
    reply: Sequence[bytes],
    *,
    started_at: str,
    tick_id: int,
    computed: Computed | None = None,
) -> RunStart:
    """Read the reply of ``start_analysis``; the other arguments are those it was called with.

    Raises:
        StoreError: The reply is not a success.
    """
    if reply[0] != b"ok":
        raise refusal(session_id, reply)
    _, run_id, holdings, version, total, replaced, targets, taken, *others = reply
    try:
        head = (
            computed.head
            if computed is not None and taken == b"1"
            else Head(
                int(version),
                _HOLDINGS.validate_json(holdings),
                _TARGETS.validate_json(targets),
                (holdings, targets),
            )
        )
        return RunStart(
            int(run_id),
            head.holdings,
            head.version,
            float(total),
            workers(others),
            replaced=int(replaced),
            started_at=started_at,
            tick_id=tick_id,
            targets=head.targets,
            texts=head.texts,
            taken=taken == b"1",
        )
    except ValueError as error:
        raise WrongType(session_id) from error


def revaluation(session_id: str, reply: Sequence[bytes]) -> Revaluation:
    """Read one key's part of the reply of ``revalue``."""
    status, *rest = reply
    outcome = _OUTCOMES[status]
    if outcome == "revalued":
        return Revaluation(session_id, outcome, before=float(rest[0]), after=float(rest[1]))
    if outcome == "missing_prices":
        return Revaluation(session_id, outcome, unpriced=tuple(name.decode() for name in rest))
    return Revaluation(session_id, outcome)
