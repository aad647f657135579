"""The guard: a process that outlives its supervisor just long enough to end what the supervisor started.

Run as ``python -I -S guard.py LIFE GROUP GRACE`` at the head of a process group of its own. ``LIFE`` is the read end of
a pipe whose write end only the supervisor holds: it reads end-of-file once the supervisor has ended, for whatever reason.
``GROUP`` is the same for the supervisor and all members of the group. It imports nothing but the standard library.
"""

from __future__ import annotations

import os
import select
import signal
import sys


def main(life: int, group: int, grace: float) -> None:
    """Wait for the supervisor's end; then ask the group to end, wait at most ``grace`` seconds, and kill it."""
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    os.read(life, 1)
    os.killpg(0, signal.SIGTERM)
    ended = select.poll()
    ended.register(group)
    ended.poll(1000 * grace)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
