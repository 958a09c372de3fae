"""Times of other machines, by this machine's clock.

Each machine counts from a start of its own. A message tells when its order came and when it left,
by the clock over there. As it cannot have come before it was sent, nor left after it arrived, the
two clocks differ by something between two bounds; the closest bounds that were seen are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from procession.backends.cluster.wire import Message
from procession.items import Reply
from procession.system.pristine import perf_counter

__all__ = ["Clocks"]


class Clocks:
    """How far the clocks of other machines' processes are ahead of this one's."""

    def __init__(self) -> None:
        self._bounds: dict[str, tuple[float, float]] = {}

    def here(
        self, message: Message, replies: Sequence[Reply], now: float | None = None
    ) -> Sequence[Reply]:
        """Replies with their times by this machine's clock, and the machine as the place.

        Args:
            message: What they came with.
            replies: Those of its replies that count.
            now: When it came.
        """
        came, left = message.clock
        arrived = perf_counter() if now is None else now
        least, most = self._bounds.get(message.host, (-math.inf, math.inf))
        # It left over there before it arrived here; its order came there after it was sent here.
        least = max(least, left - arrived)
        most = min(most, came - message.sent)
        self._bounds[message.host] = least, most
        if not any(reply.timing for reply in replies):
            return replies
        ahead = self.ahead(message.host)
        return [_moved(reply, ahead, message.host) for reply in replies]

    def ahead(self, host: str) -> float:
        """Seconds that the clock of a machine is ahead, which has sent something."""
        least, most = self._bounds[host]
        return (least + most) / 2


def _moved(reply: Reply, ahead: float, host: str) -> Reply:
    if reply.timing is None:
        return reply
    begin, seconds, pid, thread = reply.timing
    return reply._replace(timing=(begin - ahead, seconds, pid, thread or host))
