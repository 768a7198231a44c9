"""A grid: experiments that one command makes, each in its own folder, and their joined tables."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import CONFIGS, Linear, leave_out_pictures, made_up_runs
from PIL import Image

from lsplus_tf.config import Grid, load_config, load_grid, read_config, to_yaml
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.experiments import Shard, run_grid
from lsplus_tf.experiments.grid import plan_grid
from lsplus_tf.paper import printed
from lsplus_tf.training import train

SMALL = """
name: small
every:
  backbone: {width: 0.125}
  protocol: {epochs: 1, schedule: null, batch_size: 64}
  dataset: {samples_per_class: 10}
  seeds: [0]
grid:
  few: {config: digits, methods: {ls_plus: {alpha: 0.25}}}
  many: {config: digits, dataset: {samples_per_class: 20}, optional_methods: [ls_plus]}
"""
CLASSES = {"chaoyang": 4, "mhist": 2, "isic2018": 7, "radimagenet": 165}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


# --- the config -----------------------------------------------------------------------------------


def test_the_grid_of_the_ls_plus_paper():
    """Its Table 1: three data sets, two networks, six methods, three seeds."""
    grid = load_grid("ls_plus_paper")
    table = printed.table_1()
    cells = {(each.dataset.name, each.backbone.name) for each in grid.experiments.values()}
    expected = set(zip(table["dataset"], table["backbone"], strict=True))
    assert {(d, n.removesuffix("_preact")) for d, n in cells} == expected
    assert len(grid.experiments) == 6
    parts = plan_grid(grid, Path("out"))
    assert sum(len(part.runs) for part in parts) == 108
    for part in parts:
        losses = [part.experiment.methods[name] for name in part.experiment.usual_methods]
        assert [each.loss for each in losses] == list(dict.fromkeys(table["method"]))
        released = {each.loss for each in losses if getattr(each, "convention", "") != "standard"}
        assert {"focal", "dca", "mdca"} <= released
        assert part.experiment.seeds == (1, 2, 3)


def test_the_grid_of_the_ls_plus_code():
    """The same by the code's protocol, with the constants that are typed into it."""
    paper, code = load_grid("ls_plus_paper"), load_grid("ls_plus_code")
    constants = printed.class_accuracy_constants()
    constants = constants[constants["learning_rate"] == 0.001]
    assert list(code.experiments) == list(paper.experiments)
    for key, experiment in code.experiments.items():
        there = paper.experiments[key]
        assert experiment.convention == "released_code"
        assert (experiment.dataset, experiment.backbone) == (there.dataset, there.backbone)
        assert (experiment.protocol, experiment.seeds) == (there.protocol, there.seeds)
        network = experiment.backbone.name.removesuffix("_preact")
        of = constants["dataset"].eq(experiment.dataset.name) & constants["backbone"].eq(network)
        given = experiment.methods["ls_plus"].class_accuracy
        assert list(given) == constants[of].sort_values("class_index")["constant"].tolist()
        for name in experiment.usual_methods:
            assert experiment.methods[name].convention == "released_code"
            stops = experiment.protocol_of(name).early_stopping
            assert stops == (50 if name in ("label_smoothing", "ls_plus") else None)
    assert sum(len(part.runs) for part in plan_grid(code, Path("out"))) == 108


def test_the_grid_of_the_ols_paper():
    grid = load_grid("ols_paper")
    table = printed.radimagenet_errors()
    networks = [each.backbone.name for each in grid.experiments.values()]
    assert set(networks) == set(table["backbone"])
    assert sum(len(part.runs) for part in plan_grid(grid, Path("out"))) == 12


def test_what_is_different_where(small: Path):
    grid = load_grid(small)
    few, many = grid.experiments.values()
    assert (grid.name, few.name) == ("small", "digits")
    assert few.dataset.samples_per_class == 10
    assert many.dataset.samples_per_class == 20
    assert (few.methods["ls_plus"].alpha, many.methods["ls_plus"].alpha) == (0.25, 0.5)
    assert {few.backbone.width, many.backbone.width} == {0.125}


def test_overrides_are_for_all_or_for_one(small: Path):
    changes = ["dataset.samples_per_class=5", "grid.few.protocol.epochs=7", "name=other"]
    grid = load_grid(small, changes)
    few, many = grid.experiments.values()
    assert grid.name == "other"
    assert (few.dataset.samples_per_class, many.dataset.samples_per_class) == (5, 5)
    assert (few.protocol.epochs, many.protocol.epochs) == (7, 1)
    both = load_grid(small, ["grid.few.protocol.epochs=7", "protocol.epochs=3"]).experiments
    assert (both["few"].protocol.epochs, both["many"].protocol.epochs) == (7, 3)


