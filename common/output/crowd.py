"""What a run leaves of the crowd: labels.csv, annotators.csv, agreement.csv, next.csv and the confusion matrices."""
from collections import Counter
from dataclasses import asdict

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from common.crowd import agreement, annotators
from common.crowd.labels import majority_vote
from common.evaluation import metrics
from common.output import plots
from common.output.csv_files import notice_formulas, write_columns


def describe_crowd(items, names, class_names, estimates, source, crowd):
    """({table: {column: values}}, summary): what labels.csv, annotators.csv, agreement.csv and next.csv have, and what the
    summary says of them.

    items: Items, with each label once; names: the annotators'; class_names: the classes' names where they shall replace
    numbers, else None; estimates: {name: float (N, C)}, all that is said of the items; source: which of them the
    labels follow; crowd: its FittedCrowd.
    """
    posterior = estimates[source]
    pairs = agreement.cohen_kappas(items.crowd)
    # without gold labels, which would make the others look alike, and the next one good
    given = items.crowd.keep(~items.by_gold()).to("cpu")
    counted = torch.bincount(given.annotator, minlength=given.annotators).numpy() > 0
    average = annotators.pooled_confusion(crowd.model, crowd.labels, counted)
    gains = annotators.expected_gain(crowd.labels.posterior, average)
    tables = {"labels": label_columns(items, posterior, estimates, class_names),
              "annotators": annotator_columns(items, names, posterior, crowd, class_names),
              "agreement": pairs | {side: [names[m] for m in pairs[side]] for side in ("first", "second")},
              "next": next_items(items, posterior, gains, class_names)}
    about, votes, voted = tables["annotators"], given.votes().double().numpy(), majority_vote(items.crowd)
    whole = {"krippendorff_alpha": agreement.krippendorff_alpha(votes), "fleiss_kappa": agreement.fleiss_kappa(votes)}
    return tables, {
        "label_source": source, "label_accuracy": metrics.accuracy(posterior.argmax(1), items.truth),
        "calibration_error": metrics.calibration_error(posterior, items.truth),
        "label_estimates": {name: metrics.accuracy(p.argmax(1), items.truth) for name, p in estimates.items()},
        "label_shares": (torch.bincount(posterior.argmax(1), minlength=posterior.shape[1]) / len(posterior)).tolist(),
        "majority_vote_accuracy": metrics.accuracy(voted, torch.where(voted >= 0, items.truth, -1)),
        "outvoted": int(outvoted(items, posterior).sum()),
        "annotator_correlation": correlations(about, items, estimates),
        "flags": dict(Counter("copies" if flag.startswith("copies ") else flag for flag in about["flag"] if flag)),
        "copies": describe_copies(crowd.copies, names),
        "agreement": {name: value and asdict(value) for name, value in whole.items()}}


def write_crowd(folder, items, names, class_names, estimates, source, crowd, model_confusion=None):
    """Writes all files of the crowd. Returns what the summary says of them.

    folder: RunFolder; model_confusion: (M, C, C), the matrices inside a method, or None; the others as in describe_crowd.
    """
    tables, summary = describe_crowd(items, names, class_names, estimates, source, crowd)
    for name, columns in tables.items():
        folder.write(f"{name}.csv", lambda file, columns=columns: write_columns(file, columns), newline="")
    confusion, true = crowd.confusion(), metrics.true_confusion(items).cpu().numpy()
    folder.write("confusion.npz", lambda file: np.savez(
        file, estimated=confusion.astype(np.float32), true=true,
        **({} if model_confusion is None else {"model": model_confusion.cpu().numpy()})), "wb")
    folder.write("confusion.png", lambda file: plots.confusions(
        file, confusion, true, names, crowd.model.number, f"{folder.path.name}: confusion matrices by {source}",
        class_names), "wb")
    if class_names:
        named = confusion_table(confusion, names, class_names)
        folder.write("confusion.csv", lambda file: named.round(4).to_csv(file, index=False), newline="")
    notice_formulas(items.names, names, class_names or ())
    return summary


def confusion_table(confusion, names, classes):
    """A DataFrame with a row for each annotator and true class, a column for each class: how often the one says that of the
    other. confusion: (M, C, C), rows the true class."""
    columns = {"annotator": np.repeat(names, len(classes)), "true class": np.tile(classes, len(names))}
    shares = confusion.reshape(-1, len(classes)).T
    return pd.DataFrame(columns | dict(zip(class_columns(classes, columns), shares, strict=True)))


def describe_copies(copies, names):
    """The evidence of each pair of Copies, a list of dictionaries."""
    columns = copies.first, copies.second, copies.common, copies.shared, copies.expected
    return [{"first": names[first], "second": names[second], "items": int(items), "shared_errors": round(float(shared), 1),
             "expected_by_chance": round(float(expected), 1)}
            for first, second, items, shared, expected in zip(*columns, strict=True)]


