"""The schema of the experiments: what loads, what is refused, and in which words."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import DIGITS, ROOT

from lsplus_tf.config import (
    SGD,
    Adam,
    Dataset,
    Experiment,
    Grid,
    load_config,
    load_grid,
    loading,
    parse_config,
    read_config,
    to_yaml,
)
from lsplus_tf.config.methods import LSPlus, OnlineLabelSmoothing
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.loading import list_files
from lsplus_tf.errors import InputError


def refusal(*overrides: str, path: Path = DIGITS) -> str:
    """The message of the `InputError`, which must be one line and name the file."""
    with pytest.raises(InputError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what loads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_config_loads_and_survives_a_round_trip(path, tmp_path):
    found = read_config(path)
    if isinstance(found, Grid):
        (tmp_path / "grid.yaml").write_text(found.to_yaml(), encoding="utf-8")
        assert load_grid(tmp_path / "grid.yaml") == found
    else:
        assert found.methods
        assert parse_config(yaml.safe_load(to_yaml(found)), "copy") == found


def test_defaults_are_the_papers():
    methods = load_config(
        DIGITS, ["methods={plain: {loss: ls_plus}, o: {loss: online_label_smoothing}}"]
    ).methods
    assert methods["plain"] == LSPlus(loss="ls_plus", alpha=0.5)
    assert methods["plain"].class_accuracy.seeds == "same"
    assert methods["plain"].class_accuracy.shrinkage == 0
    assert methods["o"] == OnlineLabelSmoothing(loss="online_label_smoothing", alpha=0.5)


def test_overrides_change_what_they_name_and_nothing_else():
    plain = load_config(DIGITS)
    changed = load_config(
        DIGITS,
        [
            "protocol.epochs=3",
            "protocol.schedule.epochs=[1,2]",
            "protocol.optimizer={name: sgd, learning_rate: 0.5, nesterov: true}",
            "methods.ls_plus.alpha=1",
            "methods.more={loss: hard_labels}",
            "backbone.head=[16,8]",
            "seeds=[4]",
            "dataset.data_dir=/a=b",
            "methods[label_smoothing].alpha=1e-3",
        ],
    )
    assert changed.protocol.epochs == 3
    assert changed.protocol.schedule.epochs == (1, 2)
    assert changed.protocol.optimizer == SGD(name="sgd", learning_rate=0.5, nesterov=True)
    assert changed.methods["ls_plus"].alpha == 1
    assert list(changed.methods) == [*plain.methods, "more"]
    assert changed.backbone.head == (16, 8)
    assert changed.seeds == (4,)
    assert changed.dataset.data_dir == Path("/a=b")
    assert changed.protocol.batch_size == plain.protocol.batch_size
    assert changed.methods["label_smoothing"].alpha == 0.001
    assert changed.methods["hard_labels"] == plain.methods["hard_labels"]
    assert changed.protocol.schedule.factor == plain.protocol.schedule.factor


def test_null_takes_a_section_away():
    assert load_config(DIGITS, ["protocol.schedule=null"]).protocol.schedule is None


def test_of_two_overrides_of_a_key_the_later_holds():
    assert load_config(DIGITS, ["protocol.epochs=3", "protocol.epochs=4"]).protocol.epochs == 4


def test_the_optimizer_is_adam_unless_said_otherwise():
    values = load_config(DIGITS).model_dump(mode="json")
    del values["protocol"]["optimizer"]
    assert parse_config(values, "values").protocol.optimizer == Adam()


def test_run_settings_hold_what_decides_a_run_and_not_where_the_data_lie():
    here = load_config(DIGITS, ["dataset.data_dir=/here"])
    there = load_config(DIGITS, ["dataset.data_dir=/there", "dataset.download=true", "seeds=[1]"])
    for method in ("hard_labels", "ls_plus"):
        assert here.run_settings(method, 1) == there.run_settings(method, 1)
    assert here.run_settings("ls_plus", 1) != here.run_settings("ls_plus", 2)
    changed = load_config(DIGITS, ["methods.ls_plus.alpha=0.4"])
    assert changed.run_settings("ls_plus", 1) != here.run_settings("ls_plus", 1)
    assert changed.run_settings("hard_labels", 1) == here.run_settings("hard_labels", 1)


def test_run_settings_name_the_runs_behind_a_prior():
    same, all_ = (
        load_config(DIGITS),
        load_config(DIGITS, ["methods.ls_plus.class_accuracy.seeds=all"]),
    )
    sources = [e.run_settings("ls_plus", 1)["method"]["from"] for e in (same, all_)]
    assert sources == [
        {"method": "hard_labels", "seeds": [1]},
        {"method": "hard_labels", "seeds": [0, 1, 2]},
    ]


def test_a_config_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_config(DIGITS).seeds = (1,)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("protocol.epoch=3", "protocol.epoch: unknown key, did you mean 'epochs'?"),
        ("method.a=3", "method: unknown key, did you mean 'methods'?"),
        ("epochs=3", "epochs: unknown key, did you mean 'protocol.epochs'?"),
        (
            "protocol.image_size=3",
            "protocol.image_size: unknown key, did you mean 'dataset.image_size'?",
        ),
        (
            "methods.hard_labels.epochs=3",
            "methods.hard_labels.epochs: unknown key, did you mean 'protocol.epochs'?",
        ),
        ("dataset.image_sise=3", "dataset.image_sise: unknown key, did you mean 'image_size'?"),
        ("backbone.wdth=1", "backbone.wdth: unknown key, did you mean 'width'?"),
        ("protocol.schedule.epoch=3", "protocol.schedule.epoch: unknown key, did you mean"),
        ("protocol.augmentation.rotate=3", "protocol.augmentation.rotate: unknown key, did you"),
        ("methods.ls_plus.alhpa=3", "methods.ls_plus.alhpa: unknown key, did you mean 'alpha'?"),
        (
            "methods.ls_plus.class_accuracy.sead=all",
            "methods.ls_plus.class_accuracy.sead: unknown key, did you mean 'seeds'?",
        ),
        # A key of another member of the union is not known here.
        (
            "protocol.optimizer.momentum=0.9",
            "protocol.optimizer.momentum: unknown key (known: name, learning_rate, weight_decay, "
            "decoupled)",
        ),
        (
            "methods.hard_labels.alpha=0.1",
            "methods.hard_labels.alpha: unknown key (known: mixup, convention, loss)",
        ),
        (
            "foo=3",
            "foo: unknown key (known: name, convention, dataset, backbone, protocol, methods, "
            "optional_methods, seeds, ensembles, calibrators, positive, ensemble_calibration, "
            "features, questions)",
        ),
    ],
)
def test_unknown_keys(override, message):
    assert refusal(override).startswith(f"--set {override}: {message}")


@pytest.mark.parametrize(
    ("override", "key", "received"),
    [
        ("protocol.epochs=three", "protocol.epochs", "'three'"),
        ("protocol.epochs=2.5", "protocol.epochs", "2.5"),
        ("protocol.epochs=yes", "protocol.epochs", "True"),
        ("protocol.epochs='2'", "protocol.epochs", "'2'"),
        ("protocol.epochs=0", "protocol.epochs", "0"),
        ("protocol.epochs=null", "protocol.epochs", "None"),
        ("protocol.batch_size=0", "protocol.batch_size", "0"),
        ("protocol.early_stopping=0", "protocol.early_stopping", "0"),
        ("protocol.checkpoint=best", "protocol.checkpoint", "'best'"),
        ("protocol.precision=float64", "protocol.precision", "'float64'"),
        ("protocol.optimizer.learning_rate=0", "protocol.optimizer.learning_rate", "0"),
        ("protocol.optimizer.learning_rate=.nan", "protocol.optimizer.learning_rate", "nan"),
        ("protocol.optimizer.learning_rate=.inf", "protocol.optimizer.learning_rate", "inf"),
        ("protocol.optimizer.weight_decay=-1", "protocol.optimizer.weight_decay", "-1"),
        ("protocol.schedule.factor=1", "protocol.schedule.factor", "1"),
        ("protocol.schedule.epochs=[5,3]", "protocol.schedule.epochs", "[5, 3]"),
        ("protocol.schedule.epochs=[3,3]", "protocol.schedule.epochs", "[3, 3]"),
        ("protocol.schedule.epochs=[0]", "protocol.schedule.epochs.0", "0"),
        ("protocol.augmentation.zoom=1", "protocol.augmentation.zoom", "1"),
        ("protocol.augmentation.rotation=181", "protocol.augmentation.rotation", "181"),
        ("protocol=3", "protocol", "3"),
        ("backbone.width=0", "backbone.width", "0"),
        ("backbone.name=resnet", "backbone.name", "'resnet'"),
        ("backbone.head=[3,0]", "backbone.head.1", "0"),
        ("backbone.batch_norm_momentum=1", "backbone.batch_norm_momentum", "1"),
        ("dataset.channels=2", "dataset.channels", "2"),
        ("dataset.image_size=3", "dataset.image_size", "3"),
        ("dataset.validation_fraction=1", "dataset.validation_fraction", "1"),
        ("dataset.split_seed=-1", "dataset.split_seed", "-1"),
        ("methods.ls_plus.alpha=1.5", "methods.ls_plus.alpha", "1.5"),
        ("methods.ls_plus.start_from=zero", "methods.ls_plus.start_from", "'zero'"),
        (
            "methods.ls_plus.class_accuracy.shrinkage=-1",
            "methods.ls_plus.class_accuracy.shrinkage",
            "-1",
        ),
        ("methods.Bad={loss: hard_labels}", "methods.Bad", "'Bad'"),
        ("methods=null", "methods", "None"),
        ("seeds=3", "seeds", "3"),
        ("seeds=[]", "seeds", "[]"),
        ("seeds=[-1]", "seeds.0", "-1"),
        ("seeds=[0,4294967296]", "seeds.1", "4294967296"),
        ("seeds=[1,2,1]", "seeds", "[1, 2, 1]"),
        ("name=a/b", "name", "'a/b'"),
    ],
)
def test_wrong_values(override, key, received):
    message = refusal(override)
    assert message.startswith(f"--set {override}: {key}: ")
    assert f"received {received}" in message


# A value of another kind than the schema has there, and what is expected in words of YAML.
OTHER_KINDS = {
    "a list": ["seeds=3", "seeds={a: 1}", "backbone.head=3", "ensembles=hard", "seeds=null"],
    "a section with keys": [
        "protocol=3",
        "backbone=vgg19",
        "methods=[a]",
        "methods.ols=3",
        "protocol.optimizer=adam",
        "dataset.phantom=[]",
    ],
    "an integer": ["protocol.epochs=a", "protocol.epochs=1.5", "features={}", "seeds=[a]"],
    "a number": ["methods.ls_plus.alpha=x", "dataset.validation_fraction=[]"],
    "a finite number": ["methods.ls_plus.alpha=.nan"],
    "true or false": ["dataset.download=3", "protocol.optimizer.decoupled=maybe"],
    "text": ["dataset.name=[3]", "name=[a]"],
    "text, which needs quotation marks where YAML takes it for something else": [
        *("dataset.name=3", "name=2024", "name=no", "name=1e3", "methods={1: {}}"),
    ],
    "a path": ["dataset.data_dir=3"],
    "at least one": ["seeds=[]", "dataset.phantom={separation: []}"],
    "at most 100 characters": [f"name={'x' * 101}"],
    "a name of small letters, digits and _, beginning with a letter": [
        "methods.Bad={loss: hard_labels}",
        "optional_methods=[1a]",
    ],
    "a name of letters, digits, _, . and -, beginning with a letter or a digit": [
        "name='a b'",
        "name=''",
    ],
}


@pytest.mark.parametrize(
    ("expected", "override"), [(words, it) for words, some in OTHER_KINDS.items() for it in some]
)
def test_what_is_expected_is_said_in_words_of_a_config(expected, override):
    message = refusal(override)
    assert f": expected {expected}, received " in message
    assert message.count("expected") == 1


def in_schema(schema: Any, key: str) -> Iterator[Any]:
    """All values of a key, at any depth."""
    if isinstance(schema, dict):
        if key in schema:
            yield schema[key]
        schema = [*schema.values()]
    for inner in schema if isinstance(schema, list) else ():
        yield from in_schema(inner, key)


def test_every_pattern_and_least_length_has_words():
    schema = Experiment.model_json_schema()
    assert {*in_schema(schema, "pattern")} == {*loading._PATTERNS}
    assert {*in_schema(schema, "minProperties")} == {1}
    assert {*in_schema(schema, "minItems")} == {1, 2}  # 2 of pairs, which `Scaling` checks itself


def test_of_a_list_with_a_wrong_value_only_that_is_told():
    message = refusal("dataset.phantom={separation: [a]}")
    assert message.endswith("dataset.phantom.separation.0: expected a number, received 'a'")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "methods.ls_plus.loss=lsplus",
            "methods.ls_plus.loss: received 'lsplus', did you mean 'ls_plus'? (expected one of "
            "'hard_labels', 'label_smoothing', 'ls_plus', 'online_label_smoothing', ",
        ),
        ("methods.more.alpha=0.1", "methods.more.loss: field required"),
        (
            "protocol.optimizer.name=rmsprop",
            "protocol.optimizer.name: received 'rmsprop' (expected one of 'adam', 'sgd')",
        ),
    ],
)
def test_wrong_tags(override, message):
    assert message in refusal(override)


def test_ls_plus_without_hard_labels():
    message = refusal("methods.hard_labels={loss: label_smoothing}")
    assert "methods: ls_plus takes its class accuracies from hard-label runs" in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["backbone.name=resnet50"],
            "backbone.width: resnet50 has one width, expected 1.0",
        ),
        (["backbone.weights=imagenet"], "backbone.weights: small_residual_cnn has no ImageNet"),
    ],
)
def test_what_a_network_does_not_have(overrides, message):
    assert message in refusal(*overrides)


def test_all_mistakes_are_named_at_once():
    message = refusal("protocol.epochs=0", "seeds=[0,0]", "methods.ls_plus.alpha=2")
    assert "protocol.epochs: " in message
    assert "methods.ls_plus.alpha: " in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("protocl.epochs=3", "--set protocl.epochs=3: protocl: unknown key"),
        ("protocol.epoch=3", "--set protocol.epoch=3: protocol.epoch: unknown key"),
        ("protocol.epochs=0", "--set protocol.epochs=0: protocol.epochs: "),
        ("protocol={epochs: 0}", "--set protocol={epochs: 0}: protocol.epochs: "),
        ("methods.ls_plus.alpha=2", "--set methods.ls_plus.alpha=2: methods.ls_plus.alpha: "),
        (
            "dataset.test_fraction=0.9",
            f"{DIGITS} with --set dataset.test_fraction=0.9: dataset.validation_fraction + ",
        ),
    ],
)
def test_a_mistake_is_blamed_on_what_made_it(override, expected):
    assert refusal(override).startswith(expected)
    assert refusal("seeds=[1]", override, "name=mine").startswith(expected)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("protocol.epochs", "--set: expected key=value, received 'protocol.epochs'"),
        ("=3", "--set: expected key=value, received '=3'"),
        ("protocol.epochs=[1", "--set protocol.epochs=[1: "),
        ("seeds[0]=3", "--set seeds[0]=3: seeds is a list here, [0, 1, 2]; replace it as a whole"),
        ("protocol.epochs=${nowhere}", "nowhere"),
        ("dataset.data_dir=${oc.env:HOME}", "interpolation is not read"),
        (
            "protocol..epochs=3",
            "expected a key such as protocol.epochs, received 'protocol..epochs'",
        ),
        (f"{'a.' * 5000}b=3", "expected a key such as protocol.epochs, received 'a.a.a."),
        (f"seeds={'[' * 5000}", "expected YAML of at most 100 levels"),
    ],
)
def test_overrides_that_are_none(override, message):
    assert message in refusal(override)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "protocol: field required"),
        (b"- a\n- b\n", "expected keys with values, received a list"),
        (b"3", "expected keys with values, received 3"),
        (b"a: [1\n", "line 1"),
        (b"name: a\nname: b\n", "duplicate key name"),
        (b"\xff\xfe\xfa", "decode"),
    ],
)
def test_files_that_are_not_configs(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text)
    refused = refusal(path=path)
    assert refused.startswith(f"{path}: ")
    assert message in refused


def test_a_missing_file(tmp_path):
    missing = refusal(path=tmp_path / "no.yaml")
    assert missing.startswith(f"config: no such file {tmp_path / 'no.yaml'}; ")
    assert ", digits" in missing
    # As the README calls them, elsewhere than in the clone.
    assert refusal(path=tmp_path / "configs" / "digits.yaml").endswith(
        "; the package's own of this name is taken by 'digits' alone"
    )
    assert refusal(path=tmp_path).endswith(
        f"{tmp_path} is a folder; for the images in it, take a config with "
        f"dataset.name=folder:{tmp_path}"
    )
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "no.yaml")


def test_the_options_of_a_data_set_are_declared_once():
    """`load_dataset(**dict(experiment.dataset))` is how the two meet."""
    parameters = dict(inspect.signature(load_dataset).parameters)
    # These are no settings: a dry run asks for the list alone, and a training is told of the shape.
    assert parameters.pop("decode").default is True
    assert parameters.pop("before_decoding").default is None
    assert list(parameters) == list(Dataset.model_fields)
    text = " ".join(inspect.getdoc(load_dataset).split())
    for name, field in Dataset.model_fields.items():
        if not field.is_required():
            assert parameters[name].default == field.default
        first, *rest = field.description.split()
        assert f"{name} : " in text
        assert " ".join([first.capitalize() if first.islower() else first, *rest]) in text
    assert list(inspect.signature(list_files).parameters) == list(Dataset.model_fields)


TABLE_TEXT = ("path_column", "label_column", "group_column", "split_column")


@pytest.mark.parametrize("option", TABLE_TEXT)
def test_a_column_may_be_called_by_a_number(option):
    """As pandas calls those that have no names; YAML takes it for an integer."""
    assert getattr(loading.checked(Dataset, {"name": "csv:x", option: 0}), option) == "0"
    ones = loading.checked(Dataset, {"name": "csv:x", "label_columns": [1, "2"]})
    assert ones.label_columns == ("1", "2")


WRONG_OPTIONS = [
    {"name": 3},
    {"name": "digits", "image_sise": 8},
    {"name": "digits", "image_size": 3},
    {"name": "digits", "image_size": "64"},
    {"name": "digits", "channels": 2},
    {"name": "digits", "split_seed": -1},
    {"name": "digits", "split_seed": 2**32},
    {"name": "digits", "validation_fraction": 0.0},
    {"name": "digits", "test_fraction": float("nan")},
    {"name": "digits", "validation_fraction": 0.5, "test_fraction": 0.5},
    {"name": "folder:x", "unreadable": "ignore"},
    {"name": "digits", "download": "maybe"},
    {"name": "digits", "interpolation": "cubic"},
    {"name": "digits", "background": "grey"},
    {"name": "folder:x", "cache": "gpu"},
    {"name": "npz:x", "group_pattern": "x"},
    {"name": "csv:x", "class_pattern": "x"},
    {"name": "csv:x", "group_column": "a", "group_pattern": "x"},
    {"name": "digits", "samples_per_class": 0},
    {"name": "digits", "label_noise": 0.2},
    {"name": "digits", "label_noise": {}},
    {"name": "digits", "label_noise": {"share": 1.0}},
    {"name": "digits", "label_noise": {"share": "0.2"}},
    {"name": "digits", "label_noise": {"share": 0.2, "splits": ["test"]}},
    {"name": "digits", "label_noise": {"share": 0.2, "splits": ["train", "train"]}},
    {"name": "digits", "label_noise": {"share": 0.2, "confused": {}}},
    {"name": "digits", "label_noise": {"share": 0.2, "confused": {3: []}}},
    {"name": "digits", "label_noise": {"share": 0.2, "confused": {3: ["8", "3"]}}},
    {"name": "digits", "label_noise": {"share": 0.2, "confused": {3: [8, 8]}}},
    {"name": "folder:x", "drop": ["blanks"]},
    {"name": "folder:x", "scaling": {}},
    {"name": "folder:x", "scaling": {"range": [1, 0]}},
    {"name": "folder:x", "scaling": {"window": [40, 400], "range": [0, 1]}},
    {"name": "folder:x", "unlisted": "ignore"},
    *({"name": name, key: "x"} for name in ("digits", "folder:x") for key in TABLE_TEXT),
    {"name": "npz:x", "image_folder": "x"},
    {"name": "npz:x", "label_columns": ["a", "b"]},
    {"name": "csv:x", "label_columns": ["a"]},
    {"name": "csv:x", "label_column": "a", "label_columns": ["a", "b"]},
    {"name": "digits", "phantom": {}},
    {"name": "phantom", "phantom": {"classes": 1}},
    {"name": "phantom", "image_size": 16},
    {"name": "phantom", "samples_per_class": 16},
]


@pytest.mark.parametrize("options", WRONG_OPTIONS, ids=str)
def test_a_wrong_option_is_refused_alike_in_python_and_in_a_config(options):
    with pytest.raises(InputError) as in_python:
        load_dataset(**options)
    values = load_config(DIGITS).model_dump(mode="json") | {"dataset": options}
    with pytest.raises(InputError) as in_a_config:
        parse_config(values, "mine")
    assert str(in_a_config.value) == f"mine: dataset.{in_python.value}"
    assert next(reversed(options)) in str(in_python.value).partition(": ")[0]


def test_every_option_of_a_data_set_has_a_wrong_value_above():
    tried = {option for options in WRONG_OPTIONS for option in options}
    assert set(Dataset.model_fields) - tried == {"data_dir", "cache_dir"}


def test_numbers_of_numpy_are_numbers():
    options = {"split_seed": np.int64(3), "validation_fraction": np.float32(0.25)}
    assert len(load_dataset("digits", **options).validation) == 450


def test_a_config_made_in_python_is_checked_too():
    values = load_config(DIGITS).model_dump(mode="json")
    values["seeds"] = [1, 1]
    with pytest.raises(InputError, match=r"^mine: seeds: expected different numbers"):
        parse_config(values, "mine")
    assert isinstance(parse_config({**values, "seeds": [1]}, "mine"), Experiment)


@pytest.mark.parametrize("text", ["", "''"])
def test_an_empty_value_is_no_null(text):
    """As a shell leaves `--set dataset.group_column=''`: no groups, not usual ones."""
    overrides = ["dataset.name=csv:labels.csv", f"dataset.group_column={text}"]
    assert load_config("digits", overrides).dataset.group_column == ""
    assert load_config("digits", ["dataset.image_size=null"]).dataset.image_size is None
    with pytest.raises(InputError, match=r"^--set dataset.image_size=: .*: expected"):
        load_config("digits", ["dataset.image_size="])
