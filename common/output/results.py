"""Scores, the table on the screen, and the files a run leaves: labels.csv, annotators.csv, confusion.npz."""
import csv

import torch

from common.crowd.labels import CrowdLabels, confusion_from
from common.methods import FORECASTER

HELD_OUT = "held_out_log_likelihood"
SCORES = {"crowd": HELD_OUT, "valid": "valid_accuracy"}  # the column of metrics.csv by which an epoch is selected
BINS = 15  # of the expected calibration error


def accuracy(labels, truth):
    """The share of labels (N,) that are right, among the items whose truth (N,) is known; None if none is."""
    known = truth >= 0
    return (labels == truth)[known].double().mean().item() if known.any() else None


def scores(probabilities, truth):
    """{"test_accuracy", "test_auc"} of probabilities (N, C); the AUC only with two classes, both in the truth."""
    known = truth >= 0
    auc = None
    if probabilities.shape[1] == 2 and len(truth[known].unique()) == 2 and probabilities.isfinite().all():
        from sklearn.metrics import roc_auc_score  # takes a second, which most runs need not wait for
        auc = float(roc_auc_score(truth[known].cpu(), probabilities[known, 1].cpu()))
    return {"test_accuracy": accuracy(probabilities.argmax(1), truth), "test_auc": auc}


def calibration_error(belief, truth):
    """The expected calibration error of belief (N, C): the mean difference of confidence and accuracy, in bins of the
    confidence, over the items whose truth (N,) is known; None if none is."""
    known = truth >= 0
    if not known.any():
        return None
    confidence, label = belief[known].double().max(1)
    gap = (confidence - (label == truth[known]).double()).cpu()  # on a GPU a weighted sum has another order every time
    place = (confidence.cpu() * BINS).long().clamp(max=BINS - 1)
    return (torch.bincount(place, gap, BINS).abs().sum() / len(gap)).item()


def epochs_that_count(rows, select="none", method=None):
    """Of one method's rows in metrics.csv: the scores of the last epoch, of the best by test accuracy, and of the one
    selected by validation accuracy or held-out log-likelihood where there is one; the first of equals. A forecaster has
    the epoch of its `method`'s summary. None where no test item's truth is known."""
    def pick(row):
        return {name: row[name] for name in ("test_accuracy", "test_auc")}
    summary = {"last": None, "best": None, "best_epoch": None}
    if rows and select != "none":
        scored = [row for row in rows if SCORES[select] in row]
        selected = (max(scored, key=lambda row: row[SCORES[select]]) if scored
                    else next(row for row in rows if row["epoch"] == method["selected_epoch"]))
        summary |= {"selected": pick(selected), "selected_epoch": selected["epoch"]}
    if rows and rows[-1]["test_accuracy"] is not None:
        best = max(rows, key=lambda row: row["test_accuracy"])
        summary |= {"last": pick(rows[-1]), "best": pick(best), "best_epoch": best["epoch"]}
    return summary


METRICS = ("epoch", "method", "loss", "test_accuracy", "test_auc", "seconds")


def write_rows(file, rows):
    """Dictionaries as csv, with the columns of the first; those of metrics.csv where there are none."""
    writer = csv.DictWriter(file, rows[0] if rows else METRICS)
    writer.writeheader()
    writer.writerows(rows)


def true_confusion(items):
    """float32 (M, C, C): the annotators' confusion matrices counted with the true labels of the items (Items) where
    they are known; a row is NaN where the annotator labelled no item of that class."""
    known = torch.nonzero(items.truth >= 0)[:, 0]
    crowd = items.crowd.select(known)
    truth = torch.nn.functional.one_hot(items.truth[known], crowd.classes).float()
    seen = crowd.count_confusion(truth).sum(2, keepdim=True) > 0
    return torch.where(seen, confusion_from(crowd, truth), torch.nan)


def share_of(part, whole, crowd):
    """float64 (M,): for each annotator how many labels are in the part, by how many are in the whole; NaN for none. part,
    whole: bool (L,)."""
    part, whole = (torch.bincount(crowd.annotator[mask], minlength=crowd.annotators).double() for mask in (part, whole))
    return part / whole


def agreement(crowd: CrowdLabels, labels):
    """(M,): how often each annotator's labels are those in `labels` (N,), where these are not -1; NaN for none."""
    reference = labels[crowd.item]
    known = reference >= 0
    return share_of(known & (crowd.label == reference), known, crowd)


def mean_by_annotator(crowd, values):
    """float64 (M,): the mean of the values (L,) of each annotator's labels; NaN for none. On the CPU, where sums have one
    order."""
    annotator = crowd.annotator.cpu()
    return (torch.bincount(annotator, values.double().cpu(), crowd.annotators)
            / torch.bincount(annotator, minlength=crowd.annotators))


def memorized(predicted, items):
    """(M,): the share of each annotator's wrong labels that the predictions (N,) repeat; NaN for one without any."""
    crowd, item = items.crowd, items.crowd.item
    truth = items.truth[item]
    wrong = (truth >= 0) & (crowd.label != truth)
    repeated = wrong & (crowd.label == predicted[item])
    return share_of(repeated, wrong, crowd)


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
    """The summary's methods as text, those with the best held-out log-likelihood first where there is one: last epoch
    first, the best test epoch beside it and named for what it is."""
    rows = []
    for name, method in ranked(summary["methods"]).items():
        last, best = method["last"] or {}, method["best"] or {}
        rows.append({
            "method": name,
            "held-out LL": f"{method[HELD_OUT]:.4f}" if HELD_OUT in method else "",
            "last epoch": percent(last.get("test_accuracy")),
            "last AUC": percent(last.get("test_auc")),
            "selected epoch": f"{percent(method['selected']['test_accuracy'])} ({method['selected_epoch']})"
                              if "selected" in method else "",
            "best test epoch": f"{percent(best.get('test_accuracy'))} ({method['best_epoch']})" if best else "",
            "its AUC": percent(best.get("test_auc")),
            "training labels": percent(method["train_label_accuracy"]),
            "seconds": "" if method["seconds"] is None else f"{method['seconds']:.1f}"})
    if summary.get("label_accuracy") is not None:
        rows.append(dict.fromkeys(rows[0] if rows else ("method", "training labels"), "")
                    | {"method": "labels.csv", "training labels": percent(summary["label_accuracy"])})
    rows = [row for row in rows if any(list(row.values())[1:])]  # nothing is said of a forecaster without test items
    header = [heading for heading in rows[0] if any(row[heading] for row in rows)] if rows else ["method"]
    rows = [header, *([row[heading] for heading in header] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def ranked(methods):
    """The methods' summaries {name: ..} by their held-out log-likelihood, forecasters behind their method, those without
    at the end; as they are where nobody has one."""
    def place(name):
        score = methods[name].get(HELD_OUT)
        if score is None:
            score = methods.get(name.removesuffix(FORECASTER), {}).get(HELD_OUT, float("-inf"))
        return -score
    return {name: methods[name] for name in sorted(methods, key=place)}


def percent(share):
    """0.1234 as 12.34, nothing for None."""
    return "" if share is None else f"{100 * share:.2f}"
