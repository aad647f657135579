"""Messages about how well a model predicts, how far learning is behind, and what has raised an alarm."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from driftline.api.labellers import LabellerInfo
from driftline.api.message import message

ClassName = Annotated[int | str, Field(description="The class.")]


@message
class OutputScores(TypedDict, total=False):
    """Scores of one output of a regression."""

    mae: Annotated[float, Field(description="The mean absolute error.")]
    rmse: Annotated[float, Field(description="The root of the mean squared error.")]
    bias: Annotated[float, Field(description="The mean of answer less label.")]
    r2: Annotated[float, Field(description="The share of the labels' variance that the answers explain.")]
    coverage: Annotated[
        float, Field(description="The share of labels between the first and the last end of the interval.")
    ]
    width: Annotated[float, Field(description="How far these ends are apart, on average.")]
    pinball_loss: Annotated[float, Field(description="The quantile loss of the ends, on average.")]


@message
class PredictionScores(OutputScores, total=False):
    """Scores of served answers: those of a classification or of a regression; none before the first label."""

    accuracy: Annotated[float, Field(description="The share of right answers.")]
    balanced_accuracy: Annotated[float, Field(description="The mean recall of the classes.")]
    kappa: Annotated[float, Field(description="Cohen's kappa: agreement beyond chance.")]
    log_loss: Annotated[
        float,
        Field(
            description="The mean negative logarithm of the probability that the label's class was given, where it was known; "
            "of a multi-label model the mean binary cross-entropy of the classes."
        ),
    ]
    brier: Annotated[
        float, Field(description="The mean squared distance of the probabilities from the label, from 0 to 2.")
    ]
    calibration_error: Annotated[
        float, Field(description="The expected calibration error, over ten bins of confidence.")
    ]
    auc: Annotated[
        float,
        Field(
            description="The area under the ROC curve of the second of two classes; of up to 20 the mean over each against "
            "the rest."
        ),
    ]
    average_precision: Annotated[
        float, Field(description="The area under the curve of precision and recall, of the same classes.")
    ]
    hamming_loss: Annotated[
        float, Field(description="Of a multi-label model: the share of the classes that an answer was wrong about.")
    ]
    subset_accuracy: Annotated[float, Field(description="The share of answers that were right about every class.")]
    micro_f1: Annotated[float, Field(description="The F1 of all classes of a multi-label model together.")]
    macro_f1: Annotated[float, Field(description="The mean F1 of the classes that are in a label or in an answer.")]
    normalized_mae: Annotated[
        float,
        Field(
            description="Of several outputs: the mean of their absolute errors, each in units of its labels' deviation."
        ),
    ]
    outputs: Annotated[dict[str, OutputScores], Field(description="Of several outputs: the scores of each, by name.")]
    count: Annotated[float, Field(description="The labels that were scored; as they fade, the sum of their weights.")]


ClassScores = TypedDict(
    "ClassScores",
    {
        "class": ClassName,
        "support": Annotated[float, Field(description="Its labels.")],
        "recall": Annotated[float, Field(description="The share of its labels that were answered right.")],
        "precision": Annotated[float | None, Field(description="The share of its answers that were right.")],
        "f1": NotRequired[Annotated[float, Field(description="Of a multi-label model: their harmonic mean.")]],
    },
)


@message
class Confusion(TypedDict):
    """Which class was answered for which; of the ten classes with the most labels."""

    classes: list[ClassName]
    """The classes, in the order of rows and columns."""
    counts: list[list[float]]
    """A row for each class that was right, a column for each that was answered."""


@message
class CalibrationBin(TypedDict):
    """Answers that were about equally sure."""

    confidence: float
    """The mean of the highest probability that they gave."""
    accuracy: float
    """The share of them that was right."""
    count: float
    """How many they are."""


@message
class WindowScores(PredictionScores):
    """PredictionScores of the newest labels."""

    size: int
    """The most labels that the window holds."""
    classes: NotRequired[list[ClassScores]]
    """The classes with the most labels in the window; not of a regression."""
    confusion: NotRequired[Confusion]
    """Which class was answered for which; where a label is one class."""
    calibration: NotRequired[list[CalibrationBin]]
    """How often answers were right that were so sure, in ten bins; where a label is one class."""


@message
class FadingScores(PredictionScores):
    """PredictionScores in which each label weighs less than the one after it."""

    factor: float
    """What a label weighs, of what the next one does."""


@message
class PrequentialScores(PredictionScores):
    """Test-then-train scores: each label scores the answer that was served before it was learned."""

    window: WindowScores
    """Of the newest labels."""
    fading: FadingScores
    """Of all labels, as older ones fade."""


@message
class Lag(TypedDict):
    """How far learning is behind."""

    labels: int
    """Labels that wait."""
    seconds: float
    """The age of the oldest that waits."""
    bytes: int
    """What those that wait take in the log."""
    fullness: float
    """The share of the log's cap that is reached; feedback is refused at 1."""


