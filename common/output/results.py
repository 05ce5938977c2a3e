"""Scores, the table on the screen, and the files a run leaves: labels.csv, annotators.csv, confusion.npz."""
import csv

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from common.crowd import CrowdLabels, confusion_from, majority_vote


def accuracy(labels, truth):
    """The share of labels (N,) that are right, among the items whose truth (N,) is known; None if none is."""
    known = truth >= 0
    return (labels == truth)[known].double().mean().item() if known.any() else None


def scores(probabilities, truth):
    """{"test_accuracy", "test_auc"} of probabilities (N, C); the AUC only with two classes, both in the truth."""
    known = truth >= 0
    auc = None
    if probabilities.shape[1] == 2 and len(truth[known].unique()) == 2 and probabilities.isfinite().all():
        auc = float(roc_auc_score(truth[known].cpu(), probabilities[known, 1].cpu()))
    return {"test_accuracy": accuracy(probabilities.argmax(1), truth), "test_auc": auc}


def epochs_that_count(rows):
    """Of one method's rows in metrics.csv: the scores of the last epoch, of the best by test accuracy, and of the one
    selected by validation accuracy where there is one; the first of equals. None where no test item's truth is known."""
    def pick(row):
        return {name: row[name] for name in ("test_accuracy", "test_auc")}
    if not rows or rows[-1]["test_accuracy"] is None:
        return {"last": None, "best": None, "best_epoch": None}
    best = max(rows, key=lambda row: row["test_accuracy"])
    summary = {"last": pick(rows[-1]), "best": pick(best), "best_epoch": best["epoch"]}
    if "valid_accuracy" in rows[0]:
        selected = max(rows, key=lambda row: row["valid_accuracy"])
        summary |= {"selected": pick(selected), "selected_epoch": selected["epoch"]}
    return summary


METRICS = ("epoch", "method", "loss", "test_accuracy", "test_auc", "seconds")


def write_rows(file, rows):
    """Dictionaries as csv, with the columns of the first; those of metrics.csv where there are none."""
    writer = csv.DictWriter(file, rows[0] if rows else METRICS)
    writer.writeheader()
    writer.writerows(rows)


def write_labels(file, items, belief):
    """A row for each training item under its own name: truth, majority vote, the aggregated label, how sure it is.

    belief: (N, C), the probabilities of the aggregated labels.
    """
    confidence, label = belief.max(1)
    votes = majority_vote(items.crowd)
    columns = [items.names, _blank(items.truth), _blank(votes), label.tolist(), confidence.tolist(), *belief.T.tolist()]
    writer = csv.writer(file)
    writer.writerow(["item", "truth", "majority_vote", "label", "confidence"]
                    + [f"p_{c}" for c in range(belief.shape[1])])
    writer.writerows(zip(*columns, strict=True))


def _blank(labels):
    """As a list, with nothing in place of -1."""
    return ["" if label < 0 else label for label in labels.tolist()]


def true_confusion(items):
    """float32 (M, C, C): the annotators' confusion matrices counted with the true labels of the items (Items) where
    they are known; a row is NaN where the annotator labelled no item of that class."""
    known = torch.nonzero(items.truth >= 0)[:, 0]
    crowd = items.crowd.select(known)
    truth = torch.nn.functional.one_hot(items.truth[known], crowd.classes).float()
    seen = crowd.count_confusion(truth).sum(2, keepdim=True) > 0
    return torch.where(seen, confusion_from(crowd, truth), torch.nan)


def agreement(crowd: CrowdLabels, labels):
    """(M,): how often each annotator's labels are those in `labels` (N,), where these are not -1; NaN for none."""
    reference = labels[crowd.item]
    known = reference >= 0
    right = torch.bincount(crowd.annotator, (crowd.label == reference).double() * known, crowd.annotators)
    return right / torch.bincount(crowd.annotator, known.double(), crowd.annotators)


def write_annotators(file, items, names, belief, confusion):
    """A row for each annotator: how many labels, how often they agree with the aggregated label, how accurate the
    method takes the annotator to be (its matrix weighed with the classes' shares in belief), how accurate he is."""
    crowd = items.crowd
    estimated = torch.einsum("mcc,c->m", confusion, belief.mean(0))
    columns = [torch.bincount(crowd.annotator, minlength=crowd.annotators), agreement(crowd, belief.argmax(1)),
               estimated, agreement(crowd, items.truth)]
    writer = csv.writer(file)
    writer.writerow(["annotator", "labels", "agreement", "estimated_accuracy", "true_accuracy"])
    for name, *row in zip(names, *(column.tolist() for column in columns), strict=True):
        writer.writerow([name, *("" if value != value else value for value in row)])  # NaN is not equal to itself


def write_confusion(file, estimated, true):
    np.savez(file, estimated=estimated.cpu().numpy(), true=true.cpu().numpy())


def memorized(predicted, items):
    """(M,): the share of each annotator's wrong labels that the predictions (N,) repeat; NaN for one without any."""
    crowd, item = items.crowd, items.crowd.item
    truth = items.truth[item]
    wrong = (truth >= 0) & (crowd.label != truth)
    repeated = wrong & (crowd.label == predicted[item])
    count = [torch.bincount(crowd.annotator, mask.double(), crowd.annotators) for mask in (repeated, wrong)]
    return count[0] / count[1]


def annotator_error(true, estimated):
    """(M,): E_m, the mean of abs(T_m - T^_m) / T_m over the entries of T_m above zero; NaN where there are none.

    true: T, (M, C, C), NaN in the rows that are not known; estimated: T^, (M, C, C).
    """
    known = true > 0
    ratio = torch.where(known, (true - estimated).abs() / true, 0).sum((1, 2))
    return ratio / known.sum((1, 2))


def write_annotator_error(file, names, errors):
    """A row for each annotator, a column for each method. errors: {method: (M,)}."""
    writer = csv.writer(file)
    writer.writerow(["annotator", *errors])
    for name, *row in zip(names, *(error.tolist() for error in errors.values()), strict=True):
        writer.writerow([name, *("" if value != value else value for value in row)])


def table(summary):
    """The summary's methods as text: last epoch first, the best test epoch beside it and named for what it is."""
    methods = summary["methods"]
    with_auc = any(m["last"] and m["last"]["test_auc"] is not None for m in methods.values())
    with_selected = any("selected" in m for m in methods.values())
    header = ["method", "last epoch"] + ["last AUC"] * with_auc + ["selected epoch"] * with_selected
    header += ["best test epoch"] + ["its AUC"] * with_auc
    header += ["training labels", "seconds"]
    rows = [header]
    for name, method in methods.items():
        last, best = method["last"] or {}, method["best"] or {}
        row = [name, percent(last.get("test_accuracy"))] + [percent(last.get("test_auc"))] * with_auc
        if with_selected:
            row += [f"{percent(method['selected']['test_accuracy'])} ({method['selected_epoch']})"
                    if "selected" in method else ""]
        row += [f"{percent(best.get('test_accuracy'))} ({method['best_epoch']})"] if best else [""]
        row += [percent(best.get("test_auc"))] * with_auc
        row += [percent(method["train_label_accuracy"]), "" if method["seconds"] is None else f"{method['seconds']:.1f}"]
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def percent(share):
    """0.1234 as 12.34, nothing for None."""
    return "" if share is None else f"{100 * share:.2f}"
