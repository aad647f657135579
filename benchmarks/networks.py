"""What a large network costs: the bytes of versions and checkpoints, writing, loading and swapping them, and memory.

python -m benchmarks.networks [--sizes 22M 109M] [--rank 8] [--swaps 5] [--only files learner swap serving tables …]

Encoders of the sizes of MiniLM-L6 and of BERT-base, with random weights, fully trained and by LoRA. Each figure is measured in
a process of its own, now and, where that is said, *as files*: each version one file with all tensors, and each module with
copies of its own, as before tensors had blobs of their own; and of memory beside a *bare loop*, a network and its optimizer on
the same rows. ``silence`` is the longest time that another thread of the process, which wakes each millisecond, did not run;
``idle`` is the same while nothing happens: what the machine adds.

tables: an embedding of a million rows of 64 numbers, dense and by rows, beside a bare loop with torch's optimizers; times are
of a processor.

tenants: a hundred models on one base, all of them served by one process, or learned by one.

compiled: a network as servers answer by it with ``"compile": true``, as a share of the processor time of the same one as it is.

serving: a server of its own, whose ``/livez`` another process asks all the time while versions are swapped in.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import numpy as np
import torch

from app.version_loader import VersionLoader
from benchmarks import swap
from benchmarks.common import compiled, on_one_base, row_tables
from benchmarks.common.encoder import FACTORY, SIZES, TOKENS, encoder, spec
from benchmarks.common.load import HOST
from benchmarks.common.processes import resident_bytes
from benchmarks.common.results import table
from benchmarks.common.silence import asking_livez, watched
from driftline import versions as version_files
from driftline.learning.learner import Learner
from driftline.networks import sealed
from driftline.networks.model import Model
from driftline.records import Item, Plan
from driftline.settings import Settings
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.connection import RedisConnection
from driftline.support.memory import give_back
from driftline.versions import START, VersionFiles
from tests.versions import Versions

MB = 1e6
UID = "0123456789ab"
IDLE_SECONDS = 3.0
TENANTS = 100
TENANTS_ARE = ("served", "learning")
WAYS = ("now", "as files")


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def labelled(count: int, first: int = 0) -> list[Item]:
    random = np.random.default_rng(first)
    rows = random.integers(0, 1000, (count, TOKENS))
    return [Item(f"i{first + n}", {"inputs": row.tobytes()}, int(row[0]) % 4) for n, row in enumerate(rows)]


def made(size: str, rank: int | None) -> Learner:
    return Learner.create(parse(ModelSpec, spec(size, rank)), seed=1, factories=[FACTORY])


def taught(learner: Learner, step: int = 0) -> Learner:
    """The learner after a step of eight labels, and what is published of it."""
    items = labelled(8, 8 * step)
    learner.learn(items, range(8 * step + 1, 8 * step + 9), Plan(updates=1, publish=True, version=step + 2))
    return learner


def model_of(learner: Learner) -> Model:
    return Model(learner.spec, learner.classes, learner.served)


def bytes_of(learner: Learner) -> dict[str, float]:
    """The bytes of what is trained and of all else."""
    parameters = list(learner.module.parameters())
    trained = sum(each.nbytes for each in parameters if each.requires_grad)
    return {"trained MB": trained / MB, "frozen MB": (sum(each.nbytes for each in parameters) - trained) / MB}


class Folder:
    """The files of a model, and how many bytes they have."""

    def __init__(self, path: Path) -> None:
        self.files = VersionFiles(Artifacts(path), UID)
        self._path = path / UID

    def bytes(self) -> int:
        return sum(entry.stat().st_size for entry in os.scandir(self._path)) if self._path.exists() else 0

    def written(self, write: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
        """What a function gives; the bytes that it has added, its seconds, and the silence."""
        before = self.bytes()
        with watched() as measured:
            found = write()
        added = (self.bytes() - before) / MB
        return found, {"MB": added, "write s": measured.seconds, "silence ms": 1e3 * measured.silence}

    def version(self, learner: Learner, number: int) -> str:
        return self.files.write_version(model_of(learner), number, None, START, "", {}).manifest


def measure_files(size: str, rank: int | None, folder: Folder) -> dict[str, float]:
    """The second version and the first checkpoint of a learner."""
    learner = made(size, rank)
    folder.version(learner, 1)
    taught(learner)
    with watched() as digest:
        learner.digest()
    _, version = folder.written(lambda: folder.version(learner, 2))
    state = learner.present_state()
    _, checkpoint = folder.written(lambda: folder.files.write_checkpoint(model_of(learner), state, START))
    return {
        **bytes_of(learner),
        **{f"version {name}": value for name, value in version.items()},
        **{f"checkpoint {name}": value for name, value in checkpoint.items()},
        "digest s": digest.seconds,
    }


def measure_learner(size: str, rank: int | None, folder: Folder) -> dict[str, float]:
    """The memory of a learner that learns, publishes and writes checkpoints: at the end, and the peak."""
    taught(made("tiny", rank))
    base, before = resident_bytes(os.getpid()), peak_bytes()
    learner = made(size, rank)
    for step in range(4):
        taught(learner, step)
        learner.digest()
        folder.version(learner, step + 2)
    folder.files.write_checkpoint(model_of(learner), learner.present_state(), START)
    give_back()
    held = resident_bytes(os.getpid()) - base
    return {**bytes_of(learner), "held MB": held / MB, "peak MB": (peak_bytes() - before) / MB}


def measure_bare(size: str, rank: int | None, folder: Folder) -> dict[str, float]:
    """The same of a network and its optimizer alone, on as many rows as a step of the learner has with those of its memory."""
    described = spec(size, rank)
    taught(made("tiny", rank))
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # It loads torch's compiler.
    base, before = resident_bytes(os.getpid()), peak_bytes()
    network = torch.nn.Sequential(
        encoder(**described["network"]["arguments"]), torch.nn.Linear(SIZES[size]["width"], 4)
    )
    trained = [each for each in network.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    for step in range(4):
        rows = labelled(8 if step == 0 else 8 + 32, 100 * step)
        tokens = torch.tensor(np.stack([np.frombuffer(item.inputs["inputs"], np.int64) for item in rows]))
        loss = torch.nn.functional.cross_entropy(network(tokens), torch.tensor([item.label for item in rows]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.save(network.state_dict(), folder.files.artifacts.root.with_suffix(".pt"))
    del loss
    optimizer.zero_grad()
    give_back()
    held = resident_bytes(os.getpid()) - base
    sizes = sum(each.nbytes for each in trained), sum(each.nbytes for each in network.parameters())
    parts = {"trained MB": sizes[0] / MB, "frozen MB": (sizes[1] - sizes[0]) / MB}
    return {**parts, "held MB": held / MB, "peak MB": (peak_bytes() - before) / MB}


def measure_swap(size: str, rank: int | None, folder: Folder, swaps: int = 5) -> dict[str, float]:
    """Loading a version, and swapping in others of which a hundredth has changed, as a server does."""
    learner = made(size, rank)
    digests = [folder.version(learner, 1)]
    names = [name for name, value in learner.module.named_parameters() if value.nbytes >= 2**20]
    for number in range(swaps + 2):
        _change(learner, names)
        digests.append(folder.version(learner, number + 2))
    bare = bytes_of(learner)
    del learner
    return {**bare, **asyncio.run(_swapped(folder, digests))}


def _change(learner: Learner, names: list[str]) -> None:
    """Changes a hundredth of the numbers: the first large tensors that have as many."""
    parameters = dict(learner.module.named_parameters())
    left = sum(each.numel() for each in parameters.values()) / 100
    with torch.no_grad():
        for name in names:
            if 0 < (size := parameters[name].numel()) <= left:
                sealed.own_tensor(parameters[name])
                parameters[name].add_(1e-3)
                left -= size
    learner.promotion.set_champion(learner.module, learner.learned)


async def _swapped(folder: Folder, digests: list[str]) -> dict[str, float]:
    base = peak_bytes()
    loader = VersionLoader(folder.files.artifacts, Settings(factories=[FACTORY]))
    with watched() as first:
        before = await loader.load(UID, digests[0])
    spare, swaps = None, []
    for digest in digests[1:]:
        with watched() as measured:
            after = await loader.load(UID, digest, before, spare)
        spare, before = before, after
        swaps.append(measured)
    loader.close()
    with watched() as idle:
        await asyncio.sleep(IDLE_SECONDS)
    # The first swap has no spare module.
    settled = swaps[1:]
    return {
        "idle silence ms": 1e3 * idle.silence,
        "load s": first.seconds,
        "load silence ms": 1e3 * first.silence,
        "swap ms": 1e3 * float(np.median([each.seconds for each in settled])),
        "swap CPU ms": 1e3 * float(np.median([each.cpu for each in settled])),
        "swap silence ms": 1e3 * max(each.silence for each in swaps),
        "peak MB": (peak_bytes() - base) / MB,
    }


def measure_serving(size: str, rank: int | None, swaps: int = 5) -> dict[str, float]:
    """A server that loads a model, and swaps in versions of it as they come."""
    os.environ["DRIFTLINE_FACTORIES"] = FACTORY
    os.environ["DRIFTLINE_MAX_PARAMETERS"] = os.environ["DRIFTLINE_MAX_BYTES"] = "-1"
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    with tempfile.TemporaryDirectory() as name, swap.serving(Path(name)) as (port, process, url):
        return asyncio.run(_served(size, rank, swaps, port, process, url, Path(name)))


async def _served(
    size: str, rank: int | None, swaps: int, port: int, process: int, url: str, folder: Path
) -> dict[str, float]:
    described = spec(size, rank)
    body = {"inputs": [[1] * TOKENS]}
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}", timeout=300) as client:
        with asking_livez(port) as idle:
            await asyncio.sleep(IDLE_SECONDS)
        with asking_livez(port) as creating:
            (await client.post("/v1/models", json=described)).raise_for_status()
        with asking_livez(port) as loading:
            (await client.post("/v1/models/texts/predict", json=body)).raise_for_status()
        connection = RedisConnection(url, "driftline:")
        published = Versions(connection, Artifacts(folder / "artifacts"))
        await published.take("texts")
        learner = await asyncio.to_thread(made, size, rank)
        with asking_livez(port) as swapping:
            for step in range(swaps):
                await asyncio.to_thread(taught, learner, step)
                await published.publish(learner)
                while (await client.post("/v1/models/texts/predict", json=body)).json()["version"] < published.number:
                    await asyncio.sleep(0.02)
        await connection.close()
    return {
        "idle ms": 1e3 * idle[0],
        "creating ms": 1e3 * creating[0],
        "loading ms": 1e3 * loading[0],
        "swapping ms": 1e3 * swapping[0],
        "peak MB": _peak_of(process) / MB,
    }


def _peak_of(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def as_files() -> None:
    """Lets no tensor be large enough for a blob of its own."""
    sealed.MIN_CONSTANT_BYTES = version_files.MIN_BLOB_BYTES = sys.maxsize


SECTIONS: dict[str, Callable[..., dict[str, float]]] = {
    "files": measure_files,
    "learner": measure_learner,
    "bare": measure_bare,
    "swap": measure_swap,
}
PARTS = ("files", "learner", "swap", "serving", "tables", "tenants", "compiled")


def measured(section: str, size: str, rank: int | None, way: str, swaps: int) -> dict[str, float]:
    """What a process of its own measures."""
    options = ["--measure", section, "--sizes", size, "--way", way, "--swaps", str(swaps)]
    options += ["--rank", str(rank)] if rank is not None else ["--full"]
    command = [sys.executable, "-m", "benchmarks.networks", *options]
    print(" ".join(options), file=sys.stderr, flush=True)
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(process.stderr.strip().splitlines()[-1])
    found: dict[str, float] = json.loads(process.stdout.strip().splitlines()[-1])
    return found


def measure_here(section: str, size: str, rank: int | None, way: str, swaps: int) -> dict[str, float]:
    torch.set_num_threads(1)
    if way == "as files":
        as_files()
    if section == "serving":
        return measure_serving(size, rank, swaps)
    if section == "tenants":
        with tempfile.TemporaryDirectory() as name:
            return on_one_base.measure(size, rank or 8, TENANTS, Path(name), is_learning=way == "learning")
    if section == "compiled":
        return compiled.measure(size)
    if section == "tables":
        with tempfile.TemporaryDirectory() as name:
            folder = Folder(Path(name))
            return row_tables.measure(way, folder.files, folder.bytes)
    with tempfile.TemporaryDirectory() as name:
        more = {"swaps": swaps} if section == "swap" else {}
        return SECTIONS[section](size, rank, Folder(Path(name)), **more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["22M", "109M"])
    parser.add_argument("--rank", type=int, default=8, help="of the adapters")
    parser.add_argument("--swaps", type=int, default=5)
    parser.add_argument("--lora-only", action="store_true", help="not those that are fully trained")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--way", default="now", help=argparse.SUPPRESS)
    parser.add_argument("--full", action="store_true", help="without adapters")
    given = parser.parse_args()
    if given.measure is not None:
        rank = None if given.full else given.rank
        print(json.dumps(measure_here(given.measure, given.sizes[0], rank, given.way, given.swaps)))
        return
    for section in given.only:
        rows: list[list[Any]] = []
        header: list[str] = []
        if section == "tables":
            kinds = {way: measured(section, "tiny", None, way, given.swaps) for way in row_tables.KINDS}
            header = [section, *kinds["by rows"]]
            rows = [[way, *(round(each.get(name, math.nan), 3) for name in header[1:])] for way, each in kinds.items()]
        if section == "tenants":
            kinds = {way: measured(section, given.sizes[-1], given.rank, way, given.swaps) for way in TENANTS_ARE}
            header = [section, *kinds["served"]]
            rows = [[way, *(round(value, 1) for value in each.values())] for way, each in kinds.items()]
        if section == "compiled":
            found = measured(section, given.sizes[0], None, WAYS[0], given.swaps)
            header, rows = [section, *found], [[given.sizes[0], *(round(value, 6) for value in found.values())]]
        for size in given.sizes if section in SECTIONS or section == "serving" else ():
            for rank in (given.rank,) if given.lora_only else (given.rank, None):
                ways = [(section, way) for way in (WAYS[:1] if section == "serving" else WAYS)]
                for measure, way in [*ways, *([("bare", "bare loop")] if section == "learner" else [])]:
                    found = measured(measure, size, rank, way, given.swaps)
                    header = [section, *found]
                    name = f"{size} {'full' if rank is None else f'LoRA {rank}'}, {way}"
                    rows.append([name, *(round(value, 1 if abs(value) >= 10 else 3) for value in found.values())])
        print(table(header, rows), end="\n\n")


if __name__ == "__main__":
    main()
