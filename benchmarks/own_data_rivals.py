"""The labels that other tools give the same answers, beside those of a run of OwnData/main.py.

    python3 benchmarks/own_data_rivals.py ANSWERS.csv TRUTH.csv RUN [--features FILE | --probabilities FILE] [--keep DIR]

Wants crowd-kit, cleanlab and peerannot in an environment of their own, as far as they install; those that are missing are
omitted. RUN's labels.csv is read. cleanlab needs predictions by a plain classifier that has not seen an item's labels: of a
logistic regression, out of five folds, on the majority vote and --features, a table of numbers with the items' names; or
--probabilities, a table of them. Without either it is omitted. --keep writes each tool's labels to a file.
"""
import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd


def crowd_kit(answers):
    """{name: function to Series of labels by task}."""
    from crowdkit import aggregation
    return {f"crowd-kit {name}": lambda kind=kind: kind().fit_predict(answers) for name, kind in (
        ("majority vote", aggregation.MajorityVote),
        ("Dawid-Skene", lambda: aggregation.DawidSkene(n_iter=100)),
        ("one-coin Dawid-Skene", lambda: aggregation.OneCoinDawidSkene(n_iter=100)),
        ("GLAD", aggregation.GLAD))}


def cleanlab(answers, features, probabilities):
    from cleanlab.multiannotator import get_label_quality_multiannotator, get_majority_vote_label
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    classes = sorted(answers.label.unique())
    number = {name: c for c, name in enumerate(classes)}
    wide = answers.assign(label=answers.label.map(number)).pivot_table(index="task", columns="worker", values="label",
                                                                       aggfunc="first")

    def labels():
        if probabilities is not None:
            held_out = probabilities.loc[wide.index, classes].to_numpy()
        else:
            votes = get_majority_vote_label(wide.to_numpy())
            # a class with fewer votes than folds stops the cross-validation: such items are out of it all the same
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            held_out = cross_val_predict(model, features.loc[wide.index].to_numpy(), votes, cv=5, method="predict_proba")
        quality = get_label_quality_multiannotator(wide.to_numpy(), held_out, verbose=False)["label_quality"]
        return pd.Series([classes[c] for c in quality["consensus_label"]], wide.index)
    return {"cleanlab multiannotator": labels}


def peerannot(answers):
    from peerannot.models import agg_strategies
    tasks, workers, classes = (sorted(answers[name].unique()) for name in ("task", "worker", "label"))
    place = [{name: k for k, name in enumerate(names)} for names in (tasks, workers, classes)]
    votes = {}
    for task, worker, label in answers[["task", "worker", "label"]].itertuples(index=False):
        votes.setdefault(place[0][task], {})[place[1][worker]] = place[2][label]

    def labels(kind):
        wanted = {"n_classes": len(classes), "n_workers": len(workers)}
        if kind is not agg_strategies["dawid_skene"]:  # it takes no more than it needs
            wanted |= {"n_task": len(tasks), "dataset": Path(".")}
        model = kind(votes, **wanted)
        if hasattr(model, "run"):
            model.run()
        return pd.Series([classes[c] for c in np.asarray(model.get_answers()).astype(int)], tasks)
    return {f"peerannot {name}": lambda kind=kind: labels(kind) for name, kind in agg_strategies.items()
            if name in ("majority_voting", "dawid_skene", "glad", "wds", "wawa", "iwmv")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("answers", "truth", "run"):
        parser.add_argument(name)
    for name in ("features", "probabilities"):
        parser.add_argument(f"--{name}", type=lambda file: pd.read_csv(file, dtype={"task": str}).set_index("task"))
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    answers = pd.read_csv(options.answers, dtype=str)
    truth = pd.read_csv(options.truth, dtype=str).set_index("task").label
    own = pd.read_csv(Path(options.run) / "labels.csv", dtype=str).set_index("item").label
    names = sorted(answers.label.unique())
    if not own.isin(names).all():  # labels by their numbers
        own = own.map(lambda label: names[int(label)])
    rivals = {"this project": lambda: own}
    for name, find in (("crowd-kit", lambda: crowd_kit(answers)), ("peerannot", lambda: peerannot(answers)),
                       ("cleanlab", lambda: cleanlab(answers, options.features, options.probabilities)
                        if options.features is not None or options.probabilities is not None else {})):
        try:
            rivals |= find()
        except ImportError as error:
            print(f"{name} is left out: {error}")
    for name, labels in rivals.items():
        started = time.perf_counter()
        try:
            given = labels()
        except Exception as error:  # one tool that fails must not keep the others from being measured
            print(f"{name:32} failed: {type(error).__name__}: {str(error)[:120]}")
            continue
        print(f"{name:32} {100 * (given == truth.reindex(given.index)).mean():6.2f} %  "
              f"{time.perf_counter() - started:6.1f} s", flush=True)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            pd.Series(given, name="label").rename_axis("task").to_csv(options.keep / f"{name.replace(' ', '-')}.csv")


if __name__ == "__main__":
    main()
