"""Any bytes are taken or refused by whatever reads those of others: `make fuzz` asks for longer."""

from __future__ import annotations

from hashlib import sha256
from itertools import islice

import pytest

from driftline.store.encryption import HEADER_BYTES
from tests.fuzz.__main__ import NAMES
from tests.fuzz.by_chance import changed, survive
from tests.fuzz.files import ENCRYPTED
from tests.fuzz.target import FuzzTarget
from tests.fuzz.targets import TARGETS

FEW = {"retrain": 15, "spec": 60, "weights": 60}
NAMELESS = ENCRYPTED[:14] + b"\xff" + ENCRYPTED[15 : HEADER_BYTES - 8]
FOUND = {
    "encrypted": NAMELESS + sha256(NAMELESS).digest()[:8],
    "artifact": b'{"kind":"version","spec":{"a":' + b"[" * 5000,
    "spec": b'{"name": "m", "task": "regression", "inputs": {"shape": [66666666666666674, 44]}}',
    "backup": b"\x00\x00\x00\x02\x91\x92",
}
"""What has once ended a target."""


def test_all_targets_have_a_name() -> None:
    assert [*TARGETS] == [*NAMES]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_what_is_read_of_others_is_taken_or_refused(target: FuzzTarget) -> None:
    tried = [*target.seeds, *islice(changed(target, seed=1), FEW.get(target.name, 300))]
    assert survive(target, tried) == len(tried)


@pytest.mark.parametrize("name", FOUND)
def test_what_has_ended_a_target_is_refused(name: str) -> None:
    survive(TARGETS[name], [FOUND[name]])


def test_a_fault_is_told_with_the_bytes_that_cause_it() -> None:
    def read(data: bytes) -> None:
        if b"7" in data:
            raise ZeroDivisionError

    with pytest.raises(AssertionError, match="broken ends by b'7'"):
        survive(FuzzTarget("broken", read, [b"1"]), [b"1", b"7"])
