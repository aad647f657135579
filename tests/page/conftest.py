"""A real browser, in front of a real service that learns meanwhile."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from driftline.errors import DriftlineError
from tests.ports import missing
from tests.services import Instance, spec, up
from tests.waiting import SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# Of the package: while a browser is driven, its event loop counts as running, and no other could in this process.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
ROWS = 16


class Stream:
    """Labels that come all the time, of a rule that a model can learn.

    None come while it is ``held``, and the opposite ones while it is ``turned``.
    """

    def __init__(self, instance: Instance, model: str) -> None:
        self.instance, self.model = instance, model
        self.may_go = threading.Event()
        self.may_go.set()
        self.is_turned = False
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.may_go.set()
        self._thread.join()

    @contextmanager
    def held(self) -> Iterator[None]:
        self.may_go.clear()
        try:
            yield
        finally:
            self.may_go.set()

    @contextmanager
    def turned(self) -> Iterator[None]:
        self.is_turned = True
        try:
            yield
        finally:
            self.is_turned = False

    def _run(self) -> None:
        rng = np.random.default_rng(0)
        while not self._is_over.wait(0.1):
            self.may_go.wait()
            try:
                self._give(rng.normal(size=(ROWS, 8)))
            except DriftlineError:
                continue  # The model is deleted, or the app is started again.

    def _give(self, rows: np.ndarray) -> None:
        given = self.instance.client.predict(self.model, rows.tolist())["predictions"]
        labels = ((rows.sum(1) > 0) != self.is_turned).astype(int).tolist()
        items = [
            {"prediction_id": row["id"], "label": label, "source": "phone" if label else "web"}
            for row, label in zip(given, labels, strict=True)
        ]
        self.instance.client.feedback(self.model, items)


class Visitor:
    """A browser's window on the service, and what its console has said."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page: Page = context.new_page()
        self.url = url
        self.complaints: list[str] = []
        self.refusals: list[int] = []
        self.page.on("console", lambda told: self._hear(told.type, told.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda answer: self.refusals.append(answer.status) if answer.status >= 400 else None)

    def _hear(self, kind: str, text: str) -> None:
        # What is refused is told by the browser by itself; `refusals` has it.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def open(self, where: str = "") -> Page:
        self.page.goto(f"{self.url}/#/{where}")
        return self.page


def chromium() -> str | None:
    """The machine's browser."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright")
    path = chromium()
    if path is None:
        missing("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def live(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A service with the model ``weather``; the browser comes first, so that nothing is started where there is none."""
    with up(tmp_path_factory.mktemp("page")) as instance:
        instance.client.create_model(spec())
        yield instance


@pytest.fixture
def open_instance(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Another one, for tests that make keys: from the first one on, every call needs one, for good."""
    with up(tmp_path_factory.mktemp("open")) as instance:
        instance.client.create_model(spec())
        yield instance


@pytest.fixture(scope="package")
def stream(live: Instance) -> Iterator[Stream]:
    with Stream(live, "weather") as stream:
        yield stream


@pytest.fixture
def visitor(browser: Browser, live: Instance, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A new window, with settings such as ``color_scheme`` from the test's parameters. Its console must stay silent."""
    settings: dict[str, Any] = getattr(request, "param", {})
    context = browser.new_context(**settings)
    context.set_default_timeout(1000 * SECONDS)
    visitor = Visitor(context, live.url)
    yield visitor
    context.close()
    assert not visitor.complaints
