"""Every view in light and dark, wide and narrow: nothing that axe calls serious, and nothing that stands over the edge."""

from __future__ import annotations

from typing import Any

import pytest

from tests.page.conftest import Stream, Visitor
from tests.waiting import until

pytestmark = pytest.mark.slow

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOOKS = [{"color_scheme": scheme, "viewport": size} for scheme, size in (("light", DESK), ("dark", PHONE))]
TABS = ("", "/quality", "/inputs", "/versions", "/retrain", "/try", "/labels", "/sources", "/events")
VIEWS = ("models", "events", "workers", "keys", *(f"models/weather{tab}" for tab in TABS))


@pytest.mark.parametrize("visitor", LOOKS, indirect=True, ids=["light desk", "dark phone"])
def test_every_view_is_for_everyone(visitor: Visitor, stream: Stream) -> None:
    from axe_playwright_python.sync_playwright import Axe

    until(lambda: stream.instance.client.model("weather")["version"] >= 3)
    found: dict[str, Any] = {}
    for view in VIEWS:
        page = visitor.open(view)
        page.locator("h1").wait_for()
        page.locator(".card, table").first.wait_for()
        page.evaluate("document.querySelectorAll('main details').forEach(part => part.open = true)")
        violations = Axe().run(page).response["violations"]
        serious = [violation for violation in violations if violation["impact"] in ("serious", "critical")]
        if serious:
            found[view] = [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in serious]
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, f"{view} is {width} pixels too wide"
    assert not found
