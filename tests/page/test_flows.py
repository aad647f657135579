"""What one does on the page, in a browser, while the model learns."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from driftline.api_keys import KeyStore
from driftline.client.clients import Client
from driftline.errors import Unauthorized
from driftline.processes.embedded import running_url
from driftline.records import Item
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.log import Log
from driftline.store.watermarks import Cap
from tests.page.conftest import Stream, Visitor
from tests.services import Instance, spec
from tests.waiting import SECONDS, until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.slow

MODEL = "models/weather"


@pytest.fixture(autouse=True)
def learning(stream: Stream) -> Iterator[Stream]:
    """The model has versions and scores before a test begins, and goes on learning."""
    client = stream.instance.client
    until(lambda: client.model("weather")["version"] >= 5)
    yield stream


def shown(locator: Locator, pattern: str) -> None:
    """Waits until the text of a part of the page matches."""
    from playwright.sync_api import expect

    expect(locator).to_have_text(re.compile(pattern), timeout=1000 * SECONDS)


def visible(locator: Locator) -> None:
    from playwright.sync_api import expect

    expect(locator.first).to_be_visible(timeout=1000 * SECONDS)


def kinds(instance: Instance, kind: str, model: str = "weather") -> list[dict[str, Any]]:
    """The events of a kind, newest first."""
    answer = httpx.get(
        f"{instance.url}/v1/models/{model}/events", params={"kind": kind, "limit": 1000}, timeout=SECONDS
    )
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


def asked_for(instance: Instance) -> list[str]:
    """The reasons of the rollbacks that somebody asked for; the gate makes others."""
    return [event["reason"] for event in kinds(instance, "rollback") if event["actor"] == "local"]


def row(page: Page, model: str = "weather") -> Locator:
    return page.locator("table.models tbody tr").filter(has_text=model)


def test_the_overview_goes_on_by_itself(visitor: Visitor) -> None:
    page = visitor.open()
    visible(row(page).locator("svg.sparkline path.line"))
    before = int(row(page).locator("td[data-label=Version]").inner_text())
    until(lambda: int(row(page).locator("td[data-label=Version]").inner_text()) > before + 3)
    shown(row(page).locator("td.score"), r"\d+\.\d %")
    assert not visitor.refusals


def test_a_search_leaves_the_models_that_are_meant(visitor: Visitor, live: Instance) -> None:
    live.client.create_model(spec("other"))
    page = visitor.open()
    visible(row(page, "other"))
    page.get_by_label("Find").fill("weath")
    until(lambda: page.locator("table.models tbody tr").count() == 1)
    live.client.delete_model("other")
    page.get_by_label("Find").fill("")
    until(lambda: row(page, "other").count() == 0)


def test_a_model_shows_its_scores_over_time_and_in_a_table(visitor: Visitor) -> None:
    page = visitor.open(MODEL)
    visible(page.locator(".chart canvas"))
    shown(page.locator(".chart-legend.marks"), "version")
    page.get_by_text("As a table").click()
    shown(page.locator(".as-table tbody tr").first, r"\d+(\.\d)? %")
    page.get_by_label("Split").select_option("classes")
    shown(page.locator(".chart .chart-legend").first, "0.*1|1.*0")
    page.get_by_label("Split").select_option("sources")
    shown(page.locator(".chart .chart-legend").first, "web|phone")


def test_quality_by_class_and_source(visitor: Visitor) -> None:
    page = visitor.open(f"{MODEL}/quality")
    visible(page.get_by_role("table", name="Recall and precision by class"))
    shown(page.get_by_role("table", name="Scores by source, last day"), "phone")


def test_a_source_shows_what_it_reads_and_where_it_writes(visitor: Visitor, live: Instance) -> None:
    source = {"type": "redis_stream", "url": "redis://127.0.0.1:1", "name": "visits", "stream": "visits"}
    sink = {"type": "nats", "url": "nats://127.0.0.1:1", "subject": "answers"}
    live.client.make_source("weather", source | {"mode": "infer", "paused": True, "sink": sink})
    page = visitor.open(f"{MODEL}/sources")
    found = page.get_by_role("table", name="Sources").get_by_role("row").filter(has_text="visits")
    shown(found, "rows, predictions to nats answers")
    live.client.remove_source("weather", "visits")
    until(lambda: found.count() == 0)


def test_a_row_is_tried_and_its_label_is_served(visitor: Visitor) -> None:
    page = visitor.open(f"{MODEL}/try")
    for place in range(8):
        page.get_by_label(f"[{place}]", exact=True).fill("0.5")
    page.get_by_role("button", name="Predict").click()
    shown(page.locator(".answer"), "^(0|1)$")
    page.get_by_label("Class").select_option(label="1")
    page.get_by_role("button", name="Send the label").click()
    shown(page.locator(".receipt"), "The live version covers it")


def test_a_text_that_is_no_number_is_told_beside_its_field(visitor: Visitor) -> None:
    page = visitor.open(f"{MODEL}/try")
    page.get_by_label("[3]", exact=True).fill("warm")
    page.get_by_role("button", name="Predict").click()
    shown(page.locator(".field").filter(has_text="[3]").locator(".wrong"), "“warm” is not a number")
    assert page.get_by_label("[3]", exact=True).get_attribute("aria-invalid") == "true"


def test_the_newest_row_fills_the_form(visitor: Visitor) -> None:
    page = visitor.open(f"{MODEL}/try")
    page.get_by_role("button", name="Take the newest row").click()
    until(lambda: page.get_by_label("[0]", exact=True).input_value() != "")
    page.get_by_role("button", name="Predict").click()
    shown(page.locator(".answer"), "^(0|1)$")


def test_a_rollback_with_its_reason(visitor: Visitor, live: Instance, learning: Stream) -> None:
    with learning.held():
        page = visitor.open(f"{MODEL}/versions")
        dialog = roll_back_dialog(page)
        dialog.get_by_label("Reason").fill("a drill")
        dialog.get_by_role("button", name="Roll back").click()
        shown(page.locator(".announcement"), "being rolled back to version")
        until(lambda: asked_for(live) == ["a drill"])
    visitor.open(f"{MODEL}/events")
    page.get_by_label("Kind").select_option("rollback")
    shown(page.locator(".event").first, "a drill")


def roll_back_dialog(page: Page) -> Locator:
    """The dialog of a rollback to the newest version but one: the oldest that is listed may be gone by now."""
    button = page.get_by_role("button", name=re.compile("^Roll back to version"))
    visible(button)
    until(lambda: page.locator(".badges .badge").first.inner_text() == "idle")
    button.first.click()
    return page.get_by_role("dialog")


def test_details_of_a_version(visitor: Visitor, learning: Stream) -> None:
    page = visitor.open(f"{MODEL}/versions")
    with learning.held():
        page.get_by_role("button", name=re.compile("Details of version")).first.click()
    shown(page.get_by_role("dialog"), "Learned up to record")
    page.keyboard.press("Escape")
    until(lambda: page.get_by_role("dialog").count() == 0)


def test_two_versions_side_by_side(visitor: Visitor, learning: Stream) -> None:
    with learning.held():
        page = visitor.open(f"{MODEL}/versions")
        visible(page.get_by_label(re.compile("Compare version")))
        until(lambda: page.locator(".badges .badge").first.inner_text() == "idle")
        # By their names: a version that is new by now moves the others on.
        boxes = page.get_by_label(re.compile("Compare version"))
        for name in [boxes.nth(place).get_attribute("aria-label") for place in (1, 2)]:
            page.get_by_label(str(name), exact=True).check()
        page.get_by_role("button", name=re.compile(r"Compare \d+ and")).click()
        visible(page.get_by_role("table", name="Before and after"))


def test_a_retrain_is_looked_at_begun_and_followed(visitor: Visitor, live: Instance) -> None:
    page = visitor.open(f"{MODEL}/retrain")
    page.get_by_label("Epochs").fill("1")
    page.get_by_label("Reason").fill("another rate")
    page.locator("summary", has_text="Recipe").click()
    page.get_by_label("Learning rate").fill("0.002")
    page.locator("summary", has_text="Race").click()
    page.get_by_role("button", name="Add two candidates").click()
    page.get_by_role("button", name="What would it give?").click()
    shown(page.locator(".notice").filter(has_text="updates"), r"over \d")
    page.get_by_role("button", name="Start the retrain").click()
    shown(page.locator(".announcement"), "queued")
    visible(page.locator(".job .badge").filter(has_text=re.compile("queued|running|succeeded")))
    visible(page.get_by_role("table", name="Race").locator(".badge", has_text="won"))
    shown(page.locator(".job .badge").first, "succeeded")
    assert live.client.model("weather")["state"] in ("idle", "learning")


def test_a_recipe_that_does_not_fit_is_told_and_begins_nothing(visitor: Visitor, live: Instance) -> None:
    before = len(kinds(live, "job"))
    page = visitor.open(f"{MODEL}/retrain")
    page.locator("summary", has_text="Edits of the network").click()
    page.get_by_label("Kind of edit").select_option("widen")
    page.get_by_role("button", name="Add an edit").click()
    page.get_by_label("Layer *").fill("nowhere")
    page.get_by_label("Features *").fill("8")
    page.get_by_role("button", name="Start the retrain").click()
    shown(page.get_by_role("alert"), "nowhere")
    assert len(kinds(live, "job")) == before
    assert visitor.refusals[-1] == 422


def test_learning_is_paused_and_resumed(visitor: Visitor, live: Instance) -> None:
    page = visitor.open(MODEL)
    for act, state in (("Pause", "paused"), ("Resume", "learning|idle")):
        page.get_by_role("button", name=act, exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name=f"{act} learning").click()
        shown(page.locator(".badges .badge").first, state)
    assert kinds(live, "pause") and kinds(live, "resume")


def test_a_label_is_looked_up(visitor: Visitor, live: Instance) -> None:
    answer = live.client.predict("weather", [[0.0] * 8])
    identifier = answer["predictions"][0]["id"]
    live.client.feedback("weather", [{"prediction_id": identifier, "label": 1}])
    page = visitor.open(f"{MODEL}/labels")
    page.get_by_label("Id of the item or of the prediction").fill(str(identifier))
    page.get_by_role("button", name="Look up").click()
    shown(page.locator(".receipt"), "The live version covers it")


def test_a_label_that_does_not_fit_is_shown_with_its_reason(visitor: Visitor, live: Instance) -> None:
    page = visitor.open(f"{MODEL}/labels")
    visible(page.get_by_text("There is none."))
    item = Item("from-elsewhere", {"inputs": bytes(32)}, "snow")

    async def append() -> None:
        """As a server would have that still knows a class which was removed."""
        connection = RedisConnection(str(running_url(live.data_dir)), "driftline:")
        try:
            uid = await Catalog(connection).uid("weather")
            await Log(connection, uid, cap=Cap(1000), receipt_seconds=60).append([item])
        finally:
            await connection.close()

    with ThreadPoolExecutor() as pool:
        pool.submit(asyncio.run, append()).result()
    told = page.get_by_role("region", name="Labels that were not learned").get_by_role("row").nth(1)
    shown(told, "from-elsewhere.*rejected.*snow")
    (label,) = live.client.rejected("weather")
    assert label["id"] == item.id and label["state"] == live.client.receipt("weather", item.id)["state"] == "rejected"


def test_a_model_that_is_deleted_while_it_is_looked_at(visitor: Visitor, live: Instance) -> None:
    live.client.create_model(spec("short-lived"))
    page = visitor.open("models/short-lived")
    shown(page.get_by_role("heading", level=1), "short-lived")
    live.client.delete_model("short-lived")
    shown(page.get_by_role("alert"), "has been deleted.*By local")
    page.get_by_role("link", name="To the models").click()
    visible(row(page))


def test_a_form_that_is_sent_while_the_store_hangs_is_done_once(
    visitor: Visitor, live: Instance, learning: Stream
) -> None:
    before = len(asked_for(live))
    with learning.held():
        page = visitor.open(f"{MODEL}/versions")
        dialog = roll_back_dialog(page)
        send = dialog.get_by_role("button", name="Roll back")
        store = live.pid("valkey")
        os.kill(store, signal.SIGSTOP)
        try:
            send.click()
            shown(dialog.get_by_role("alert"), "it is done once")
        finally:
            os.kill(store, signal.SIGCONT)
        send.click()
        shown(page.locator(".announcement"), "being rolled back to version")
        live.client.wait_served("weather", label(live))
    assert len(asked_for(live)) == before + 1


def label(instance: Instance) -> str:
    """The id of a label that is given now: once it is served, all that was told before is done."""
    answer = instance.client.predict("weather", [[0.0] * 8])
    item = {"prediction_id": answer["predictions"][0]["id"], "label": 1}
    identifier = instance.client.feedback("weather", [item])["items"][0]["id"]
    assert identifier is not None
    return identifier


def test_the_page_comes_back_after_the_server_was_away(visitor: Visitor, live: Instance) -> None:
    page = visitor.open(MODEL)
    shown(page.locator(".link"), "Live")
    live.kill("app")
    shown(page.locator(".link"), "Reconnecting")
    until(lambda: live.is_ready)
    shown(page.locator(".link"), "Live")
    version = live.client.model("weather")["version"]
    until(lambda: int(page.locator(".facts dd").first.inner_text()) > version)


def test_the_keyboard_reaches_everything_and_leads_past_the_menu(visitor: Visitor) -> None:
    page = visitor.open(MODEL)
    visible(page.locator(".tiles"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    until(lambda: page.evaluate("document.activeElement.id") == "content")
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    until(lambda: page.evaluate("document.activeElement.closest('dialog') !== null"))
    page.keyboard.press("Escape")
    until(lambda: page.evaluate("document.activeElement.textContent") == "Pause")


def test_the_workers_are_shown_with_their_models(visitor: Visitor) -> None:
    page = visitor.open("workers")
    shown(page.get_by_role("table", name="Workers").locator("tbody tr").first, "working.*weather")


def test_an_alarm_is_acknowledged(visitor: Visitor, live: Instance, learning: Stream) -> None:
    """The labels turn round: the model errs, and says so."""
    with learning.turned():
        page = visitor.open(MODEL)
        visible(page.get_by_role("button", name="Acknowledge drift"))
        page.get_by_role("button", name="Acknowledge drift").click()
        shown(page.locator(".announcement"), "drift is acknowledged")
    assert kinds(live, "alarm") and kinds(live, "alarm_acknowledged")


def test_the_page_asks_for_the_key_and_shows_nothing_before(visitor: Visitor, open_instance: Instance) -> None:
    """The first key comes into being while the page is open."""
    visitor.url = open_instance.url
    page = visitor.open(MODEL)
    visible(page.locator(".tiles"))
    key = first_key(open_instance)
    visible(page.get_by_label("API key"))
    assert "weather" not in page.locator("body").inner_text()
    page.get_by_label("API key").fill("no.key")
    page.keyboard.press("Enter")
    shown(page.locator(".wrong"), "not known here")
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    visible(page.locator(".tiles"))
    page.reload()
    visible(page.locator(".tiles"))
    page.get_by_role("button", name="Forget key").click()
    visible(page.get_by_label("API key"))
    assert set(visitor.refusals) == {401}


def test_a_key_is_made_shown_once_rotated_and_revoked(visitor: Visitor, open_instance: Instance) -> None:
    visitor.url = open_instance.url
    key = first_key(open_instance)
    page = visitor.open("keys")
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    page.get_by_label("Name").fill("phone app")
    page.get_by_label("Models", exact=True).fill("weather, team-a-*")
    page.get_by_label("metrics: reads what is measured").check()
    page.get_by_role("button", name="Make a key").click()
    visible(page.locator("code.made"))
    made = page.locator("code.made").inner_text()
    with Client(open_instance.url, key=made, retries=0) as client:
        assert [model["name"] for model in client.models()] == ["weather"]
        line = page.get_by_role("row").filter(has_text="phone app")
        shown(line, "predict.*feedback.*metrics.*weather, team-a-")
        line.get_by_role("button", name="Rotate phone app").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Hours").fill("0")
        dialog.get_by_role("button", name="Rotate", exact=True).click()
        visible(dialog.locator("code.made"))
        rotated = dialog.locator("code.made").inner_text()
        dialog.get_by_role("button", name="Close").click()
        until(lambda: is_refused(client))
        assert rotated.partition(".")[0] == made.partition(".")[0]
        line.get_by_role("button", name="Revoke phone app").click()
        page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
        shown(page.get_by_role("region", name="API keys"), r"^(?!.*phone app)")
    with Client(open_instance.url, key=rotated, retries=0) as client:
        assert is_refused(client)
    page.reload()
    assert page.locator("code.made").count() == 0
    assert set(visitor.refusals) <= {401}


def is_refused(client: Client) -> bool:
    try:
        client.models()
    except Unauthorized:
        return True
    return False


def first_key(instance: Instance) -> str:
    """An admin's key; from now on the service needs one."""
    return KeyStore(instance.data_dir / "keys.json").create(["admin"])
