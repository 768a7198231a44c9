"""`convention: released_code` of an experiment, and class accuracies that a config gives."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import DIGITS, Linear, experiment_with, linear_experiment
from PIL import Image

from lsplus_tf.config import Experiment, load_config, parse_config, to_yaml
from lsplus_tf.config.methods import METHODS, AlsoReleased, NeedsClassAccuracy, short_names
from lsplus_tf.datasets import load_dataset
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run, make, plan_runs
from lsplus_tf.experiments.plan import needed_runs
from lsplus_tf.predictions import Predictions
from lsplus_tf.results import gather, tables
from lsplus_tf.training import run_folder

RELEASED = "convention=released_code"
GIVEN = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05]  # of ten classes
NEEDING = [tag for tag, kind in METHODS.items() if issubclass(kind, NeedsClassAccuracy)]
ALSO_RELEASED = [tag for tag, kind in METHODS.items() if issubclass(kind, AlsoReleased)]


def all_methods(convention: str, **of_each: Any) -> Experiment:
    """An experiment with every method there is, by the name of its loss."""
    methods = {tag: {"loss": tag, **of_each} for tag in METHODS}
    return experiment_with(f"convention={convention}", methods=methods)


# --- the methods ----------------------------------------------------------------------------------


def test_methods_take_the_convention_of_their_experiment():
    methods = all_methods("released_code").methods
    assert {"hard_labels", "label_smoothing", "ls_plus", "focal", "dca", "mdca"} == {*ALSO_RELEASED}
    assert all(methods[tag].convention == "released_code" for tag in ALSO_RELEASED)
    others = {tag: getattr(methods[tag], "convention", "standard") for tag in METHODS}
    assert {others[tag] for tag in METHODS if tag not in ALSO_RELEASED} == {"standard"}
    assert {
        m.convention for m in all_methods("standard").methods.values() if hasattr(m, "convention")
    } == {"standard"}


@pytest.mark.parametrize("tag", ALSO_RELEASED)
@pytest.mark.parametrize("convention", ["standard", "released_code"])
def test_a_convention_that_is_set_stays(tag, convention):
    methods = {"hard": {"loss": "hard_labels"}, "it": {"loss": tag, "convention": convention}}
    for of_experiment in ("standard", "released_code"):
        made = experiment_with(f"convention={of_experiment}", methods=methods)
        assert made.methods["it"].convention == convention
        # From instances too, and from the file that it leaves.
        again = Experiment.model_validate({**dict(made), "methods": made.methods})
        assert again == made == parse_config(yaml.safe_load(to_yaml(made)), "copy")


def test_the_losses_of_a_released_experiment():
    from lsplus_tf.losses import released
    from lsplus_tf.training.methods import build_loss

    methods = experiment_with(
        RELEASED, methods={tag: {"loss": tag} for tag in ALSO_RELEASED}
    ).methods
    made = {tag: build_loss(m, np.ones(10), np.array(GIVEN)) for tag, m in methods.items()}
    assert {tag: type(loss) for tag, loss in made.items()} == {
        "hard_labels": released.ReleasedHardLabelLoss,
        "label_smoothing": released.ReleasedLabelSmoothingLoss,
        "ls_plus": released.ReleasedLSPlusLoss,
        "focal": released.ReleasedFocalLoss,
        "dca": released.ReleasedDCALoss,
        "mdca": released.ReleasedMDCALoss,
    }
    assert (made["label_smoothing"].alpha, made["ls_plus"].alpha) == (0.1, 0.5)
    np.testing.assert_allclose(made["ls_plus"].prior.diagonal(), GIVEN)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("{loss: mdca, base: focal}", "methods.it.base: the released code has hard_labels only"),
        ("{loss: ls_plus, refresh_every: 2}", "methods.it.refresh_every: the released code has"),
    ],
)
def test_what_the_released_code_does_not_have(method, message):
    load_config(DIGITS, [f"methods.it={method}"])
    with pytest.raises(InputError, match=message):
        load_config(DIGITS, [RELEASED, f"methods.it={method}"])


def test_titles_mark_what_differs_from_the_experiment():
    def names(convention: str, **methods: Any) -> list[str]:
        given = {
            name: {"loss": loss, "convention": of} if of else {"loss": loss}
            for name, (loss, of) in methods.items()
        }
        experiment = experiment_with(f"convention={convention}", methods=given)
        return [*short_names(experiment.methods, experiment.convention).values()]

    plain = {"hl": ("hard_labels", None), "fl": ("focal", None), "o": ("brier", None)}
    assert names("standard", **plain) == names("released_code", **plain) == ["HL", "FL", "Brier"]
    assert names("standard", **plain, it=("dca", "released_code"))[-1] == "DCA, released code"
    mixed = {**plain, "it": ("focal", "standard")}
    assert names("released_code", **mixed) == ["HL", "FL", "Brier", "FL, standard"]


def test_the_hard_label_runs_are_those_of_the_experiment_s_convention():
    hard = {"loss": "hard_labels"}
    methods = {"true": hard | {"convention": "standard"}, "hard": hard, "it": {"loss": "ls_plus"}}
    experiment = experiment_with(RELEASED, methods=methods)
    assert experiment.hard_label_method == "hard"
    assert plan_runs(experiment, ["it"], [1]) == [Run("hard", 1), Run("it", 1)]
    assert experiment_with(methods=methods).hard_label_method == "true"
    del methods["hard"]
    with pytest.raises(ValueError, match=r"it takes its class accuracies .* released_code, is"):
        experiment_with(RELEASED, methods=methods)


# --- steps and epochs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "steps"), [(24, (3, 3)), (25, (4, 3)), (31, (4, 3)), (8, (1, 1))]
)
def test_steps_of_an_epoch(samples, steps):
    for convention, expected in zip(("standard", "released_code"), steps, strict=True):
        experiment = experiment_with(f"convention={convention}", "protocol.batch_size=8")
        assert experiment.steps_per_epoch(samples) == expected


def test_no_step_at_all_is_refused_before_training():
    few = ["protocol.batch_size=2000"]
    assert len(make.load_data(experiment_with(*few)).train) == 1077
    expected = "protocol.batch_size: expected at most the 1077 training images, .* received 2000"
    with pytest.raises(InputError, match=expected):
        make.load_data(experiment_with(RELEASED, *few))


def test_ls_and_ls_plus_alone_stop_early():
    for convention, stopping in (
        ("standard", set(METHODS)),
        ("released_code", {"label_smoothing", "ls_plus"}),
    ):
        experiment = all_methods(convention)
        protocol = experiment.protocol.model_copy(update={"early_stopping": 5})
        experiment = experiment.model_copy(update={"protocol": protocol})
        for tag in METHODS:
            patience = 5 if tag in stopping else None
            of_method = experiment.protocol_of(tag)
            assert of_method.early_stopping == patience
            assert of_method == protocol.model_copy(update={"early_stopping": patience})
            settings = experiment.run_settings(tag, 0)
            assert settings["protocol"]["early_stopping"] == patience
            assert settings["convention"] == convention


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """LS+ on 1077 images in batches of 100, with a learning rate that improves nothing."""
    experiment = linear_experiment(
        RELEASED,
        "protocol.early_stopping=1",
        "protocol.optimizer.learning_rate=1e-12",
        methods={
            "it": {"loss": "ls_plus", "class_accuracy": GIVEN},
            "hard": {"loss": "hard_labels"},
        },
    )
    out = tmp_path_factory.mktemp("released") / "digits"
    Linear().run(experiment, out, methods=["it"], seeds=[0])
    return out


def test_a_training_has_the_steps_and_epochs_of_the_released_code(trained):
    import keras

    from lsplus_tf.losses.released import ReleasedLSPlusLoss
    from lsplus_tf.training.train import Training

    folder = Run("it", 0).folder(trained)
    assert len(run_folder.read_history(folder)) == 2  # of three
    model = keras.models.load_model(folder / run_folder.MODEL)
    assert int(model.optimizer.iterations) == 10  # of the best epoch, the first
    assert isinstance(model.loss, ReleasedLSPlusLoss)
    results = gather(trained)
    assert [row.name for row in results.rows] == ["LS+"]
    assert tables.caption(results, "Percent.").endswith("code (convention: released_code).")
    hard = Training(trained, results.experiment, "hard", 0, load_dataset("digits"))
    assert hard.protocol.early_stopping is None
    assert (hard.steps_per_epoch, hard.samples_per_epoch) == (10, 1000)


def test_given_accuracies_are_in_the_run_folder(trained):
    record = run_folder.read_json(Run("it", 0).folder(trained), run_folder.PRIOR)
    assert record["class_accuracy"] == GIVEN
    doubts = ["class accuracy below 1/10, that of guessing, of class 9"]
    assert (record["from"], record["doubts"]) == ("given", doubts)
    settings = run_folder.read_settings(Run("it", 0).folder(trained))
    assert settings["method"]["class_accuracy"] == GIVEN


# --- given class accuracies -----------------------------------------------------------------------


@pytest.mark.parametrize("tag", NEEDING)
@pytest.mark.parametrize("convention", ["standard", "released_code"])
def test_given_accuracies_need_no_hard_label_run(tag, convention):
    methods = {"it": {"loss": tag, "class_accuracy": GIVEN}}
    experiment = experiment_with(f"convention={convention}", methods=methods)
    assert experiment.methods["it"].class_accuracy == tuple(GIVEN)
    assert plan_runs(experiment, seeds=[0]) == [Run("it", 0)]
    assert needed_runs(experiment, Run("it", 0)) == []
    settings = experiment.run_settings("it", 0)
    assert "from" not in settings["method"]
    methods["it"]["class_accuracy"] = [*GIVEN[:-1], 0.06]
    changed = experiment_with(f"convention={convention}", methods=methods)
    assert changed.run_settings("it", 0) != settings
    assert parse_config(yaml.safe_load(to_yaml(experiment)), "copy") == experiment


def test_a_list_replaces_a_section_on_the_command_line():
    key = "methods.ls_plus.class_accuracy"
    experiment = load_config(DIGITS, [f"{key}.seeds=all", f"{key}={GIVEN}"])
    assert experiment.methods["ls_plus"].class_accuracy == tuple(GIVEN)
    back = load_config(DIGITS, [f"{key}={GIVEN}", f"{key}={{shrinkage: 5}}"])
    assert back.methods["ls_plus"].class_accuracy.shrinkage == 5


def test_weights_of_hard_labels_still_need_their_run():
    it = {"loss": "ls_plus", "class_accuracy": GIVEN, "start_from": "hard_labels"}
    experiment = experiment_with(methods={"it": it, "hard": {"loss": "hard_labels"}})
    assert plan_runs(experiment, ["it"], [0]) == [Run("hard", 0), Run("it", 0)]
    with pytest.raises(ValueError, match="it takes its initial weights from hard-label runs"):
        experiment_with(methods={"it": it})


def test_given_accuracies_are_the_first_of_those_that_are_refreshed():
    from lsplus_tf.callbacks import PriorRefresh
    from lsplus_tf.training.methods import build_callback

    it = {"loss": "ls_plus", "class_accuracy": GIVEN, "refresh_every": 2}
    refresh = build_callback(experiment_with(methods={"it": it}).methods["it"], None)
    assert isinstance(refresh, PriorRefresh)
    assert (refresh.every, refresh.shrinkage) == (2, 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[0.5,1.5]", ".1: expected at most 1, received 1.5"),
        ("[-0.1,0.5]", ".0: expected at least 0, received -0.1"),
        ("[.nan,0.5]", ".0: expected a finite number, received nan"),
        ("['0.5',0.5]", ".0: expected a number, received '0.5'"),
        ("[yes,0.5]", ".0: expected a number, received True"),
        ("[[0.5,0.5]]", ".0: expected a number, received [0.5, 0.5]"),
        ("[0.5]", ": expected a number for each class, two at least, received [0.5]"),
        ("[]", ": expected a number for each class, two at least, received []"),
        (
            "given",
            ": expected a section (seeds, shrinkage) or a list of numbers in [0, 1], received",
        ),
        ("0.5", ": expected a section (seeds, shrinkage) or a list of numbers in [0, 1], received"),
        ("{sead: all}", ".sead: unknown key, did you mean 'seeds'?"),
    ],
)
@pytest.mark.parametrize("tag", NEEDING)
def test_what_class_accuracies_may_be(tag, value, message):
    override = f"methods.it={{loss: {tag}, class_accuracy: {value}}}"
    with pytest.raises(InputError) as refused:
        load_config(DIGITS, [override])
    assert str(refused.value).startswith(f"--set {override}: methods.it.class_accuracy{message}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("tag", NEEDING)
@pytest.mark.parametrize("given", [GIVEN[:9], [*GIVEN, 0.5]])
def test_a_number_for_each_class_of_the_data(tag, given):
    experiment = experiment_with(methods={"it": {"loss": tag, "class_accuracy": given}})
    expected = (
        f"methods.it.class_accuracy: expected 10 numbers, one for each class of digits "
        f"(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), received {len(given)}"
    )
    for decode in (True, False):
        with pytest.raises(InputError) as refused:
            make.load_data(experiment, decode=decode)
        assert str(refused.value) == expected


def test_numbers_are_counted_before_images_are_decoded(tmp_path, monkeypatch):
    for class_name in ("benign", "malignant"):
        (tmp_path / class_name).mkdir()
        for i in range(8):
            Image.fromarray(np.full((8, 8), 16 * i, np.uint8)).save(
                tmp_path / class_name / f"{i}.png"
            )
    setting = "methods.ls_plus.class_accuracy"
    config = [f"dataset={{name: 'folder:{tmp_path}', image_size: 8, channels: 1}}"]
    fits = load_config(DIGITS, [*config, f"{setting}=[0.5,0.6]"])
    assert make.load_data(fits).class_names == ("benign", "malignant")
    monkeypatch.setattr(make, "load_files", pytest.fail)
    with pytest.raises(InputError, match=r"expected 2 numbers.* \(benign, malignant\), received 3"):
        make.load_data(load_config(DIGITS, [*config, f"{setting}=[0.5,0.6,0.7]"]))


# --- what is doubtful -----------------------------------------------------------------------------

KEY = "methods.it.class_accuracy"
FEW = "fewer than 5 validation samples of class b, c"
ALL_RIGHT = "class accuracy exactly 1 of class a, b, c"


def told_of_prior(out: Path, predicted: list[int], class_accuracy: Any) -> tuple[list[str], Any]:
    """The warnings for predictions of 40 images of a, 1 of b and 3 of c, and the record."""
    labels = np.repeat([0, 1, 2], [40, 1, 3])
    logits = 3.0 * np.eye(3)[predicted]
    methods = {
        "hard": {"loss": "hard_labels"},
        "it": {"loss": "ls_plus", "class_accuracy": class_accuracy},
    }
    experiment = experiment_with(methods=methods)
    folder = Run("hard", 0).folder(out)
    folder.mkdir(parents=True)
    names = ("a", "b", "c")
    found = Predictions(labels, logits=logits, class_names=names, ids=np.arange(44).astype(str))
    run_folder.write_predictions(folder, "validation", found)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        method = experiment.methods["it"]
        record = make._prior_record(experiment, method, out, Run("it", 0), names)
    return [str(warning.message) for warning in caught], record


# As of ISIC-2018's validation images, where DF has one and VASC three, all right.
LIKE_ISIC = [0] * 30 + [1] * 10 + [1, 2, 2, 2]


def test_advice_that_was_followed_does_not_come_again(tmp_path):
    (text,), record = told_of_prior(tmp_path / "1", LIKE_ISIC, {})
    advice = text.rpartition("add --set ")[2]
    assert advice == f"{KEY}.shrinkage=5"
    assert record["doubts"] == [FEW, "class accuracy exactly 1 of class b, c"]
    assert "; ".join(record["doubts"]) in text
    told, record = told_of_prior(tmp_path / "2", LIKE_ISIC, {"shrinkage": 5})
    assert (told, record["doubts"]) == ([], [])


@pytest.mark.parametrize(
    ("predicted", "exactly"), [([0] * 40 + [1, 2, 2, 2], 1), ([1] * 40 + [2, 0, 0, 0], 0)]
)
def test_what_shrinkage_does_not_answer_has_other_advice(tmp_path, predicted, exactly):
    extreme = f"class accuracy exactly {exactly} of class a, b, c"
    for shrinkage, doubts in ((0, [FEW, extreme]), (5, [extreme])):
        told, record = told_of_prior(tmp_path / str(shrinkage), predicted, {"shrinkage": shrinkage})
        assert record["doubts"] == doubts
        assert "shrinkage=5" not in told[0]
        assert told[0].endswith(f"--set {KEY}=[..] gives others")
    told, record = told_of_prior(tmp_path / "given", predicted, [0.9, 0.8, 0.7])
    assert (told, record["doubts"]) == ([], [])


def test_of_given_ones_0_and_1_are_doubtful(tmp_path):
    told, record = told_of_prior(tmp_path, LIKE_ISIC, [0.9, 1.0, 0.0])
    doubts = [f"class accuracy exactly {v} of class {k}" for v, k in ((0, "c"), (1, "b"))]
    assert record["doubts"] == doubts
    assert told == [
        f"it, seed 0: the class accuracies behind its prior are doubtful ({'; '.join(doubts)}). "
        f"Give others in {KEY}"
    ]
