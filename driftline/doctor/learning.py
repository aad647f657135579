"""Whether a model learns: its owner, its backlog and its alarms."""

from __future__ import annotations

from driftline.doctor.finding import Finding, error, ok, warning
from driftline.doctor.snapshot import StoreSnapshot
from driftline.settings import Settings
from driftline.store.redis_health import NEARLY_FULL
from driftline.store.watermarks import Cap
from driftline.support.formatting import count_text, size_text, time_text

ALARMS = {
    "recovery_diverged": "run the workers on one torch build and CPU type; learning went on from the live version",
    "recovery_failed": "the findings about artifacts, log and steps say what is damaged; recovery went on without it",
    "step_failed": "look at the records and at the network's own code; a record that fails alone was set aside",
    "command_failed": "fix what it says, and send the command again",
    "object_store": "see what the object store says: credentials, endpoint, room; it ends by itself",
    "disk": "make room on the disk of the artifacts, or mount it again; it ends by itself",
    "encryption_key": "give the worker the key that it names; it ends by itself after a restart",
    "log_gap": "the findings about the log say what is missing",
    "store_lost": "restore the store, or restart Driftline to go on with what is there",
    "trainer_failed": "the worker's log has more; it ends by itself when the model is learned again, and a model that was set "
    "aside is tried again after `driftline resume`",
    "network_failed": "fix the network's code and restart the worker, roll back, or change the recipe; labels wait meanwhile",
    "worker_task_failed": "the worker's log has the traceback; the task was restarted",
    "lease_lost": "another worker learns the model; see why the first one was silent: load, memory, the network to the store",
    "store_older": "send again the labels since that copy was made, or restore a newer one",
    "writes_lost": "send again the labels of the moments before; set appendfsync always",
    "wrong_only": "have a random part of all answers labelled, and compare with `driftline_predictions_labelled_total`",
    "predicted_inputs": "ask who sends other rows; have some of them labelled, as the accuracy of others says nothing of these",
    "ray_lost": "mend what it says of the cluster or its nodes; it ends when a job has trained on a node again",
    "source": "mend what it says; the source is tried again, and the alarm ends by itself",
    "source_infer": "mend what it says; the rows wait, and the alarm ends by itself",
    "source_gap": "send again what was lost, if somebody still has it; read faster, or keep the stream for longer",
    "sink_gap": "mend the sink, or keep predictions for longer: DRIFTLINE_JOIN_HORIZON, DRIFTLINE_PREDICTION_BYTES",
    "source_refused": "`driftline sources dead MODEL` shows them; `--send` sends them again once the cause is mended",
}


def check(model: StoreSnapshot, settings: Settings, is_running: bool) -> list[Finding]:
    """Owner, lag and alarms of one model."""
    return [_check_lease(model, is_running), _check_lag(model, settings), *_check_alarms(model)]


def _check_lease(model: StoreSnapshot, is_running: bool) -> Finding:
    if model.is_owned:
        return ok("lease", f"{model.name}: a worker owns it")
    if not is_running:
        return ok("lease", f"{model.name}: Driftline is not running; {_waiting(model)}")
    message = f"{model.name}: no worker owns it; {_waiting(model)}"
    return warning(
        "lease", message, "start one: driftline worker; if one runs, its log says why it does not take the model"
    )


def _waiting(model: StoreSnapshot) -> str:
    commands = f" and {count_text(len(model.pending), 'command')}" if model.pending else ""
    return f"{count_text(model.waiting, 'label')}{commands} waiting"


def _check_lag(model: StoreSnapshot, settings: Settings, late_seconds: float = 60.0) -> Finding:
    """A label is late once it has waited for ``late_seconds``, and twice as long as the trigger waits."""
    waits = (
        f"{model.name}: {_waiting(model)} ({size_text(model.backlog.bytes)}), the oldest for {time_text(model.waited)}"
    )
    fullness = model.backlog.fullness(Cap.of(settings))
    if fullness >= 1:
        advice = "give the worker more time or more machines, or raise the DRIFTLINE_LOG_CAP settings"
        return error("lag", f"{waits}: the log is full, and feedback is answered with 429", advice)
    if not model.waiting:
        return ok("lag", f"{model.name}: no label waits")
    if model.is_paused:
        return ok("lag", f"{waits}: learning is paused, until `driftline resume {model.name}`")
    is_late = model.waited > max(late_seconds, 2 * model.trigger.seconds)
    if is_late or fullness >= NEARLY_FULL:
        return warning("lag", waits, "see that a worker runs and is not short of CPU; more workers share the models")
    return ok("lag", waits)


def _check_alarms(model: StoreSnapshot) -> list[Finding]:
    findings = [*_drifts(model)]
    for alarm in model.alarms:
        ago = time_text(max(0.0, model.now - alarm["time"]))
        advice = ALARMS.get(alarm["kind"], "the worker's log has more")
        findings.append(warning("alarms", f"{model.name}: {alarm['kind']}, {ago} ago: {alarm['message']}", advice))
    return findings or [ok("alarms", f"{model.name}: no alarm")]


def _drifts(model: StoreSnapshot) -> list[Finding]:
    """The newest drift alarm, while the labels after it are still learned at once."""
    drift = next((alarm for alarm in reversed(model.drifts) if alarm["kind"] in ("drift", "inputs")), None)
    if drift is None or model.head.offset - drift["at"] >= model.trigger.alarm:
        return []
    advice = f"nothing, if it recovers: watch its accuracy with `driftline metrics {model.name}`"
    return [warning("alarms", f"{model.name}: {drift['kind']} at record {drift['at']}: {drift['message']}", advice)]