def test_whole_experiments_may_share_their_sections(tmp_path: Path):
    shared = "{dataset: {name: digits}, protocol: {epochs: 1, batch_size: 8}, seeds: [0]}"
    one = "{name: one, methods: {plain: {loss: hard_labels}}}"
    path = tmp_path / "grid.yaml"
    path.write_text(f"name: g\nevery: {shared}\ngrid:\n  a: {one}\n")
    assert load_grid(path).experiments["a"].dataset.name == "digits"


def test_a_config_may_be_exchanged(small: Path):
    grid = load_grid(small, ["grid.few.config=phantom", "grid.few.dataset.samples_per_class=null"])
    assert grid.experiments["few"].dataset.name == "phantom"


def test_a_key_below_a_list_is_not_dropped():
    change = "methods.ls_plus.class_accuracy.shrinkage=5"
    with pytest.raises(InputError, match=r"^--set .*: methods\.ls_plus\.class_accuracy is a list"):
        load_grid("ls_plus_code", [change])
    load_grid("ls_plus_code", ["methods.ls_plus.class_accuracy={seeds: all, shrinkage: 5}"])


def test_a_list_replaces_a_section_and_a_section_a_list():
    change = "protocol.schedule={epochs: [1], factor: 0.5}"
    assert load_config("mhist", [change]).protocol.schedule.epochs == (1,)
    with pytest.raises(InputError, match=r"^--set methods\.ls_plus\.class_accuracy=\[1\]: "):
        load_config("digits", ["methods.ls_plus.class_accuracy=[1]"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("grid.fex.seeds=[1]", "--set grid.fex.seeds=[1]: the grid has few, many; received fex"),
        ("protocol.epoch=3", "--set protocol.epoch=3: protocol.epoch: unknown key, did you mean"),
        ("grid.new={config: nothing}", "grid.new.config: no such file nothing in "),
        ("grid.new={config: digit}", "did you mean 'digits'?"),
        ("grid.new={confg: digits}", "grid.new: expected config, the config that it starts from"),
        ("every.seeds=[1]", "--set every.seeds=[1]: leave out 'every.', --set KEY=VALUE is for"),
        ("grid.con={config: digits}", "grid.con: expected another name, which lsplus-tf or"),
        ("grid.few.protocol.epoch=3", "--set grid.few.protocol.epoch=3: protocol.epoch: unknown"),
        ("grid.new={config: ols_paper}", "grid.new.config: expected the config of one experiment"),
        ("grid.report={config: digits}", "grid.report: expected another name"),
        ("grid.new={config: 3}", "grid.new.config: expected the name of a config, received 3"),
        ("grid.new={}", "grid.new: expected config, the config that it starts from, or a whole"),
        ("grid.few.config=digits.yml", "grid.few.config: no such file digits.yml in "),
        ("name=a/b", "--set name=a/b: name: expected a name of letters, digits, _, . "),
        ("epochs", "--set: expected key=value, received 'epochs'"),
    ],
)
def test_a_wrong_grid(small: Path, change: str, message: str):
    with pytest.raises(InputError) as raised:
        load_grid(small, [change])
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["grid: 3", "grid: []", "grid: null", "grid: {}", "grid: {a: 1}"])
def test_what_is_no_grid(tmp_path: Path, text: str):
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\n{text}\n", encoding="utf-8")
    for change in ([], ["grid.a.seeds=[1]"]):
        with pytest.raises(InputError, match=r"grid"):
            load_grid(path, change)


def test_an_experiment_is_no_grid_and_a_grid_no_experiment(small: Path):
    with pytest.raises(InputError, match="it is a grid of experiments"):
        load_config(small)
    with pytest.raises(InputError, match="expected a grid of experiments; it has no key 'grid'"):
        load_grid("digits")
    assert isinstance(read_config(small), Grid)


def test_only_some():
    grid = load_grid("ls_plus_paper")
    assert list(grid.only(["mhist"]).experiments) == ["mhist_resnet34", "mhist_resnet50"]
    assert list(grid.only(["mhist_resnet50", "isic2018"]).experiments) == [
        "mhist_resnet50",
        "isic2018_resnet34",
        "isic2018_resnet50",
    ]
    assert len(grid.only(["resnet34"]).experiments) == 3
    for wrong in ("resnet", "hist", "", "mhist_"):
        with pytest.raises(InputError, match=r"^--only: expected names, or parts, of chaoyang_"):
            grid.only([wrong])


