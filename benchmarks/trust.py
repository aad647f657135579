"""What labels of a labeller that lies, or is careless, cost; and how often honest ones are set aside: tables in markdown.

python -m benchmarks.trust [--rows 4000] [--seeds 3] [--only NAME …] [--honest RUNS] [--untrusting] [--step] [--processes 1]

Five labellers share a stream. A cost is the accuracy over all answers that were served, by the true labels, where all are
honest, less the accuracy where one of them is not. ``--untrusting`` plays the same with trust off; ``--honest`` plays so many
streams of honest labellers, of six kinds in turn, beside a quick model; ``--step`` measures what trust costs of a step.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.learn.synthetic import network_classes
from benchmarks.robust import clusters, flags
from driftline.backtest.replay import Service
from driftline.backtest.stream import Stream
from driftline.learning.learner import Learner
from driftline.learning.trust.comparison import MeasuredLabels
from driftline.learning.trust.trust import Records, Trust
from driftline.records import Item
from driftline.rows.rows import Rows
from driftline.spec import SINGLE_INPUT, ModelSpec, parse
from driftline.spec.parts.trust import LabellerTrust

Numbers = NDArray[np.float64]
Classes = NDArray[np.int64]
Random = np.random.Generator
LABELLERS = 5
LIAR = 0
DELAY = 32
TIMED_STEPS = 8
"""To ask for the time of a processor is itself slow on some machines."""


def bands(random: Random, rows: int) -> tuple[Numbers, Classes]:
    """Two classes by the sum of two of three numbers, a tenth of them at random: the concept of SEA."""
    x = 10 * random.random((rows, 3))
    labels = (x[:, 0] + x[:, 1] > 9).astype(np.int64)
    return x, np.where(random.random(rows) < 0.1, 1 - labels, labels)


def network(random: Random, rows: int) -> tuple[Numbers, Classes]:
    x = random.normal(size=(rows, 8))
    return x, network_classes(random, 8, 5, x.astype(np.float32))


def drifting(random: Random, rows: int) -> tuple[Numbers, Classes]:
    """Another network says the classes from the middle on."""
    x = random.normal(size=(rows, 6)).astype(np.float32)
    halves = x[: rows // 2], x[rows // 2 :]
    return x.astype(np.float64), np.concatenate([network_classes(random, 6, 2, half) for half in halves])


def rare(random: Random, rows: int) -> tuple[Numbers, Classes]:
    """A class that a tenth of rows have."""
    x = random.normal(size=(rows, 5))
    scores = x[:, 0] * x[:, 1] + x[:, 2] + 0.3 * random.normal(size=rows)
    return x, (scores > np.quantile(scores, 0.9)).astype(np.int64)


def _as_classes(
    make: Callable[[Random, int], tuple[Numbers, Numbers]],
) -> Callable[[Random, int], tuple[Numbers, Classes]]:
    def made(random: Random, rows: int) -> tuple[Numbers, Classes]:
        x, labels = make(random, rows)
        return x, labels.astype(np.int64)

    return made


STREAMS: dict[str, Callable[[Random, int], tuple[Numbers, Classes]]] = {
    "clusters": _as_classes(clusters),
    "flags": _as_classes(flags),
    "bands": bands,
    "network": network,
    "drifting": drifting,
    "rare": rare,
}


@dataclass
class Labelled:
    """A stream as labellers see it: rows, the true labels, and of each label what is sent, how much it counts, and by whom."""

    inputs: Numbers
    true: Classes
    labels: Classes
    weights: Numbers
    owners: NDArray[np.int64]

    @classmethod
    def honest(cls, name: str, rows: int, seed: int) -> Labelled:
        random = np.random.default_rng(seed)
        inputs, true = STREAMS[name](random, rows)
        return cls(inputs, true, true.copy(), np.ones(rows), random.integers(LABELLERS, size=rows))

    @property
    def is_liar(self) -> NDArray[np.bool_]:
        return np.asarray(self.owners == LIAR)

    def others_class(self, random: Random) -> Classes:
        """Of each row a class that it is not of."""
        classes = int(self.true.max()) + 1
        return (self.true + random.integers(1, classes, size=len(self.true))) % classes


Spoil = Callable[[Labelled, Random], None]


def flip(found: Labelled, random: Random) -> None:
    found.labels = np.where(found.is_liar, found.others_class(random), found.true)


def flip_by_weight(found: Labelled, random: Random) -> None:
    flip(found, random)
    found.weights[found.is_liar] = 1000


def one_weight(found: Labelled, random: Random) -> None:
    row = int(random.choice(np.flatnonzero(found.is_liar[100:]))) + 100
    found.labels[row] = found.others_class(random)[row]
    found.weights[row] = 1e6


def majority(found: Labelled, random: Random) -> None:
    found.labels = np.where(found.is_liar, np.bincount(found.true).argmax(), found.true)


def some_flips(found: Labelled, random: Random) -> None:
    is_wrong = found.is_liar & (random.random(len(found.true)) < 0.1)
    found.labels = np.where(is_wrong, found.others_class(random), found.true)


def nothing(found: Labelled, random: Random) -> None:
    """Its labels do not count: what it costs that they are not there."""
    found.weights[found.is_liar] = 0


LIES: dict[str, Spoil] = {
    "sends nothing": nothing,
    "flips all labels": flip,
    "flips all labels, of weight 1000": flip_by_weight,
    "one wrong label of weight 1e6": one_weight,
    "always says the majority": majority,
    "flips a tenth of its labels": some_flips,
}


def regions(found: Labelled, random: Random) -> None:
    """Each labeller sees a part of the rows: those between two values of one number."""
    feature = found.inputs[:, int(random.integers(found.inputs.shape[1]))]
    found.owners = np.minimum(LABELLERS * feature.argsort().argsort() // len(feature), LABELLERS - 1)


def drift_first(found: Labelled, random: Random) -> None:
    """The classes change places in the middle; one labeller sees that a sixth of the rows before the others."""
    rows, classes = np.arange(len(found.true)), int(found.true.max()) + 1
    begins = np.where(found.is_liar, len(rows) // 3, len(rows) // 2)
    found.labels = np.where(rows >= begins, (found.true + 1) % classes, found.true)


def drift_of_all(found: Labelled, random: Random) -> None:
    classes = int(found.true.max()) + 1
    found.labels = np.where(np.arange(len(found.true)) >= len(found.true) // 2, (found.true + 1) % classes, found.true)


def bursts(found: Labelled, random: Random) -> None:
    """Labellers send in blocks of 1 to 100 rows."""
    sizes = random.integers(1, 101, size=len(found.true))
    blocks = np.repeat(random.integers(LABELLERS, size=len(sizes)), sizes)
    found.owners = blocks[: len(found.true)]


def unequal(found: Labelled, random: Random) -> None:
    """One labeller sends most of the labels."""
    found.owners = random.choice(LABELLERS, size=len(found.true), p=[0.8, 0.1, 0.05, 0.03, 0.02])


HONEST: dict[str, Spoil] = {
    "alike": lambda found, random: None,
    "of other regions": regions,
    "one sees a drift first": drift_first,
    "all see a drift": drift_of_all,
    "in bursts": bursts,
    "of other sizes": unequal,
}


@dataclass(frozen=True)
class Outcome:
    """The accuracy of what was served by the true labels; who was quarantined, and who was on hold for a time."""

    accuracy: float
    quarantined: list[str] = field(default_factory=list)
    on_hold: list[str] = field(default_factory=list)


def play(name: str, rows: int, seed: int, spoil: Spoil, mode: str = "quarantine") -> Outcome:
    found = Labelled.honest(name, rows, seed)
    spoil(found, np.random.default_rng(seed + 1000))
    service = Service(_learner(found, seed, mode), _stream(found, mode), DELAY)
    held: set[str] = set()
    while (count := service.next_step()) is not None:
        service.step(count)
        held |= {each.name for each in service.learner.trust.labellers if each.state == "on hold"}
    service.serve(rows)
    labellers = service.learner.trust.labellers
    accuracy = float(np.mean(np.array(service.played.answers) == found.true))
    return Outcome(accuracy, [each.name for each in labellers if each.state == "quarantined"], sorted(held))


def _stream(found: Labelled, mode: str) -> Stream:
    rows = Rows({SINGLE_INPUT: found.inputs.astype(np.float32)})
    callers = [f"k{owner}" for owner in found.owners]
    return Stream(_spec(found, mode), rows, found.labels.tolist(), weights=found.weights.tolist(), callers=callers)


def _spec(found: Labelled, mode: str) -> ModelSpec:
    spec = {"name": "m", "task": "classification", "inputs": {"shape": [found.inputs.shape[1]]}, "classes": "open"}
    return parse(ModelSpec, spec | ({} if mode == "quarantine" else {"recipe": {"trust": {"mode": mode}}}))


def _learner(found: Labelled, seed: int, mode: str) -> Learner:
    return Learner.create(_spec(found, mode), seed=seed)


def _played(task: tuple[str, int, int, str, str]) -> Outcome:
    torch.set_num_threads(1)
    name, rows, seed, case, mode = task
    return play(name, rows, seed, (HONEST | LIES)[case], mode)


def watched(task: tuple[str, int, int, str]) -> Outcome:
    """What trust makes of a stream beside a quick model: the seven nearest of the newest 1,000 rows that were learned."""
    name, rows, seed, case = task
    found = Labelled.honest(name, rows, seed)
    HONEST[case](found, np.random.default_rng(seed + 1000))
    inputs = ((found.inputs - found.inputs.mean(0)) / found.inputs.std(0)).astype(np.float64)
    trust, learned, held, right = Trust(LabellerTrust()), list[int](), set[str](), 0
    for first in range(0, rows, DELAY):
        part = range(first, min(first + DELAY, rows))
        served = np.full(len(part), np.nan)
        if learned:
            known = np.array(learned[-1000:])
            far = ((inputs[part][:, None] - inputs[known][None]) ** 2).sum(2)
            nearest = found.labels[known][np.argsort(far, 1, kind="stable")[:, :7]]
            served = np.array([float(np.bincount(row).argmax()) for row in nearest])
            right += int((served == found.true[part]).sum())

        def measure(come: Records, served: Numbers = served, first: int = first) -> MeasuredLabels:
            places = np.array([n - 1 for n, _ in come])
            targets, answers = found.labels[places].astype(np.float64), served[places - first]
            errors = (answers != targets).astype(np.float64)
            return MeasuredLabels(places + 1, inputs[places], targets[:, None], errors, answers)

        items = [(row + 1, Item(f"{row}", {}, 0, caller=f"k{found.owners[row]}")) for row in part]
        learned += [n - 1 for n, _ in trust.sift(items, [], measure).come]
        held |= {each.name for each in trust.labellers if each.state == "on hold"}
    quarantined = [each.name for each in trust.labellers if each.state == "quarantined"]
    return Outcome(right / rows, quarantined, sorted(held))


def lies(options: argparse.Namespace, run: Callable[[Any, Iterable[Any]], Iterable[Any]]) -> None:
    mode = "off" if options.untrusting else "quarantine"
    names = [name for name in STREAMS if not options.only or name in options.only]
    cases = ["alike", *LIES]
    tasks = [
        (name, options.rows, seed, case, mode) for name in names for case in cases for seed in range(options.seeds)
    ]
    outcomes = {}
    for task, outcome in zip(tasks, run(_played, tasks), strict=True):
        outcomes[task] = outcome
        print(task, outcome, file=sys.stderr, flush=True)

    def of(name: str, case: str) -> list[Outcome]:
        return [outcomes[name, options.rows, seed, case, mode] for seed in range(options.seeds)]

    print(
        f"| one of five labellers | {' | '.join(names)} | quarantined |\n|---|{'---|' * (len(names) + 1)}", flush=True
    )
    whole = {name: statistics.fmean(each.accuracy for each in of(name, "alike")) for name in names}
    print(
        f"| is honest: accuracy | {' | '.join(f'{100 * whole[name]:.1f}' for name in names)} | {_aside(of, names, 'alike')} |"
    )
    for case in LIES:
        costs = [100 * (whole[name] - statistics.fmean(each.accuracy for each in of(name, case))) for name in names]
        print(f"| {case} | {' | '.join(f'{cost:.2f}' for cost in costs)} | {_aside(of, names, case)} |", flush=True)


def _aside(of: Callable[[str, str], list[Outcome]], names: list[str], case: str) -> str:
    outcomes = [each for name in names for each in of(name, case)]
    liar = sum(f"k{LIAR}" in each.quarantined for each in outcomes)
    others = sum(len([name for name in each.quarantined if name != f"k{LIAR}"]) for each in outcomes)
    return f"{liar} of {len(outcomes)}" + (f", and {others} honest" if others else "")


def honest(options: argparse.Namespace, run: Callable[[Any, Iterable[Any]], Iterable[Any]]) -> None:
    names, cases = list(STREAMS), list(HONEST)
    tasks = [
        (names[seed % len(names)], options.rows, 100 + seed, cases[seed // len(names) % len(cases)])
        for seed in range(options.honest)
    ]
    outcomes = list(run(watched, tasks))
    print("| honest labellers | runs | with a quarantine | with one on hold for a time |\n|---|---|---|---|")
    for case in cases:
        own = [outcome for task, outcome in zip(tasks, outcomes, strict=True) if task[3] == case]
        quarantined, held = sum(bool(each.quarantined) for each in own), sum(bool(each.on_hold) for each in own)
        print(f"| {case} | {len(own)} | {quarantined} | {held} |", flush=True)


def steps(options: argparse.Namespace) -> None:
    """The seconds of a processor that steps take, so many at once, with one labeller and with five, in turn."""
    print("| stream | ms a step, one labeller | five | more |\n|---|---|---|---|")
    for name in options.only or STREAMS:
        taken: dict[bool, list[float]] = {True: [], False: []}
        services = {}
        for are_five in taken:
            found = Labelled.honest(name, options.rows, 0)
            found.owners = found.owners if are_five else np.zeros(len(found.true), np.int64)
            services[are_five] = Service(_learner(found, 0, "quarantine"), _stream(found, "quarantine"), DELAY)
        while services[True].next_step() is not None:
            for are_five, service in services.items():
                begin, steps = time.process_time(), 0
                while steps < TIMED_STEPS and (count := service.next_step()) is not None:
                    service.step(count)
                    steps += 1
                taken[are_five] += [(time.process_time() - begin) / steps] if steps else []
        one, five = (
            statistics.median(taken[are_five][len(taken[are_five]) // 2 :]) * 1000 for are_five in (False, True)
        )
        print(f"| {name} | {one:.2f} | {five:.2f} | {100 * (five / one - 1):.1f} % |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", metavar="NAME", help=", ".join(STREAMS))
    parser.add_argument("--honest", type=int, metavar="RUNS", help="so many runs of honest labellers")
    parser.add_argument("--untrusting", action="store_true", help="nobody is compared")
    parser.add_argument("--step", action="store_true", help="what it costs of a step")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.step:
        steps(options)
        return
    with ProcessPoolExecutor(options.processes) as pool:
        run = pool.map if options.processes > 1 else map
        (honest if options.honest else lies)(options, run)


if __name__ == "__main__":
    main()
