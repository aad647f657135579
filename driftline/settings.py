"""Every setting and every default, read from ``DRIFTLINE_*`` environment variables."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

DEVICE_PATTERN = r"^(cpu|cuda(:\d{1,3})?|mps)$"


class Settings(BaseSettings):
    """How one process of Driftline runs. ``DRIFTLINE_DATA_DIR=/srv/driftline`` sets ``data_dir``.

    Sizes are in bytes, times in seconds.
    """

    model_config = SettingsConfigDict(env_prefix="DRIFTLINE_", extra="ignore", frozen=True)

    redis_url: str | None = Field(
        None,
        repr=False,
        description="Redis or Valkey, 7.0 or newer: `redis://`, `rediss://`, `unix://`, `redis+cluster://` with any node "
        "of a cluster, or `redis+sentinel://HOST,HOST/SERVICE`; none: `driftline up` starts its own",
    )
    prefix: str = Field("driftline:", description="stands before every key in Redis")
    redis_connections: int = Field(
        128, ge=4, description="most connections of a process to Redis; a call that finds none free waits for one"
    )
    data_dir: Path = Field(Path("driftline-data"), description="artifacts, and the embedded server's files")
    artifacts: str | None = Field(
        None,
        description="where versions and checkpoints are: `file:/FOLDER`, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or "
        "`az://ACCOUNT/CONTAINER/PREFIX`; default: in the data directory",
    )
    artifact_cache_bytes: int = Field(
        10 * 2**30, ge=0, description="of an object store, what copies in the data directory may take"
    )
    encryption_key_file: Path | None = Field(
        None,
        description="keys that encrypt artifacts and backups: a file of lines `ID BASE64`, of which the first key encrypts and "
        "all decrypt; needs `driftline[encryption]`",
    )
    encryption_key_command: str | None = Field(
        None, repr=False, description="a command that writes these lines instead, as that of a key management service"
    )
    keys_file: Path | None = Field(None, description="API keys; default: keys.json in the data directory")
    device: str = Field(
        "cpu",
        pattern=DEVICE_PATTERN,
        description="where networks compute whose spec names no `device`: cpu, cuda, cuda:1 or mps",
    )
    threads: int = Field(1, ge=1, description="torch threads a process")
    factories: Annotated[list[str], NoDecode] = Field(
        [], description="`module:function` network factories and losses that specs may name"
    )
    sources: str = Field(
        "[]", repr=False, description="streams that the worker reads labels from: JSON, or @FILE that holds it"
    )
    source_folders: Annotated[list[str], NoDecode] = Field(
        [], description="folders, with commas between them, whose files sources may read that are made through the API"
    )
    webhooks: str = Field(
        "[]",
        repr=False,
        description="where events are sent: a JSON list of `url`, `secret`, `kinds`, `models`, or @FILE that holds it",
    )
    sinks: str = Field(
        "[]",
        repr=False,
        description="where events, predictions and dead letters are written: a JSON list of sinks, each with `carries`, "
        "`kinds`, `models`, or @FILE that holds it",
    )
    webhook_private: bool = Field(
        False, description="whether events are also sent to addresses that are not of the public Internet"
    )
    log_level: str = Field("info", description="debug, info, warning or error")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="how log lines are written: console, json, or auto, which is console at a terminal"
    )

    traces: bool = Field(
        False, description="OpenTelemetry traces, sent as the `OTEL_*` variables say; needs `driftline[otel]`"
    )

    host: str = Field("127.0.0.1", description="address that the server binds")
    port: int = Field(8000, ge=0, le=65535, description="0: a free one")
    tls_cert: Path | None = Field(
        None, description="the server's certificate, with those between it and its authority; it then speaks TLS alone"
    )
    tls_key: Path | None = Field(
        None, description="the private key of the certificate; none: it stands in the same file"
    )
    tls_client_ca: Path | None = Field(
        None, description="authorities of callers' certificates; then a caller needs one, beside its key"
    )
    oidc_issuer: str | None = Field(
        None,
        description="address of an identity provider (OpenID Connect) whose tokens are taken as API keys are; needs "
        "`driftline[oidc]`",
    )
    oidc_audience: str = Field("", description="whom such a token must be for")
    oidc_scope_claim: str = Field("scope", description="its claim with scopes such as `driftline:predict`")
    oidc_models_claim: str = Field(
        "driftline_models", description="its claim with names or patterns of models; a token without it is for all"
    )
    oidc_owner_claim: str = Field(
        "driftline_owner",
        description="its claim that says whose its predictions and labels are; where it is missing, its subject's",
    )
    path_prefix: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="where a proxy shows the server, as `/driftline`; it may take this off the path or leave it",
    )
    replicas: int = Field(1, ge=1, le=256, description="serving processes that share the port")
    key_requests: float = Field(
        0.0,
        ge=0,
        description="requests a second that the instance takes of one API key; above it 429; 0: any number",
    )
    key_bytes: float = Field(0.0, ge=0, description="bytes of request bodies a second, likewise")
    key_items: float = Field(0.0, ge=0, description="labels a second, likewise")
    key_rows: float = Field(0.0, ge=0, description="rows that are predicted a second, likewise")
    key_jobs: float = Field(0.0, ge=0, description="retrains, comparisons and calls to forget a minute, likewise")
    key_streams: int = Field(
        0,
        ge=0,
        description="streams of labels and events that the instance keeps open of one API key; one more answers 429; "
        "0: any number",
    )
    max_url_bytes: int = Field(8 * 2**10, ge=256, description="a longer URL is refused with 414")
    max_header_bytes: int = Field(16 * 2**10, ge=1024, description="longer headers of a request are refused with 431")
    max_body_bytes: int = Field(
        32 * 2**20, ge=1024, description="a larger body, of rows or labels, is refused with 413"
    )
    max_held_bytes: int = Field(
        256 * 2**20,
        ge=2**20,
        description="bytes of request bodies that a serving process holds at once, of one API key half of it; above it calls "
        "answer 429; two of the largest bodies have room in any case",
    )
    max_weights_bytes: int = Field(
        4 * 2**30,
        ge=1024,
        description="weights that a model is made with may be larger: they are written to a file on the way",
    )
    max_models: int = Field(10_000, ge=-1, description="models that there may be; -1, here and below: any")
    max_layers: int = Field(1000, ge=-1, description="layers that a model may have")
    max_edits: int = Field(1000, ge=-1, description="edits that were made of a network of a user's own")
    max_classes: int = Field(5000, ge=-1, description="classes that a model may have, also those that labels bring")
    max_answer_bytes: int = Field(
        2**20, ge=-1, description="bytes that the answer to one row may take, with the names of the classes"
    )
    max_tensors: int = Field(10_000, ge=-1, description="tensors that a model may have")
    max_parameters: int = Field(2**26, ge=-1, description="weights that a model may have")
    max_bytes: int = Field(
        2**28, ge=-1, description="bytes that a model's weights, and what its layers give for one row, may take"
    )
    max_key_models: int = Field(-1, ge=-1, description="models that there may be of those that one API key has made")
    max_key_model_bytes: int = Field(-1, ge=-1, description="bytes that the weights of these may take together")
    max_all_model_bytes: int = Field(-1, ge=-1, description="bytes that the weights of all models may take together")
    max_batch: int = Field(128, ge=1, description="most rows that the server computes at once")
    max_queue: int = Field(4096, ge=1, description="rows waiting for one model; above it predict answers 429")
    predict_timeout: float = Field(10.0, gt=0, description="a prediction later than this answers 504")
    read_timeout: float = Field(
        30.0, gt=0, description="a request whose headers take longer, or whose body stalls for longer, is dropped"
    )
    body_timeout: float = Field(300.0, gt=0, description="a request body that takes longer than this is dropped")

    record: str = Field(
        "all",
        pattern="^(all|sample|none)$",
        description="which predictions are kept for the join with feedback: all, sample or none",
    )
    record_share: float = Field(0.1, ge=0, le=1, description="the share of batches that `sample` keeps")
    join_horizon: float = Field(24 * 3600.0, gt=0, description="how long a prediction can be joined with its label")
    prediction_bytes: int = Field(
        256 * 2**20,
        ge=2**20,
        description="most memory a replica's predictions, and those that one before it has left, take in Redis",
    )
    receipt_seconds: float = Field(24 * 3600.0, gt=0, description="how long a resent item id is recognised")
    log_cap: int = Field(1_000_000, ge=1000, description="records waiting in one log; above it feedback answers 429")
    log_cap_bytes: int = Field(2**30, ge=2**20, description="bytes waiting in one log; above it feedback answers 429")
    log_cap_seconds: float = Field(
        7 * 24 * 3600.0, gt=0, description="age of the oldest label waiting in one log; above it feedback answers 429"
    )
    log_keep: int = Field(20_000, ge=0, description="learned records kept in the log for retraining")
    model_bytes: int = Field(0, ge=0, description="bytes of a server's models; beyond, idle ones are unloaded; 0: any")

    poll_seconds: float = Field(1.0, gt=0, description="how often a lost hint from Redis is made up for")
    workers: int = Field(1, ge=1, le=256, description="learning processes of `up` or `worker`, which share the models")
    worker_id: str | None = Field(
        None, description="a name that no other worker has: started again under it, one takes its models back at once"
    )
    worker_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="where a worker answers `/livez` and `/readyz`, on the address of `DRIFTLINE_HOST`; of several processes "
        "the first, the others on the ports after it; none: nowhere",
    )
    lease_seconds: float = Field(10.0, ge=1, description="a worker that is silent for longer loses its models")
    idle_seconds: float = Field(
        600.0,
        gt=0,
        description="a learner without work for so long is unloaded; its checkpoint is loaded at the next label",
    )
    hung_seconds: float = Field(
        10.0,
        gt=0,
        description="a worker that is silent, or computes for one call, for longer is an alarm: `worker_hung`",
    )
    job_processes: int = Field(
        1, ge=0, description="jobs and recipes of races that a worker trains at once in processes; 0: none"
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="where these jobs train: on the worker's machine, or on the nodes of a Ray cluster; needs `driftline[ray]`",
    )
    ray_address: str | None = Field(
        None,
        description="the cluster's address: `HOST:6379` or `ray://HOST:10001`; none: that of `RAY_ADDRESS`, or of this machine",
    )
    checkpoint_seconds: float = Field(60.0, gt=0, description="longest time between checkpoints while a model learns")
    keep_versions: int = Field(20, ge=2, description="newest versions kept for rollback, beside the live one")
    version_seconds: float = Field(
        31 * 24 * 3600.0,
        ge=0,
        description="how long one version a day is kept, besides; one an hour for a day, and one a minute for an hour",
    )
    version_bytes: int = Field(
        256 * 2**20,
        ge=0,
        description="bytes that these versions of a model may take beside what the others have; those of days come first",
    )
    checkpoint_bytes: int = Field(
        256 * 2**20,
        ge=0,
        description="bytes that a model's former checkpoints may take, from which it learns again when labels are forgotten",
    )
    keep_events: int = Field(
        10_000, ge=100, description="events kept of a model; beside them as many that tell of versions and refusals"
    )
    event_seconds: float = Field(90 * 24 * 3600.0, gt=0, description="how long an event is kept")
    score_seconds: float = Field(31 * 24 * 3600.0, gt=0, description="how long scores of a minute and an hour are kept")
    orphan_seconds: float = Field(3600.0, ge=0, description="an artifact that nothing refers to goes after this long")
    sweep_seconds: float = Field(600.0, gt=0, description="how often a worker looks for such artifacts")

    @field_validator("factories", "source_folders", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @cached_property
    def keys_path(self) -> Path:
        """Where the API keys are."""
        return self.keys_file or self.data_dir / "keys.json"