# --- the plan -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 7, 8, 108, 200])
def test_shards_have_each_run_and_as_many(count: int):
    grid = load_grid("ls_plus_paper")
    whole = {(part.key, run) for part in plan_grid(grid, Path()) for run in part.runs}
    shards = []
    for index in range(1, count + 1):
        parts = plan_grid(grid, Path(), shard=Shard(index, count))
        shards.append([(part.key, run) for part in parts for run in part.runs])
    assert {each for shard in shards for each in shard} == whole
    # Hard-label runs that LS+ needs come to the shards of LS+ too, where they are not made twice.
    own = [sum(run.method != "hard_labels" for _, run in shard) for shard in shards]
    assert max(own) - min(own) <= 90 / count * 0.6 + 2


def test_methods_and_seeds_narrow_where_they_are(small: Path):
    grid = load_grid(small, ["grid.few.methods.extra={loss: brier}", "grid.many.seeds=[0,5]"])
    (part,) = plan_grid(grid, Path(), ["extra"])
    assert (part.key, [str(run) for run in part.runs]) == ("few", ["extra seed 0"])
    assert [part.key for part in plan_grid(grid, Path(), seeds=[5])] == ["many"]
    usual = {part.key: {run.method for run in part.runs} for part in plan_grid(grid, Path())}
    assert "ls_plus" in usual["few"]
    assert "ls_plus" not in usual["many"]
    with pytest.raises(InputError, match=r"--methods: the config has hard_labels, .*received nope"):
        plan_grid(grid, Path(), ["nope"])
    with pytest.raises(InputError, match="--seeds: the config has 0, 5; received 1"):
        plan_grid(grid, Path(), seeds=[1])
    with pytest.raises(InputError, match="no experiment has both"):
        plan_grid(grid, Path(), ["extra"], [5])


def test_all_missing_data_are_told_at_once(tmp_path: Path):
    grid = load_grid("ls_plus_paper", [f"dataset.data_dir={tmp_path}"])
    with pytest.raises(MissingDataError) as raised:
        run_grid(grid, tmp_path / "out")
    for dataset in ("chaoyang", "mhist", "isic2018"):
        assert str(raised.value).count(f"{dataset}: expected a folder") == 1
        assert f"{dataset}_resnet34, {dataset}_resnet50: " in str(raised.value)
    assert not (tmp_path / "out").exists()
    changes = [f"grid.{key}.dataset.name=digits" for key in grid.experiments if "mhist" in key]
    changes += [f"dataset.data_dir={tmp_path}", "backbone.name=small_residual_cnn"]
    rest = load_grid("ls_plus_paper", [*changes, "backbone.weights=null"])
    hint = "to make the others alone, add --only mhist_resnet34,mhist_resnet50"
    with pytest.raises(MissingDataError, match=hint):
        run_grid(rest, tmp_path / "out")


# --- making and reporting -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small grid, trained with a linear network."""
    root = tmp_path_factory.mktemp("grid")
    (root / "small.yaml").write_text(SMALL, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "build_classifier", Linear().build)
        run_grid(load_grid(root / "small.yaml"), root / "out", methods=["hard_labels", "ls_plus"])
    return root


def test_each_experiment_has_a_folder_of_its_own(made: Path):
    found = {path.parent.relative_to(made / "out") for path in made.rglob("model.keras")}
    assert {path.as_posix() for path in found} == {
        f"{key}/{method}/seed_0" for key in ("few", "many") for method in ("hard_labels", "ls_plus")
    }
    assert load_grid(made / "out" / "grid.yaml") == load_grid(made / "small.yaml")


def test_the_command_goes_on_and_joins_the_tables(made: Path, tmp_path: Path, call, monkeypatch):
    out = shutil.copytree(made / "out", tmp_path / "out")
    kept = (out / "few/ls_plus/seed_0/model.keras").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        leave_out_pictures(patch)
        ended = call("reproduce", made / "small.yaml", "--out", out, "--methods", "ls_plus")
    assert ended.code == 0, ended.stderr
    assert "2 already finished" in ended.stdout
    assert (out / "few/ls_plus/seed_0/model.keras").stat().st_mtime_ns == kept
    table = pd.read_csv(out / "report_selected" / "table.csv")
    assert table[["experiment", "method", "seeds"]].to_numpy().tolist() == [
        [key, method, 1] for key in ("few", "many") for method in ("hard_labels", "ls_plus")
    ]
    own = pd.read_csv(out / "many" / "report_selected" / "table.csv")
    assert table["accuracy_mean"].tolist()[2:] == own["accuracy_mean"].tolist()
    # The whole: what is not finished is named, and the optional method is there as it is finished.
    ended = call("report", out)
    assert ended.code == 0, ended.stderr
    own_page = (out / "few" / "report" / "report.html").read_text(encoding="utf-8")
    assert "Experiment small, few" in own_page
    named = "label_smoothing seed 0, online_label_smoothing seed 0"
    assert f"Not finished: few: {named}" in ended.stdout
    text = (out / "report" / "table.md").read_text(encoding="utf-8")
    assert text.startswith("# small: test splits\n")
    assert f"- many: {named}" in text
    page = (out / "report" / "report.html").read_text(encoding="utf-8")
    assert "2 of 2 experiments, 4 of 8 runs" in page
    assert "Experiments side by side" in page
    assert Image.open(out / "report" / "experiments.png").width > 1000
    assert not (out / "report" / "paper.md").exists()
    # And again, over its own report.
    leave_out_pictures(monkeypatch)
    assert call("report", out).code == 0


