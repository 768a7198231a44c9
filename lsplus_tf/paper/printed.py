"""The numbers that the papers print, and those beside the LS+ authors' code, as data.

Sources: "LS+" is Sambyal et al., MICCAI 2024; "OLS on RadImageNet" is Choudhury et al., arXiv
2510.20011; the repository is github.com/abhisheksambyal/lsplus at commit 6618d89. Methods, metrics
and backbones have this package's names. The column `note` names what cannot be right.
"""

from __future__ import annotations

from importlib import resources

import pandas as pd


def printed_tables() -> pd.DataFrame:
    """Every number in a table of the two papers.

    Returns
    -------
    DataFrame
        Columns paper (ls_plus, ols_radimagenet), table, dataset, backbone, method, metric, mean, sd
        (NaN where none is printed), note ("" for most). `ls_plus` prints percent (NLL and Brier
        times 100 too), mean and SD of three runs. `ols_radimagenet` prints errors in percent, and
        in table_2 ECE and mean confidence as fractions; two blocks of numbers stand under its Table
        1.
    """
    return _read("printed_tables").fillna({"note": ""})


def table_1() -> pd.DataFrame:
    """Table 1 of the LS+ paper: dataset, backbone, method, metric, mean, sd, note."""
    return _table("ls_plus", "table_1")


def radimagenet_errors() -> pd.DataFrame:
    """The second block of Table 1 of OLS on RadImageNet; the first block is impossible."""
    return _table("ols_radimagenet", "table_1_second_block")


def radimagenet_confidence() -> pd.DataFrame:
    """Table 2 of OLS on RadImageNet, as fractions."""
    return _table("ols_radimagenet", "table_2")


def cells_of(dataset: str, backbone: str) -> pd.DataFrame:
    """All printed cells of a data set and network, whichever paper has them, in percent.

    Returns
    -------
    DataFrame
        Columns dataset, backbone, method, metric, mean, sd, note; no rows where no paper has them.
    """
    confidence = radimagenet_confidence()
    confidence["mean"] = (100 * confidence["mean"]).round(10)
    both = pd.concat([table_1(), radimagenet_errors(), confidence])
    return both[(both["dataset"] == dataset) & (both["backbone"] == backbone)]


def temperature_scaling() -> pd.DataFrame:
    """The tables of the repository's README after temperature scaling: means in percent, no SDs."""
    return _read("temperature_scaling")


def class_accuracy_constants() -> pd.DataFrame:
    """The class accuracies V that are typed into the repository's distiller.py, d1 to d3.

    Returns
    -------
    DataFrame
        Columns dataset, backbone, in_use ("yes": not commented out), learning_rate (of the
        hard-label runs they come from, as a comment there says), class_index, constant.
    """
    return _read("class_accuracy_constants")


def _table(paper: str, table: str) -> pd.DataFrame:
    everything = printed_tables()
    chosen = everything[(everything["paper"] == paper) & (everything["table"] == table)]
    return chosen.drop(columns=["paper", "table"]).reset_index(drop=True)


def _read(name: str) -> pd.DataFrame:
    with resources.files("lsplus_tf.paper").joinpath("data", f"{name}.csv").open("rb") as file:
        return pd.read_csv(file)
