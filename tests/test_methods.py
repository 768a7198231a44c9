"""Every method that a config can name: the loss it gets, its run, and where it comes from."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from helpers import CONFIGS, HARD, NOT_AUGMENTED, Linear, linear_experiment

from lsplus_tf import callbacks, losses, metrics
from lsplus_tf.config import load_config
from lsplus_tf.config.methods import METHODS
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run, plan_runs
from lsplus_tf.losses import released
from lsplus_tf.results import Report, gather, tables
from lsplus_tf.results.figures import MOST_LINES
from lsplus_tf.training import run_folder
from lsplus_tf.training.methods import build_callback, build_loss

ALL = CONFIGS / "pneumoniamnist_all.yaml"
TAGS, KINDS = list(METHODS), list(METHODS.values())
COUNTS, ACCURACY = np.array([30, 50, 20]), np.array([0.9, 0.8, 0.6])

RELEASED = {
    "hl_released": {"loss": "hard_labels", "convention": "released_code"},
    "focal_released": {"loss": "focal", "convention": "released_code"},
    "dca_released": {"loss": "dca", "convention": "released_code"},
    "mdca_released": {"loss": "mdca", "convention": "released_code"},
}


def method(**settings: Any) -> Any:
    return linear_experiment(methods={"hard": HARD, "it": settings}).methods["it"]


# --- settings -> loss -----------------------------------------------------------------------------


def of_kind(kind: Any) -> Any:
    """Its settings, with a weight that stays where it could change by the epoch."""
    stays = {"final_factor": 1.0} if "final_factor" in kind.model_fields else {}
    return kind(loss=TAGS[KINDS.index(kind)], **stays)


@pytest.mark.parametrize("kind", KINDS, ids=TAGS)
def test_every_method_gets_its_loss_with_its_settings(kind):
    settings = of_kind(kind)
    loss = build_loss(settings, COUNTS, ACCURACY)
    assert type(loss) is getattr(losses, kind.loss_class)
    config = loss.get_config()
    for name, value in settings.model_dump(exclude=set(kind.not_of_the_loss)).items():
        assert config[name] == value, name
    assert config["from_logits"] is True


@pytest.mark.parametrize("kind", KINDS, ids=TAGS)
def test_the_defaults_of_configs_and_of_losses_agree(kind):
    settings = of_kind(kind)
    made = build_loss(settings, COUNTS, ACCURACY).get_config()
    needed = {
        "num_classes": len(COUNTS),
        "class_counts": COUNTS,
        "prior": np.eye(len(COUNTS)),
    }
    arguments = {name: needed[name] for name in kind.from_data}
    default = getattr(losses, kind.loss_class)(**arguments, from_logits=True).get_config()
    for name in settings.model_dump(exclude=set(kind.not_of_the_loss)):
        assert made[name] == default[name], name


def test_every_loss_has_a_name_in_configs():
    assert {kind.loss_class for kind in KINDS} == {n for n in losses.__all__ if n.endswith("Loss")}


def test_a_base_of_mdca():
    loss = build_loss(method(loss="mdca", base="focal", weight=0.5), COUNTS)
    assert isinstance(loss.base, losses.FocalLoss)
    assert loss.base.gamma == 3
    loss = build_loss(method(loss="mdca", base="label_smoothing"), COUNTS)
    assert isinstance(loss.base, losses.LabelSmoothingLoss)


@pytest.mark.parametrize(
    ("settings", "epochs", "expected"),
    [
        ({}, 5, [0.1, 0.125, 0.15, 0.175, 0.2]),
        ({"weight": 0.5}, 3, [0.5, 0.75, 1.0]),
        ({"weight": 0.0}, 3, [0.0, 0.0, 0.0]),
        ({"weight": 0.3, "final_factor": 0.0}, 3, [0.3, 0.15, 0.0]),
        ({}, 1, [0.1]),
        ({"final_factor": 1.0}, 3, [0.1, 0.1, 0.1]),
    ],
)
def test_the_weight_of_maxsup_goes_to_that_of_the_last_epoch(settings, epochs, expected):
    loss = build_loss(method(loss="maxsup", **settings), COUNTS, epochs=epochs)
    logits = np.array([[4.0, 1.0, 1.0]], np.float32)
    for epoch, weight in enumerate(expected):
        loss.set_epoch(epoch)
        fixed = losses.MaxSupLoss(weight, from_logits=True)
        np.testing.assert_allclose(loss([1], logits), fixed([1], logits), rtol=1e-6)


def test_the_released_baselines():
    made = {name: build_loss(method(**s), COUNTS) for name, s in RELEASED.items()}
    assert isinstance(made["hl_released"], released.ReleasedHardLabelLoss)
    assert isinstance(made["focal_released"], released.ReleasedFocalLoss)
    assert (made["focal_released"].gamma, made["focal_released"].alpha) == (3, 0.25)
    assert (made["dca_released"].weight, made["dca_released"].alpha) == (10, 1)
    assert (made["mdca_released"].weight, made["mdca_released"].alpha) == (1, 0.1)
    assert method(**RELEASED["dca_released"]).title == "DCA, released code"


def test_the_released_convention_of_a_loss():
    settings = method(loss="tf_kd_regularization", convention="released_code")
    assert settings.title == "Tf-KD reg, released code"
    loss = build_loss(settings, COUNTS)
    assert isinstance(loss, losses.TfKDRegularizationLoss)
    assert loss.convention == "released_code"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"loss": "mdca", "base": "focal", "convention": "released_code"},
            "base: the released code has hard_labels only, received focal",
        ),
        (
            {"loss": "class_distribution_label_smoothing", "alpha": 0.9, "gamma": 0.2},
            r"gamma: expected alpha \+ gamma <= 1, received 0.2",
        ),
        ({"loss": "tf_kd_regularization", "correct_probability": 0.0}, "greater than 0"),
    ],
)
def test_settings_that_no_loss_could_have(settings, message):
    with pytest.raises(ValueError, match=message):
        method(**settings)


def test_what_a_loss_needs_and_did_not_get():
    with pytest.raises(
        InputError, match=r"class_accuracy: expected \(K,\) for LS\+, received None"
    ):
        build_loss(method(loss="ls_plus"), COUNTS)
    with pytest.raises(InputError, match="epochs: expected a number for MaxSup, received None"):
        build_loss(method(loss="maxsup"), COUNTS)
    with pytest.raises(InputError, match=r"teacher: expected a \.keras file for Tf-KD self"):
        build_callback(method(loss="tf_kd_self_training"), None)


@pytest.mark.parametrize(
    ("settings", "callback"),
    [
        ({"loss": "online_label_smoothing"}, callbacks.OnlineLabelSmoothing),
        ({"loss": "ls_plus_online"}, callbacks.OnlineLabelSmoothing),
        ({"loss": "confusion_penalty"}, callbacks.ConfusionPenalty),
        ({"loss": "fedlas"}, callbacks.FedLAS),
        ({"loss": "learned_label_smoothing"}, callbacks.LearnedLabelSmoothing),
        ({"loss": "cals"}, callbacks.ValidationFeedback),
        ({"loss": "adaptive_focal"}, callbacks.ValidationFeedback),
        ({"loss": "ls_plus", "refresh_every": 4}, callbacks.PriorRefresh),
        ({"loss": "ls_plus"}, type(None)),
        ({"loss": "dca"}, type(None)),
        ({"loss": "maxsup"}, callbacks.EpochSchedule),
        ({"loss": "maxsup", "final_factor": 1.0}, type(None)),
    ],
)
def test_what_changes_a_loss_during_training(settings, callback):
    assert type(build_callback(method(**settings), None)) is callback


# --- plans ----------------------------------------------------------------------------------------


def test_runs_come_after_the_hard_label_runs_that_they_need():
    methods = {
        "student": {"loss": "tf_kd_self_training"},
        "both": {"loss": "ls_plus_online"},
        "mixed": {"loss": "hard_labels", "mixup": 0.2},
        "released": RELEASED["hl_released"],
        "hard": HARD,
    }
    experiment = linear_experiment(methods=methods)
    assert experiment.hard_label_method == "hard"  # neither the mixed nor the released one
    plan = plan_runs(experiment, methods=["student", "both"], seeds=[1])
    assert plan == [Run("hard", 1), Run("student", 1), Run("both", 1)]
    assert plan_runs(experiment, methods=["mixed"], seeds=[0]) == [Run("mixed", 0)]


@pytest.mark.parametrize(
    ("tag", "what"), [("tf_kd_self_training", "teacher"), ("ls_plus_online", "class accuracies")]
)
def test_methods_that_need_hard_labels(tag, what):
    with pytest.raises(ValueError, match=f"it takes its {what} from hard-label runs"):
        linear_experiment(
            methods={"it": {"loss": tag}, "mixed": {"loss": "hard_labels", "mixup": 1.0}}
        )


def test_ensembles_of_what_is_not_there():
    with pytest.raises(InputError, match=r"ensembles: expected methods \(.*\), received nothing"):
        load_config(ALL, ["ensembles=[nothing]"])
    with pytest.raises(InputError, match="ensembles: expected different names"):
        load_config(ALL, ["ensembles=[hard_labels,hard_labels]"])


# --- runs, with a linear network ------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """All methods of the config, the released baselines and two more mixtures, for two epochs."""
    methods = {
        **{n: m.model_dump(mode="json") for n, m in load_config(ALL).methods.items()},
        **RELEASED,
        "ls_plus_refreshed": {
            "loss": "ls_plus",
            "refresh_every": 1,
            "class_accuracy": {"shrinkage": 10.0},
        },
        "learned_label_smoothing": {"loss": "learned_label_smoothing"},
        "mixup_online": {"loss": "online_label_smoothing", "mixup": 0.3},
        "mixup_self": {"loss": "tf_kd_self_training", "mixup": 0.3},
    }
    # Batches that divide the 360 images of validation and test: fewer graphs are traced. Nor are
    # images augmented in them.
    settings = ["protocol.epochs=2", "protocol.batch_size=90", NOT_AUGMENTED]
    experiment = linear_experiment(*settings, methods=methods)
    experiment = experiment.model_copy(update={"ensembles": ("hard_labels", "focal")})
    out = tmp_path_factory.mktemp("everything") / "digits"
    Linear().run(experiment, out, seeds=[0])
    Linear().run(experiment, out, methods=["hard_labels"])
    return out


def test_every_method_trains(everything):
    results = gather(everything)
    trained = {run.method for run in results.runs}
    assert trained == set(results.experiment.methods)
    accuracy = results.metrics().set_index(["method", "seed"])["accuracy"]
    released = accuracy.index.get_level_values("method").isin(list(RELEASED))
    assert (accuracy[~released] > 0.25).all()  # of ten classes
    assert (accuracy[released] > 0.1).all()
    # No two methods trained the same, except that two epochs' logits keep within a margin of 10.
    logits = {
        run.method: run_folder.read_predictions(run.folder(everything), "test").logits
        for run in results.runs
        if run.seed == 0
    }
    names = sorted(logits)
    same = {
        (a, b)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if np.array_equal(logits[a], logits[b])
    }
    within_the_margin = ("acls", "cals", "hard_labels", "margin_label_smoothing")
    assert same == set(itertools.combinations(within_the_margin, 2))


def test_a_refreshed_prior_is_recorded(everything):
    record = run_folder.read_json(Run("ls_plus_refreshed", 0).folder(everything), run_folder.PRIOR)
    assert [entry["epoch"] for entry in record["refreshed"]] == [0, 1]
    assert record["from"] == ["hard_labels/seed_0"]
    history = run_folder.read_history(Run("ls_plus_refreshed", 0).folder(everything))
    p = run_folder.read_predictions(Run("ls_plus_refreshed", 0).folder(everything), "validation")
    best = int(history["val_accuracy"].argmax())
    # Equal classes would make it the mean; the digits are nearly so.
    refreshed = np.array(record["refreshed"][best]["class_accuracy"])
    recall = np.bincount(p.labels[p.logits.argmax(1) == p.labels], minlength=10) / np.bincount(
        p.labels
    )
    counts, overall = np.bincount(p.labels), (p.logits.argmax(1) == p.labels).mean()
    np.testing.assert_allclose(refreshed, (counts * recall + 10 * overall) / (counts + 10))


@pytest.mark.parametrize(
    "name",
    ["online_label_smoothing", "ls_plus_online", "confusion_penalty", "learned_label_smoothing"],
)
def test_soft_labels_are_kept(everything, name):
    matrices = run_folder.read_soft_labels(Run(name, 0).folder(everything))
    assert matrices.shape == (2, 10, 10)
    np.testing.assert_allclose(matrices.sum(axis=2), 1, rtol=1e-5)


def test_a_run_does_not_hold_its_teacher(everything):
    student = keras.models.load_model(
        Run("tf_kd_self_training", 0).folder(everything) / run_folder.MODEL
    )
    teacher = keras.models.load_model(Run("hard_labels", 0).folder(everything) / run_folder.MODEL)
    assert student.count_params() == teacher.count_params()


def test_settings_name_the_run_of_the_teacher(everything):
    run = Run("tf_kd_self_training", 0).folder(everything)
    settings = run_folder.read_settings(run)
    assert settings["method"]["from"] == {"method": "hard_labels", "seeds": [0]}


# --- the table ------------------------------------------------------------------------------------


def test_an_ensemble_is_one_more_row(everything):
    results = gather(everything)
    ensembles = [row.method for row in results.rows if row.ensemble]
    assert ensembles == ["hard_labels"]  # of focal there is one run only
    comparison = tables.compare(results)
    assert comparison.names[-1] == "HL ensemble"
    assert comparison.seeds[-1] == 2
    runs = [
        run_folder.read_predictions(Run("hard_labels", seed).folder(everything), "test")
        for seed in (0, 1)
    ]
    mean = sum(metrics.softmax(p.logits) for p in runs) / 2
    expected = metrics.evaluate(runs[0].labels, mean)
    for column in comparison.columns:
        assert comparison.mean[column.key].iloc[-1] == pytest.approx(100 * expected[column.key])
        assert np.isnan(comparison.sd[column.key].iloc[-1])
    text = tables.csv_table(comparison)
    assert text.index[-1] == "hard_labels_ensemble"


def test_many_methods_are_rows(everything):
    comparison = tables.compare(gather(everything))
    head, _, *rows = tables.markdown_table(comparison).splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")][:3] == ["Method", "Seeds", "ACC ↑"]
    assert len(rows) == len(comparison.names)
    assert len(set(comparison.names)) == len(comparison.names)


def test_the_terminals_table_of_many_methods_fits(everything):
    import io

    from rich.console import Console

    comparison = tables.compare(gather(everything))
    console = Console(width=80, file=io.StringIO())
    console.print(tables.rich_table(comparison, "digits, test split", console))
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    for i, name in enumerate(comparison.names):
        line = next(x for x in text.splitlines() if x.startswith(f"│ {name} "))
        assert f"{comparison.mean['ece'].iloc[i]:.1f}" in line


def test_a_report_of_many_methods(everything):
    """Of more methods than lines can be told apart: each is drawn beside the first."""
    many = ["hard_labels", "label_smoothing", "focal", "dca", "mdca", "ls_plus"]
    many += ["online_label_smoothing", "ls_plus_online", "confusion_penalty"]
    assert len(many) > MOST_LINES
    written = {path.name for path in Report(gather(everything, methods=many)).write()}
    assert {"table.md", "table.tex", "reliability.png", "retention.png"} <= written
    assert {f"soft_labels_{n}.png" for n in ("confusion_penalty", "ls_plus_online")} <= written