@pytest.mark.usefixtures("without_pictures")
def test_shards_wait_for_the_last(made: Path, tmp_path: Path, call):
    out = shutil.copytree(made / "out", tmp_path / "out")
    ended = call("reproduce", made / "small.yaml", "--out", out, "--shard", "1/9", "--only", "few")
    assert ended.code == 0, ended.stderr
    assert "2 runs of other shards are not finished" in ended.stdout
    assert not (out / "report").exists()
    # Of what is asked for all is there: the other experiment is not waited for.
    shutil.rmtree(out / "many")
    chosen = ("--shard", "1/1", "--only", "few", "--methods", "hard_labels,ls_plus")
    ended = call("reproduce", made / "small.yaml", "--out", out, *chosen)
    assert ended.code == 0, ended.stderr
    assert (out / "report_selected" / "table.md").exists()


@pytest.mark.usefixtures("without_pictures")
def test_one_experiment_that_fails_does_not_stop_the_others(made: Path, tmp_path: Path, call):
    """It is trained, as grids are by the command, in a process of its own, with its network."""
    out = tmp_path / "out"
    (out / "few").mkdir(parents=True)
    (out / "grid.yaml").write_text(load_grid(made / "small.yaml").to_yaml())
    shutil.copytree(made / "out" / "many", out / "many")
    change = "grid.few.protocol.optimizer.learning_rate=1e30"
    arguments = ("--methods", "hard_labels", "--out", out, "--set", change)
    ended = call("reproduce", made / "small.yaml", *arguments)
    assert ended.code == 1, ended.stderr
    assert "few: 1 of 1 runs failed: hard_labels seed 0 (protocol: the training loss" in (
        ended.stderr
    )
    table = pd.read_csv(out / "report_selected" / "table.csv")
    assert table["experiment"].tolist() == ["many"]


def test_runs_of_other_settings_are_not_joined(made: Path, tmp_path: Path, call):
    """Of experiments that a call leaves alone, too."""
    out = shutil.copytree(made / "out", tmp_path / "out")
    before = (out / "grid.yaml").read_bytes()
    arguments = (made / "small.yaml", "--out", out, "--only", "few")
    for change in ("protocol.epochs=2", "grid.many.backbone.width=0.25"):
        for more in ((), ("--dry-run",)):
            ended = call("reproduce", *arguments, "--set", change, *more)
            assert ended.code == 2, ended.stdout
            assert ended.stderr.startswith("error: --out: ")
            assert "--set grid.NAME.KEY=VALUE changes one experiment alone" in ended.stderr
    assert (out / "grid.yaml").read_bytes() == before


@pytest.mark.usefixtures("linear_network", "without_pictures")
def test_seeds_of_one_experiment_are_reported(made: Path, tmp_path: Path, call):
    out = shutil.copytree(made / "out", tmp_path / "out")
    arguments = ("--set", "seeds=[0,7]", "--only", "few", "--methods", "hard_labels")
    assert call("reproduce", made / "small.yaml", "--out", out, *arguments).code == 0
    ended = call("report", out, "--seeds", "7")
    assert ended.code == 0, ended.stderr
    assert "many: all 3 runs" in ended.stdout
    assert pd.read_csv(out / "report_selected" / "table.csv")["experiment"].tolist() == ["few"]


@pytest.mark.parametrize("what", ["theirs", "an experiment", "another grid", "a file"])
def test_a_folder_that_is_not_the_grids_is_refused(small: Path, tmp_path: Path, call, what: str):
    out = tmp_path / "out"
    if what == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
    if what == "theirs":
        (out / "thesis.txt").write_text("mine")
    elif what == "an experiment":
        made_up_runs(load_config("digits"), out, 10)
    elif what == "another grid":
        (out / "grid.yaml").write_text(load_grid(small, ["grid.third={config: digits}"]).to_yaml())
    before = {path: path.is_file() and path.read_bytes() for path in [out, *out.rglob("*")]}
    for more in ((), ("--dry-run",)):
        ended = call("reproduce", small, "--out", out, *more)
        assert ended.code == 2
        assert ended.stderr.startswith("error: --out: ")
        assert ended.stderr.count("\n") == 1
    assert {p: p.is_file() and p.read_bytes() for p in [out, *out.rglob("*")]} == before


