"""Write methods.csv: which differences of these pages are about the methods, and not the networks.

    python docs/results/methods.py

The intervals.csv of the older pages were made when a report resampled the images alone, so that
their intervals and tests are about these networks on new images. Here the spread of the seeds
(runs.csv) is added to the images' variance (that of intervals.csv, by the width of its intervals),
as a report does with the predictions (`lsplus_tf.results.uncertainty`). The images' variance holds
that of each run on the images as well, which the seeds' spread has too: these tests find rather
less than a report would. Ensembles are single predictions, of which nothing can be said.
"""

from pathlib import Path

import pandas as pd
from scipy import stats

from lsplus_tf.metrics import METRICS
from lsplus_tf.metrics.method_comparison import COMPARED, Estimate, judge

HERE = Path(__file__).parent
# The pages were made when the negative log-likelihood had another key.
RENAMED = {"ce": "nll"}
_IMAGES = 624  # of PneumoniaMNIST's test split; the degrees of freedom hardly depend on it


def tests_of(page: Path) -> pd.DataFrame:
    """Every row of a page that has several runs, less the first; a family for each metric."""
    runs = pd.read_csv(page / "runs.csv").rename(columns=RENAMED)
    intervals = pd.read_csv(page / "intervals.csv").replace({"metric": RENAMED})
    first = intervals["method"].iloc[0]
    values = runs.set_index(["method", "seed"])
    tables = []
    for metric in COMPARED:
        of_first = values.loc[first, metric]
        estimates = {}
        for row in intervals[intervals["metric"] == metric].to_dict("records"):
            method = row["method"]
            if method == first or method not in values.index:
                continue
            of_method = values.loc[method, metric]
            width = row["difference_high"] - row["difference_low"]
            samples = [of_method, of_first]
            if method.startswith(f"{first}+"):  # the same networks
                samples = [of_method - of_first]
            estimates[method] = Estimate(
                float(of_method.mean() - of_first.mean()),
                tuple((float(each.var(ddof=1)), len(each)) for each in samples),
                (width / (2 * stats.norm.ppf(0.975))) ** 2,
                _IMAGES,
            )
        judged = judge(estimates, dict.fromkeys(estimates, METRICS[metric].better))
        found = pd.DataFrame([vars(each) for each in judged.values()])
        found = found.rename(columns={"value": "difference"})
        found.insert(0, "method", list(judged))
        found.insert(0, "metric", metric)
        tables.append(found)
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "page", page.name)
    return table


def tests() -> pd.DataFrame:
    """Of all pages with such intervals; newer ones say what their tests are about."""
    pages = [path.parent for path in sorted(HERE.glob("*/runs.csv"))]
    older = [page for page in pages if "about" not in pd.read_csv(page / "intervals.csv").columns]
    return pd.concat([tests_of(page) for page in older])


if __name__ == "__main__":
    tests().to_csv(HERE / "methods.csv", index=False, float_format="%.6g")
