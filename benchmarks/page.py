"""How quick the page is: its first paint, each interaction with 200 models and a month of scores, and an event's way onto it.

python -m benchmarks.page [--models 200] [--repeats 20]

A ``driftline up`` with so many models, of which one learns, and a browser of this machine before it (the extra ``browser``). An
interaction is timed by the browser itself, from the input until the frame after it. A service that has just begun has no month
behind it: the scores of the model's month are answered by this script, 360 buckets with ten classes each.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Browser, Page, Route, sync_playwright

from driftline.client.clients import Client
from tests.page.conftest import FLAGS, chromium
from tests.services import spec, up

MODEL = "model-0"
STEP, MONTH = 7200, 30 * 86400
TIMED = """
act => new Promise(resolve => {
  const begin = performance.now();
  act();
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begin)));
})
"""
TYPE = """
text => {
  const field = document.querySelector("input[type=search]");
  field.value = text;
  field.dispatchEvent(new Event("input", {bubbles: true}));
}
"""
CHOOSE = """
([label, value]) => {
  const named = found => (found.querySelector(".unseen") ?? found).textContent.trim() === label;
  const field = [...document.querySelectorAll("label")].find(named);
  const select = field.querySelector("select") ?? document.getElementById(field.htmlFor);
  select.value = value;
  select.dispatchEvent(new Event("change", {bubbles: true}));
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    with service(options.models) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        show("first paint, nothing kept by the browser", first_paints(browser, url, options.repeats))
        page = browser.new_page()
        page.route("**/scores?*", month)
        page.goto(url)
        page.locator("tbody tr").nth(options.models - 1).wait_for(state="attached")
        texts = ["model-1", "model-19", "", "learn", "m"]
        show(
            f"search among {options.models} models",
            timed(page, TYPE, [texts[n % 5] for n in range(options.repeats)]),
        )
        orders = ["name", "score", "waiting", "alarms"]
        show("another order", timed(page, CHOOSE, [["Order", orders[n % 4]] for n in range(options.repeats)]))
        page.goto(f"{url}/#/models/{MODEL}")
        page.locator(".chart canvas").wait_for()
        spans = ["30d", "7d"]
        show("a month of scores", timed(page, CHOOSE, [["Span", spans[n % 2]] for n in range(options.repeats)]))
        splits = ["classes", "all"]
        show(
            "a month of scores, by class",
            timed(page, CHOOSE, [["Split", splits[n % 2]] for n in range(options.repeats)]),
        )
        show("an event until it is shown", events(page, url, options.repeats))
        browser.close()


@contextlib.contextmanager
def service(models: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, up(Path(folder)) as instance:
        for number in range(models):
            instance.client.create_model(spec(f"model-{number}", network={"preset": "mlp", "hidden": [4]}))
        yield instance.url


def first_paints(browser: Browser, url: str, repeats: int) -> list[float]:
    """Milliseconds from the call until something is drawn, each in a browser that has nothing of the page."""
    found = []
    for _ in range(repeats):
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.locator("tbody tr").first.wait_for()
        found.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        context.close()
    return found


def timed(page: Page, act: str, arguments: list[Any]) -> list[float]:
    """Milliseconds that each call of ``act`` takes, until the frame after it."""
    found = []
    for argument in arguments:
        found.append(page.evaluate(f"given => ({TIMED})(() => ({act})(given))", argument))
        page.wait_for_timeout(50)
    return found


def events(page: Page, url: str, repeats: int) -> list[float]:
    """Milliseconds from the answer to a pause or resume until the page says so."""
    state = page.locator(".badges .badge").first
    found = []
    with Client(url) as client:
        for number in range(repeats):
            tell: Callable[[str], Any] = client.resume if number % 2 else client.pause
            tell(MODEL)
            begin = time.perf_counter()
            while (state.inner_text() == "paused") is bool(number % 2):
                pass
            found.append(1000 * (time.perf_counter() - begin))
    return found


def month(route: Route) -> None:
    now = time.time() // STEP * STEP
    classes = {str(name): {"support": 100, "recall": 0.9 - name / 40} for name in range(10)}
    buckets = [
        {
            "time": now - MONTH + STEP * n,
            "count": 1000,
            "accuracy": 0.9 + 0.05 * (n % 7) / 7,
            "log_loss": 0.2,
            "classes": classes,
        }
        for n in range(MONTH // STEP)
    ]
    route.fulfill(json={"step": STEP, "buckets": buckets})


def show(what: str, milliseconds: list[float]) -> None:
    ordered = sorted(milliseconds)
    print(f"{what}: median {statistics.median(ordered):.0f} ms, most {ordered[-1]:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
