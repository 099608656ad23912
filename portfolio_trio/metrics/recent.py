"""A bounded cache of the most recently used values."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key, the most recently used ones; the newest is kept whatever its size.

    Args:
        most: The maximum sum of their sizes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sum = 0
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, if it is kept."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: K, value: V, size: int) -> None:
        """Keep a value, replacing the previous one, and drop the oldest to make room."""
        before = self._kept.pop(key, None)
        self._sum += size - (0 if before is None else before[1])
        self._kept[key] = value, size
        while self._sum > self._most and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self._sum -= freed
