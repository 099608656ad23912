"""Which node serves which slot of a cluster, without I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from portfolio_trio.redis.errors import CrossSlot, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.redis._commands import Arg

Node = tuple[str, int]
"""Host and port of a primary."""

SLOTS = REDIS_CLUSTER_HASH_SLOTS


def slot_of(keys: Sequence[Arg]) -> int:
    """The slot of all these keys.

    Raises:
        CrossSlot: They are in different slots.
    """
    slots = {key_slot(_bytes(key)) for key in keys}
    if len(slots) > 1:
        raise CrossSlot(
            f"{len(keys)} keys are in {len(slots)} slots, but one call can use only one: call once per key, "
            "or give keys that belong together the same {tag}"
        )
    return slots.pop()


class SlotMap:
    """The primary of each slot, as far as known."""

    def __init__(self) -> None:
        self._owners: list[Node | None] = [None] * SLOTS

    def load(self, reply: Sequence[Sequence[Any]], asked_host: str) -> None:
        """Replace the whole map with the reply of CLUSTER SLOTS.

        Args:
            reply: The reply; of each range the first node is the primary.
            asked_host: Used if a node does not know its own host.
        """
        owners: list[Node | None] = [None] * SLOTS
        for first, last, primary, *_ in reply:
            host = (primary[0] or b"").decode()
            node = (host if host not in {"", "?"} else asked_host, int(primary[1]))
            owners[first : last + 1] = [node] * (last + 1 - first)
        self._owners = owners

    def move(self, slot: int, node: Node) -> None:
        """One slot has a new primary (MOVED)."""
        self._owners[slot] = node

    def owner(self, slot: int) -> Node:
        """The primary of a slot.

        Raises:
            Unavailable: No node serves it.
        """
        node = self._owners[slot]
        if node is None:
            raise Unavailable(f"no node of the cluster serves slot {slot}")
        return node

    @property
    def primaries(self) -> list[Node]:
        """Every node that serves a slot, in the order of their first."""
        return list(dict.fromkeys(node for node in self._owners if node is not None))

    @property
    def covered(self) -> bool:
        """Whether every slot has a primary."""
        return None not in self._owners


def _bytes(key: Arg) -> bytes:
    if isinstance(key, str):
        return key.encode()
    return bytes(key) if isinstance(key, bytes | bytearray | memoryview) else str(key).encode()
