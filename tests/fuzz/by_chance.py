"""Fuzzes one target with what it is known to take, changed by chance.

python -m tests.fuzz.by_chance TARGET SECONDS SEED
"""

from __future__ import annotations

import random
import secrets
import sys
import time
from collections.abc import Iterable, Iterator

from tests.attacks.mutation import mutated
from tests.fuzz.__main__ import FOLDER
from tests.fuzz.target import FuzzTarget
from tests.fuzz.targets import TARGETS


def changed(target: FuzzTarget, seed: int) -> Iterator[bytes]:
    """Bytes without an end, made of what a target takes; the same of the same seed."""
    chance = random.Random(seed)
    while True:
        data = chance.choice(target.seeds)
        for _ in range(chance.randint(1, 4)):
            data = mutated(chance, data)
        yield data


def survive(target: FuzzTarget, tried: Iterable[bytes]) -> int:
    """Gives a target all of these, and tells how many; what it ends by names the bytes."""
    count = 0
    for count, data in enumerate(tried, 1):  # noqa: B007
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"{target.name} ends by {data!r}") from error
    return count


def main(name: str, seconds: str, seed: str) -> None:
    end = time.monotonic() + float(seconds)

    def until_end() -> Iterator[bytes]:
        for data in changed(TARGETS[name], int(seed) or secrets.randbits(32)):
            (FOLDER / name / "last").write_bytes(data)
            if time.monotonic() > end:
                return
            yield data

    print(f"runs: {survive(TARGETS[name], until_end())}")


if __name__ == "__main__":
    main(*sys.argv[1:])