@message
class DriftedFeature(TypedDict):
    """A feature whose distribution has moved."""

    input: str
    """The input that it stands in."""
    index: list[int]
    """Where it stands within a row of that input."""
    statistic: float
    """The distance of its two distribution functions."""


DriftedClass = TypedDict(
    "DriftedClass",
    {
        "class": ClassName,
        "labels": Annotated[int, Field(description="Its labels since the change.")],
        "before": Annotated[float | None, Field(description="Its rate of errors before; null where it had no label.")],
        "now": Annotated[float, Field(description="Its rate of errors since.")],
    },
)


@message
class AlarmState(TypedDict):
    """An alarm that stands, or was raised lately."""

    kind: str
    """``drift``, ``inputs``, ``trainer_failed``, ``swap_failed``, …"""
    message: str
    """What is wrong, and what to do."""
    state: Literal["standing", "acknowledged", "over"]
    """Whether it stands, stands and was seen by somebody, or is over. The newest alarm of each kind is shown."""
    ended: NotRequired[float]
    """When it was over, in seconds since 1970."""
    acknowledged_by: NotRequired[str]
    """Who has acknowledged it."""
    model: NotRequired[str]
    """The model that it is about, where models are told together."""
    worker: NotRequired[str]
    """The worker that it is about."""
    time: NotRequired[float]
    """When it was raised, in seconds since 1970."""
    at: NotRequired[int]
    """The number of the record that showed it."""
    since: NotRequired[int]
    """The number of the record with which it has most likely begun."""
    features: NotRequired[list[DriftedFeature]]
    """The features that have moved, the furthest first."""
    classes: NotRequired[list[DriftedClass]]
    """The classes that err more, the one with the most new errors first."""
    before: NotRequired[float]
    """The mean error before that record."""
    now: NotRequired[float]
    """The mean error since."""


@message
class ModelMetricsAnswer(TypedDict):
    """What is measured of a model. Weight hooks add numbers of their own."""

    model: str
    """The model's name."""
    version: int
    """The live version."""
    learned: int
    """Labels that it has learned."""
    watched: int
    """Predicted rows, labelled or not, whose inputs were compared with those before: a sample of all."""
    prequential: NotRequired[PrequentialScores]
    """How good the served answers were."""
    forgetting: NotRequired[float]
    """How far classes have fallen below their best accuracy, on average."""
    backward_transfer: NotRequired[float]
    """How far classes have come since their first accuracy, on average."""
    held_out: NotRequired[int]
    """Examples that are kept from training."""
    memory: NotRequired[int]
    """Examples that are kept for replay."""
    learning_rate: NotRequired[float]
    """The rate of the last update."""
    counts: NotRequired[dict[str, int]]
    """What has come of its steps so far: predictions ``labelled``, candidates ``promoted`` (``unjudged`` of them without a
    comparison) and ``refused``, records ``rejected`` and ``quarantined``, and jobs by their end, as ``jobs_succeeded``; none
    where it did not happen."""
    labellers: NotRequired[list[LabellerInfo]]
    """Whose labels it learns; none while all come from nobody in particular."""
    unknown_fields: NotRequired[dict[str, int]]
    """How often each field came, in predictions and feedback, that the model does not have."""
    set_aside: NotRequired[dict[str, int]]
    """How often members of a mixture, by their kind, gave no numbers and have begun again."""
    asleep: NotRequired[int]
    """Former mixtures that sleep, to be gone on with where a concept returns."""
    returned: NotRequired[int]
    """How often one was."""
    lag: Lag
    """How far learning is behind."""
    alarms: list[AlarmState]
    """What is wrong."""
