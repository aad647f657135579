"""A version is a table of tensors: what has not changed is written, read and held once."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from driftline.errors import CorruptData
from driftline.learning.learner import Learner
from driftline.networks import bundle, sealed
from driftline.networks.build import build
from driftline.networks.model import Model
from driftline.records import Plan
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.versions import MIN_BLOB_BYTES, START, VersionFiles
from tests.services import spec
from tests.worker.conftest import labelled

UID = "0123456789ab"
WIDTH = 8192
FROZEN = {"type": "linear", "features": WIDTH, "frozen": True}
LAYERS = {"layers": [FROZEN, {"type": "relu"}, {"type": "linear", "features": 4}]}
"""A frozen weight ``[8192, 8]`` of 256 KiB and its bias of 32 KiB, and a trained one ``[4, 8192]`` of 128 KiB."""
FROZEN_NAMES = ("network.linear1.weight", "network.linear1.bias")
RECIPE = {"strategy": {"name": "replay"}, "gate": {"mode": "off"}}


def learner(network: dict[str, Any] | None = None) -> Learner:
    found = parse(ModelSpec, spec(network=network or LAYERS, recipe=RECIPE))
    return Learner.create(found, seed=1)


def taught(one: Learner, first: int = 0) -> Learner:
    """The learner after eight more labels."""
    items = labelled(8, first=first)
    one.learn(items, range(first + 1, first + 9), Plan(updates=2, publish=True, version=2))
    return one


def model_of(one: Learner) -> Model:
    return Model(one.spec, one.classes, one.served)


@pytest.fixture
def files(tmp_path: Path) -> VersionFiles:
    return VersionFiles(Artifacts(tmp_path / "artifacts"), UID)


def names(files: VersionFiles) -> set[str]:
    return set(os.listdir(files.artifacts.root / UID))


def written(files: VersionFiles, write: Callable[[], Any]) -> tuple[Any, int]:
    """What a function gives, and the bytes of the files that it has added."""
    before = names(files) if (files.artifacts.root / UID).exists() else set[str]()
    found = write()
    return found, sum((files.artifacts.root / UID / name).stat().st_size for name in names(files) - before)


def version(files: VersionFiles, one: Learner, number: int = 1) -> str:
    return files.write_version(model_of(one), number, None, START, "told to", {}).manifest


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def test_a_version_writes_what_has_changed_alone_and_comes_back_bit_for_bit(files: VersionFiles) -> None:
    one = learner()
    first, all_bytes = written(files, lambda: version(files, one))
    second, new_bytes = written(files, lambda: version(files, taught(one), 2))
    frozen_bytes = sum(one.module.state_dict()[name].nbytes for name in FROZEN_NAMES)
    assert all_bytes > frozen_bytes > all_bytes - new_bytes - 1000 and new_bytes < all_bytes - frozen_bytes + 1000
    shared = files.blobs(first).keys() & files.blobs(second).keys()
    assert {bundle.decode(files.artifacts.get(UID, second)).tensors[name] for name in FROZEN_NAMES} == shared
    _, state = files.read(second)
    assert_same(state.tensors, dict(one.served.state_dict()))


def test_the_version_of_a_small_network_is_one_file_and_its_manifest(files: VersionFiles) -> None:
    one = learner({"layers": [{"type": "linear", "features": 32}]})
    found = version(files, one)
    manifest = bundle.decode(files.artifacts.get(UID, found))
    assert manifest.format == 1 and not manifest.tensors and len(names(files)) == 2, "a former release reads it"


def test_a_checkpoint_refers_to_what_versions_have(files: VersionFiles) -> None:
    one = taught(learner())
    version(files, one)
    place, new_bytes = written(
        files, lambda: files.write_checkpoint(model_of(one), one.present_state(), START).manifest
    )
    state = one.state_dict()
    frozen = [value.nbytes for name, value in state.tensors.items() if name.endswith(FROZEN_NAMES)]
    assert len(frozen) >= 6 and new_bytes < sum(value.nbytes for value in state.tensors.values()) - sum(frozen) + 20_000
    back = Learner.from_state(files.read(place)[1])
    assert back.digest() == one.digest()
    assert_same(back.state_dict().tensors, state.tensors)
    assert taught(back, 8).digest() == taught(one, 8).digest()


def test_frozen_tensors_are_in_a_learner_once_from_its_beginning_and_after_a_restart(files: VersionFiles) -> None:
    one = taught(learner())
    place = files.write_checkpoint(model_of(one), one.state_dict(), START).manifest
    for each in (one, Learner.from_state(files.read(place)[1])):
        modules = [each.module, each.promotion.champion, each.promotion.anchor]
        for name in FROZEN_NAMES:
            assert len({module.state_dict()[name].data_ptr() for module in modules}) == 1
        assert len({module.state_dict()["network.linear2.weight"].data_ptr() for module in modules}) > 1


def test_a_learner_goes_with_whoever_has_it() -> None:
    """Large modules in a cycle of references would stay until the next full collection."""
    one = taught(learner())
    alive = [weakref.ref(each) for each in (one, one.module, Learner.from_state(one.state_dict()).module)]
    gc.disable()
    try:
        del one
        assert not any(each() for each in alive)
    finally:
        gc.enable()


def test_layers_that_are_trained_again_or_drawn_again_leave_the_champion_as_it_is() -> None:
    one = taught(learner())
    before = {name: value.clone() for name, value in one.promotion.champion.state_dict().items()}
    for edit in ("unfreeze", "reinitialise"):
        one.retrain("job", {}, [{"type": edit}], 1, labelled(8))
        assert one.retraining is not None
        one.retraining.advance(3)
        trained = one.retraining.course.module.state_dict()
        assert any(not torch.equal(trained[name], before[name]) for name in FROZEN_NAMES)
        assert_same(dict(one.promotion.champion.state_dict()), before)
        one.cancel()
    one.course.state.renew_weights()
    assert not torch.equal(one.module.state_dict()[FROZEN_NAMES[0]], before[FROZEN_NAMES[0]])
    assert_same(dict(one.promotion.champion.state_dict()), before)


def test_a_loaded_version_has_the_unchanged_tensors_of_the_one_before(files: VersionFiles) -> None:
    """As a server loads them: into the module that was served before the live one."""
    one = learner()
    digests = [version(files, one), version(files, taught(one), 2), version(files, taught(one, 8), 3)]
    live, spare = (build(one.spec, one.classes, seed=seed) for seed in (5, 6))
    for digest, module in zip(digests, (spare, live, spare), strict=True):
        _, state = files.read(digest)
        bundle.load(module, state.tensors, is_trained=False)
        assert_same(dict(module.state_dict()), files.read(digest)[1].tensors)
    for name in FROZEN_NAMES:
        assert live.state_dict()[name].data_ptr() == spare.state_dict()[name].data_ptr()
    kept = {name: value.clone() for name, value in live.state_dict().items()}
    bundle.load(spare, {name: torch.zeros_like(value) for name, value in kept.items()}, is_trained=False)
    assert_same(dict(live.state_dict()), kept)


def test_a_tensor_goes_with_the_last_module_that_has_it(files: VersionFiles) -> None:
    one = learner()
    digest = bundle.decode(files.artifacts.get(UID, version(files, one))).tensors[FROZEN_NAMES[0]]
    assert sealed.in_memory(digest) is not None
    del one
    gc.collect()
    assert sealed.in_memory(digest) is None


def test_tied_tensors_are_one_blob(files: VersionFiles) -> None:
    shared = torch.randn(MIN_BLOB_BYTES // 4)
    one = learner()
    state = one.state_dict()
    state.tensors.update({"one": shared, "other": shared, "equal": shared.clone()})
    place = files.write_checkpoint(model_of(one), state, START).manifest
    manifest = bundle.decode(files.artifacts.get(UID, place))
    assert len({manifest.tensors[name] for name in ("one", "other", "equal")}) == 1
    found = files.read(place)[1].tensors
    assert torch.equal(found["one"], shared) and found["one"].data_ptr() == found["other"].data_ptr()


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "damaged", [flipped, lambda data: data[:-8], lambda data: b"\xff" * 99, lambda data: b"", None]
)
def test_a_damaged_blob_is_named_and_written_again_by_the_next_version(
    files: VersionFiles, damaged: Callable[[bytes], bytes] | None
) -> None:
    one = learner()
    digest = version(files, one)
    blob = bundle.decode(files.artifacts.get(UID, digest)).tensors[FROZEN_NAMES[0]]
    path = files.artifacts.root / UID / blob
    data = path.read_bytes()
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged(data))
    elsewhere = {name: value.clone() for name, value in one.module.state_dict().items()}
    description = one.spec
    del one
    gc.collect()
    with pytest.raises(CorruptData, match="missing" if damaged is None else "damaged") as found:
        files.read(digest)
    assert found.value.details["sha256"] == blob
    version(files, Learner.create(description, seed=1, weights=elsewhere), 2)
    assert path.read_bytes() == data


def test_a_tensor_that_is_written_meanwhile_becomes_no_blob(files: VersionFiles) -> None:
    data = torch.randn(100)
    digest = sealed.digest_of(data)
    parts = sealed.header(data.dtype, data.shape), sealed.bytes_of(data)
    data += 1
    with pytest.raises(CorruptData, match="changed while it was written"):
        files.artifacts.put_parts(UID, digest, parts)
    assert not names(files)


TYPES = st.sampled_from([*sealed.DTYPES])


@given(st.lists(st.tuples(TYPES, st.lists(st.integers(0, 5), max_size=3), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=40)
def test_tensors_of_any_type_and_shape_come_back(described: list[tuple[torch.dtype, list[int], bool]]) -> None:
    for dtype, shape, is_sealed in described:
        tensor = (torch.randn(shape) * 3).to(dtype)
        if not sealed.can_be_blob(tensor):
            assert not tensor.numel()
            continue
        if is_sealed:
            sealed.seal(tensor)
        data = sealed.header(dtype, tensor.shape) + bytes(sealed.bytes_of(tensor))
        assert torch.equal(bundle.weights_from_bytes(data)[sealed.NAME], tensor), "it is a safetensors file"
        assert sealed.digest_of(tensor) == sealed.digest_of(tensor.clone())
