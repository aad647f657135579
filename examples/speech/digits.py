"""Spoken digits by speakers who were not there before: ``python -m examples.speech.digits --data FOLDER``."""

from __future__ import annotations

import argparse
import wave
from pathlib import Path
from typing import Any

import numpy as np

from driftline.client.clients import Client
from driftline.processes.instance import up
from examples.live import Load, answers, parameters, pull_each, show, teach

MODEL = "digits"
FACTORY = "examples.speech.network:spoken"
SAMPLES = 4096
SPEC: dict[str, Any] = {
    "name": MODEL,
    "task": "classification",
    # Of rank 2, so that one scale serves the whole of a sound, and not each of its samples.
    "inputs": {"shape": [1, SAMPLES]},
    "classes": list(range(10)),
    "network": {"factory": FACTORY},
    "recipe": {"strategy": "replay", "optimizer": {"name": "adamw", "learning_rate": 0.002}, "input_detector": None},
}
LEVERS: dict[str, list[dict[str, Any]]] = {
    "the head alone": [{"type": "freeze"}],
    "adapters of rank 2": [{"type": "adapter", "rank": 2}],
    "adapters of rank 8": [{"type": "adapter", "rank": 8}],
    "all of it": [],
}


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sounds ``[rows, 1, samples]``, digits and speakers of files named ``digit_speaker_n.wav``, shuffled."""
    files = sorted(folder.glob("*_*_*.wav"))
    np.random.default_rng(0).shuffle(files)
    names = [file.stem.split("_") for file in files]
    return (
        np.stack([read(file) for file in files]),
        np.array([int(n[0]) for n in names]),
        np.array([n[1] for n in names]),
    )


def read(file: Path) -> np.ndarray:
    """The first ``SAMPLES`` of a sound of 16 bits, ``[1, samples]`` from -1 to 1, with silence after a shorter one."""
    with wave.open(str(file)) as sound:
        samples = np.frombuffer(sound.readframes(SAMPLES), "<i2").astype(np.float32) / 32768
    return np.pad(samples, (0, SAMPLES - len(samples)))[None].round(4)


def run(
    sounds: np.ndarray, digits: np.ndarray, speakers: np.ndarray, learned: int, new: int, tested: int, epochs: int
) -> list[dict[str, Any]]:
    """Learns all speakers but two, then a few words of these; each lever from there. Returns the table."""
    is_new = np.isin(speakers, np.unique(speakers)[-2:])
    old_rows, new_rows = np.flatnonzero(~is_new), np.flatnonzero(is_new)
    tests = {"old": old_rows[learned : learned + tested], "new": new_rows[new : new + tested]}
    with up(DRIFTLINE_FACTORIES=FACTORY) as url, Client(url, timeout=120) as client:
        client.create_model(SPEC)

        def accuracy(whose: str) -> float:
            rows = tests[whose]
            return float((answers(client, MODEL, sounds[rows], len(rows)) == digits[rows]).mean())

        def accuracies() -> dict[str, float]:
            return {whose: accuracy(whose) for whose in tests}

        with Load(url, MODEL) as load:
            teach(client, MODEL, sounds[old_rows[:learned]], digits[old_rows[:learned]])
            print(f"after {learned} words: {accuracy('old'):.3f} of the old speakers, {accuracy('new'):.3f} of the new")
            teach(client, MODEL, sounds[new_rows[:new]], digits[new_rows[:new]])
            levers = {name: {"edits": edits} for name, edits in LEVERS.items()}
            table = [
                {
                    "what is tuned": pulled.name,
                    **{f"{whose}, before": value for whose, value in pulled.before.items()},
                    **{f"{whose}, after": value for whose, value in pulled.after.items()},
                    "promoted": pulled.promoted,
                    "seconds": pulled.seconds,
                    "trained": parameters(client, MODEL, [FACTORY], only_trained=True),
                }
                for pulled in pull_each(client, MODEL, levers, epochs, accuracies)
            ]
        print(load)
        assert load.failed == 0
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder of digit_speaker_n.wav, 8 kHz, 16 bits")
    parser.add_argument("--learned", type=int, default=1500)
    parser.add_argument("--new", type=int, default=100)
    arguments = parser.parse_args()
    table = run(*load(arguments.data), arguments.learned, arguments.new, tested=400, epochs=5)
    show("Spoken digits: accuracy for the old speakers and for two new ones", table)


if __name__ == "__main__":
    main()
