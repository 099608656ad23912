"""From the reply of ``get_results`` to results as they were sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic_core import from_json, to_json

from portfolio_trio.store._replies import refusal
from portfolio_trio.store.errors import WrongType
from portfolio_trio.store.models import ResultsPage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Result: TypeAlias = dict[str, Any]


def results_page(session_id: str, reply: Sequence[bytes], max_bytes: int) -> ResultsPage:
    """Read a reply; restore the receipts, which only the first result of each run has in the document.

    Args:
        session_id: The session.
        reply: The script's reply.
        max_bytes: Maximum length of the results as JSON text; the newest one is always returned.

    Raises:
        SessionMissing: There is no such session.
        WrongType: Its key holds something else, or results that the store did not write.
    """
    if reply[0] != b"ok":
        raise refusal(session_id, reply)
    _, more, receipt, found, *paths = reply
    try:
        # Parsed but not validated: it may be long, and only the store writes it.
        stretches = from_json(found)
        stored = [one for path in paths for one in stretches[path.decode()]]
        whole = list(_with_receipts(stored, from_json(receipt) if receipt else None))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WrongType(session_id) from error
    newest = _newest(whole, max_bytes)
    return ResultsPage(tuple(newest), more=more == b"1" or len(newest) < len(whole))


def _with_receipts(stored: Iterable[Result], receipt: object) -> Iterable[Result]:
    """Each result as it was sent.

    Args:
        stored: Oldest first.
        receipt: The receipt of the oldest result's run, if that result does not contain it.
    """
    run_id = None
    for result in stored:
        if "receipt" in result:
            receipt = result["receipt"]
        elif run_id is not None and result.get("run_id") != run_id:
            receipt = None
        run_id = result.get("run_id")
        yield result if receipt is None or "receipt" in result else {**result, "receipt": receipt}


def _newest(results: list[Result], max_bytes: int) -> list[Result]:
    """The newest of them that fit; results of one run share a receipt, whose length counts once."""
    length, receipt, of_receipt = 0, None, 0
    for index in range(len(results) - 1, -1, -1):
        result = results[index]
        if result.get("receipt") is not receipt:
            receipt = result.get("receipt")
            of_receipt = 0 if receipt is None else len(to_json(receipt)) + len(',"receipt":')
        length += len(to_json(result, exclude={"receipt"})) + of_receipt + 1
        if length > max_bytes and index < len(results) - 1:
            return results[index + 1 :]
    return results