def test_a_report_in_the_way_is_told_before_the_training(small: Path, tmp_path: Path, call):
    out = tmp_path / "out"
    (out / "report").mkdir(parents=True)
    (out / "report" / "thesis.txt").write_text("mine")
    (out / "grid.yaml").write_text(load_grid(small).to_yaml())
    ended = call("reproduce", small, "--out", out)
    assert ended.code == 2
    assert "thesis.txt" in ended.stderr
    assert not (out / "few").exists()
    # The same in the way of an experiment's own.
    (out / "many").mkdir()
    (out / "report").rename(out / "many" / "report")
    (out / "many" / "experiment.yaml").write_text(to_yaml(load_grid(small).experiments["many"]))
    ended = call("reproduce", small, "--out", out)
    assert ended.code == 2
    assert "thesis.txt" in ended.stderr
    assert not (out / "few").exists()


def test_options_that_mean_nothing(small: Path, call):
    ended = call("reproduce", "digits", "--only", "mhist")
    assert (ended.code, ended.stderr) == (
        2,
        "error: --only: digits is one experiment, expected a grid of them\n",
    )
    ended = call("reproduce", small, "--all-methods", "--methods", "ls_plus")
    assert ended.code == 2
    assert ended.stderr.startswith("error: --all-methods: ")


@pytest.mark.usefixtures("linear_network")
def test_a_dry_run_reckons_all(small: Path, tmp_path: Path, call):
    ended = call("reproduce", small, "--out", tmp_path / "out", "--dry-run")
    assert ended.code == 0, ended.stderr
    rows = [[c.strip() for c in line.split("│")[1:3]] for line in ended.stdout.split("\n")]
    assert ["few", "4 of 4"] in rows
    assert ["many", "3 of 3"] in rows
    assert ["all", "7 of 7"] in rows
    ended = call("reproduce", small, "--out", tmp_path / "out", "--dry-run", "--all-methods")
    assert "8 of 8" in ended.stdout
    assert not (tmp_path / "out").exists()


# --- the papers' tables ---------------------------------------------------------------------------


@pytest.mark.usefixtures("without_pictures", "without_the_papers_figures")
@pytest.mark.parametrize("name", ["ls_plus_paper", "ols_paper"])
def test_the_joined_table_beside_the_printed_one(tmp_path: Path, call, name: str):
    grid = load_grid(CONFIGS / f"{name}.yaml", ["backbone.weights=null"])
    out = tmp_path / "out"
    out.mkdir()
    (out / "grid.yaml").write_text(grid.to_yaml())
    *there, absent = list(grid.experiments)[:3]
    for key in there:
        experiment = grid.experiments[key]
        made_up_runs(experiment, out / key, CLASSES[experiment.dataset.name])
    shutil.rmtree(out / there[0] / "label_smoothing" / "seed_1")
    ended = call("report", out)
    assert ended.code == 0, ended.stderr
    assert f"Not finished: {there[0]}: label_smoothing seed 1\n" in ended.stdout
    missing = "18" if name == "ls_plus_paper" else "4"
    assert f"Not finished: {absent}: all {missing} runs\n" in ended.stdout
    table = pd.read_csv(out / "report" / "paper.csv", keep_default_na=False)
    expected = pd.concat(
        printed.cells_of(each.dataset.name, each.backbone.name.removesuffix("_preact"))
        for key, each in grid.experiments.items()
        if key in there
    )
    if name == "ols_paper":  # with one seed, that of a method is all
        left = expected["method"].eq("label_smoothing") & expected["backbone"].eq("resnet50")
        expected = expected[~left]
    found, wanted = (
        set(frame[["dataset", "backbone", method, "metric"]].itertuples(index=False, name=None))
        for frame, method in ((table, "printed_method"), (expected, "method"))
    )
    assert found == wanted
    text = (out / "report" / "paper.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}: measured beside the paper's tables\n")
    assert "No finished run yet." in text
    assert "LS, seed 1: not finished" in text
    own = pd.read_csv(out / there[0] / "report" / "paper.csv", keep_default_na=False)
    joined = table[: len(own)]
    pd.testing.assert_frame_equal(own, joined)
    assert "nan" not in text