def outvoted(items, posterior):
    """bool (N,): whether an item's label by the posterior (N, C) has fewer votes than another class."""
    votes = items.crowd.votes()
    return votes.gather(1, posterior.argmax(1, keepdim=True))[:, 0] < votes.max(1).values


def label_columns(items, posterior, estimates, class_names=None):
    """labels.csv's columns; a row for each training item under its own name.

    Its truth, the majority vote, the label, its confidence and the probabilities of the classes, and what other estimates
    say; with class_names also the number of answers and the share of them that agree.

    posterior: (N, C), of the labels; estimates: {name: (N, C)}; class_names: they replace the
    classes' numbers, and p_0, p_1, ... as the names of the columns.
    """
    confidence, label = posterior.max(1)
    columns = {"item": items.names, "truth": named(items.truth, class_names),
               "majority_vote": named(majority_vote(items.crowd), class_names), "label": named(label, class_names),
               "confidence": confidence.tolist()}
    if class_names:
        votes = items.crowd.votes().double()
        agreed = votes.gather(1, label[:, None])[:, 0] / votes.sum(1)
        columns |= {"answers": items.crowd.counts.tolist(), "agreement": agreed.tolist()}
    others = {name: named(says.argmax(1), class_names) for name, says in estimates.items() if name != "majority-vote"}
    classes = class_columns(class_names or [f"p_{c}" for c in range(posterior.shape[1])], (*columns, *others))
    return columns | dict(zip(classes, posterior.T.tolist(), strict=True)) | others


def class_columns(classes, taken):
    """The columns of the classes' probabilities in a file that has those `taken` too: their names, p_truth for `truth`."""
    used, columns = {*taken, *classes}, []
    for name in classes:
        column = name
        while column in taken or column != name and column in used:
            column = f"p_{column}"
        used.add(column)
        columns.append(column)
    return columns


def named(labels, class_names=None):
    """Labels (N,) as a list, with nothing for -1, and with the classes' names where they are given."""
    return ["" if label < 0 else class_names[label] if class_names else label for label in labels.tolist()]


def next_items(items, posterior, gains, class_names=None):
    """next.csv's columns: the items in the order in which another answer says most. gains: (N,), in bits."""
    order = torch.from_numpy(np.argsort(-gains, kind="stable"))
    confidence, label = posterior[order].max(1)
    return {"item": [items.names[i] for i in order.tolist()], "label": named(label, class_names),
            "confidence": confidence.tolist(), "gain_bits": gains[order.numpy()]}


def annotator_columns(items, names, posterior, crowd, class_names=None):
    """annotators.csv's columns.

    The number of labels; how often they agree with the aggregated label; the estimated accuracy and its 95 % interval;
    the bits that a label says of the true class; kappa with the other annotators' labels; the most common label and its
    share; what is odd (annotators.flags); the true accuracy. An annotator without labels has no numbers.

    posterior: (N, C); crowd: FittedCrowd.
    """
    model, labels = crowd.model, crowd.labels
    given, silent = model.given, model.number == 0
    accuracy, low, high = annotators.accuracies(model, labels)
    kappa = annotators.kappas(model, labels)
    bits = annotators.information(crowd.confusion(), labels.posterior.mean(0))
    most = named(torch.from_numpy(np.where(silent, -1, given.argmax(1))), class_names)
    share = np.where(silent, np.nan, given.max(1) / np.maximum(model.number, 1))
    return {"annotator": names, "labels": model.number,
            "agreement": metrics.agreement(items.crowd, posterior.argmax(1)).tolist(),
            "estimated_accuracy": accuracy, "accuracy_low": low, "accuracy_high": high,
            "information_bits": np.where(silent, np.nan, bits), "kappa": kappa.value,
            "common_label": most, "common_share": share,
            "flag": annotators.flags(model, kappa, labels.annotators, crowd.copies, names),
            "true_accuracy": metrics.agreement(items.crowd, items.truth).tolist()}


def correlations(people, items, estimates):
    """{way: Spearman's correlation with the annotators' true accuracies}, None where either has no two values.

    The ways are the estimated accuracy, the agreement with the majority vote, and the accuracy by Dawid-Skene.
    """
    crowd, true = items.crowd, np.array(people["true_accuracy"])
    by_model = metrics.mean_by_annotator(crowd, estimates["dawid-skene"][crowd.item, crowd.label.long()])
    ways = {"estimated": people["estimated_accuracy"], "dawid-skene": by_model.numpy(),
            "majority-vote": metrics.agreement(crowd, majority_vote(crowd)).cpu().numpy()}
    found = {}
    for name, accuracies in ways.items():
        known = np.isfinite(true) & np.isfinite(accuracies)
        varied = known.any() and np.ptp(true[known]) > 0 < np.ptp(accuracies[known])
        found[name] = float(spearmanr(true[known], accuracies[known]).statistic) if varied else None
    return found
