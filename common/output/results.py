"""Scores, the table on the screen, and the files a run leaves: labels.csv, annotators.csv, confusion.npz."""
import csv
from collections import Counter

import numpy as np
import torch

from common.annotators import flags, information, interval, label_counts
from common.crowd import CrowdLabels, confusion_from, majority_vote
from common.methods import FORECASTER

SCORES = {"crowd": "crowd_score", "valid": "valid_accuracy"}  # the column of metrics.csv by which an epoch is selected
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
    selected by validation accuracy or crowd score where there is one; the first of equals. A forecaster has the epoch of
    its `method`'s summary. None where no test item's truth is known."""
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


def write_labels(file, items, belief, candidates, class_names=None):
    """A row for each training item under its own name: truth, majority vote, the aggregated label, how sure it is, the
    classes' probabilities, what else could be said; with class_names also how many answers there are, and how many of them
    agree.

    belief: (N, C), the probabilities of the aggregated labels; candidates: {name: (N, C)}; class_names: put in place of the
    classes' numbers, and as the names of their columns in place of p_0, p_1, ...
    """
    confidence, label = belief.max(1)
    others = {name: says.argmax(1) for name, says in candidates.items() if name != "majority-vote"}
    columns = {"item": items.names, "truth": _named(items.truth, class_names),
               "majority_vote": _named(majority_vote(items.crowd), class_names), "label": _named(label, class_names),
               "confidence": confidence.tolist()}
    if class_names:
        votes = items.crowd.votes()
        columns |= {"answers": items.crowd.counts.tolist(), "agreement": [
            "" if share != share else share
            for share in (votes.gather(1, label[:, None])[:, 0] / votes.sum(1)).tolist()]}
    classes = class_columns(class_names or [f"p_{c}" for c in range(belief.shape[1])], (*columns, *others))
    header = [*columns, *classes, *others]
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows(zip(*columns.values(), *belief.T.tolist(), *(_named(says, class_names) for says in others.values()),
                         strict=True))


def class_columns(classes, taken):
    """The columns of the classes' probabilities in a file that has those `taken` too: their names, p_truth for `truth`."""
    return [f"p_{name}" if name in taken else name for name in classes]


def _named(labels, class_names=None):
    """As a list, with nothing in place of -1, and with the classes' names where they are given."""
    return ["" if label < 0 else class_names[label] if class_names else label for label in labels.tolist()]


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


def describe_annotators(items, names, belief, confusion, apart, same_as, class_names=None):
    """{column of annotators.csv: M values}: how many labels, how often they agree with the aggregated label; the estimated
    accuracy, what the labels' own probabilities are with and without the label itself, in the mean, and its 95 % interval;
    the bits that a label says of the true class; the most common label and its share; what is odd (annotators.flags); the
    true accuracy.

    belief: (N, C); confusion: (M, C, C), estimated; apart: (L, C), see annotators.flags; same_as: int64 (M,).
    """
    crowd, label = items.crowd, items.crowd.label.long()
    given = label_counts(crowd)
    count = torch.from_numpy(given.sum(1))
    both = (belief[crowd.item, label] + apart[torch.arange(len(label), device=label.device), label]) / 2
    estimated = mean_by_annotator(crowd, both)
    low, high = interval(estimated.numpy(), count.numpy())
    most = _named(torch.from_numpy(np.where(count > 0, given.argmax(1), -1)), class_names)
    columns = {"annotator": names, "labels": count.long(), "agreement": agreement(crowd, belief.argmax(1)),
               "estimated_accuracy": estimated, "accuracy_low": low, "accuracy_high": high,
               "information_bits": information(confusion, belief.mean(0)), "common_label": most,
               "common_share": torch.from_numpy(given.max(1)) / count, "flag": flags(crowd, apart, same_as, names),
               "true_accuracy": agreement(crowd, items.truth)}
    return {name: column if isinstance(column, list) else column.tolist() for name, column in columns.items()}


def write_annotators(file, columns):
    """describe_annotators' columns."""
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if value != value else value for value in row])  # NaN is not equal to itself


def _ranks(values):
    """The ranks of an array (K,), equals in their middle."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (count.cumsum() - (count - 1) / 2)[place]


def judge_annotators(columns, items, dawid_skene):
    """{"annotator_correlation", "flags"} of describe_annotators' columns: how well annotators are ranked, by Spearman's
    correlation with their true accuracy, of the estimated accuracy and, for comparison, of the agreement with the majority
    vote and of the accuracy by Dawid-Skene's posterior (N, C), None where these are not told apart; and how many have
    which flag.
    """
    crowd = items.crowd
    by_model = mean_by_annotator(crowd, dawid_skene[crowd.item, crowd.label.long()])
    ways = {"estimated": columns["estimated_accuracy"], "majority-vote": agreement(crowd, majority_vote(crowd)).tolist(),
            "dawid-skene": by_model.tolist()}
    true = np.array(columns["true_accuracy"])
    found = {}
    for name, accuracies in ways.items():
        accuracies = np.array(accuracies)
        known = np.isfinite(true) & np.isfinite(accuracies)
        varied = known.any() and np.ptp(true[known]) > 0 < np.ptp(accuracies[known])
        found[name] = float(np.corrcoef(_ranks(true[known]), _ranks(accuracies[known]))[0, 1]) if varied else None
    kinds = Counter("copies" if flag.startswith("copies ") else flag for flag in columns["flag"] if flag)
    return {"annotator_correlation": found, "flags": dict(kinds)}


def write_confusion(file, estimated, held, true):
    """estimated: counted with the aggregated labels and shrunk; held: the model's own; true; each (M, C, C)."""
    np.savez(file, estimated=estimated.cpu().numpy(), held=held.cpu().numpy(), true=true.cpu().numpy())


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
    """The summary's methods as text, those with the best crowd score first where there is one: last epoch first, the best
    test epoch beside it and named for what it is."""
    rows = []
    for name, method in ranked(summary["methods"]).items():
        last, best = method["last"] or {}, method["best"] or {}
        rows.append({
            "method": name,
            "crowd score": f"{method['crowd_score']:.4f}" if "crowd_score" in method else "",
            "last epoch": percent(last.get("test_accuracy")),
            "last AUC": percent(last.get("test_auc")),
            "selected epoch": f"{percent(method['selected']['test_accuracy'])} ({method['selected_epoch']})"
                              if "selected" in method else "",
            "best test epoch": f"{percent(best.get('test_accuracy'))} ({method['best_epoch']})" if best else "",
            "its AUC": percent(best.get("test_auc")),
            "training labels": percent(method["train_label_accuracy"]),
            "seconds": "" if method["seconds"] is None else f"{method['seconds']:.1f}"})
    rows = [row for row in rows if any(list(row.values())[1:])]  # nothing is said of a forecaster without test items
    header = [heading for heading in rows[0] if any(row[heading] for row in rows)] if rows else ["method"]
    rows = [header, *([row[heading] for heading in header] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def ranked(methods):
    """The methods' summaries {name: ..} by their crowd score, forecasters behind their method, those without at the end;
    as they are where nobody has one."""
    def place(name):
        score = methods[name].get("crowd_score")
        if score is None:
            score = methods.get(name.removesuffix(FORECASTER), {}).get("crowd_score", float("-inf"))
        return -score
    return {name: methods[name] for name in sorted(methods, key=place)}


def percent(share):
    """0.1234 as 12.34, nothing for None."""
    return "" if share is None else f"{100 * share:.2f}"
