"""Measures of predictions, labels and annotators against the truth."""
import torch

from common.crowd.labels import CrowdLabels, confusion_from

BINS = 15  # of the expected calibration error


def accuracy(labels, truth):
    """The share of labels (N,) that are right, among the items whose truth (N,) is known; None if none is."""
    known = truth >= 0
    return (labels == truth)[known].double().mean().item() if known.any() else None


def confusion_counts(labels, truth, classes):
    """A list (C, C) of lists: how many items of each true class (rows) have each label; None where no truth is known.
    labels, truth: int64 (N,), -1 where the truth is unknown."""
    known = truth >= 0
    if not known.any():
        return None
    return torch.bincount(truth[known] * classes + labels[known], minlength=classes ** 2).view(classes, classes).tolist()


def only_class(truth):
    """The one class of the items whose truth (N,) is known; None where there are several, or none is known."""
    classes = truth[truth >= 0].unique().tolist()
    return classes[0] if len(classes) == 1 else None


def scores(probabilities, truth):
    """{"test_accuracy", "test_auc"} of probabilities (N, C); the AUC only with two classes, both in the truth."""
    known = truth >= 0
    auc = None
    if probabilities.shape[1] == 2 and len(truth[known].unique()) == 2 and probabilities.isfinite().all():
        from sklearn.metrics import roc_auc_score  # takes a second, which most runs need not wait for
        auc = float(roc_auc_score(truth[known].cpu(), probabilities[known, 1].cpu()))
    return {"test_accuracy": accuracy(probabilities.argmax(1), truth), "test_auc": auc}


def calibration_error(posterior, truth):
    """The expected calibration error of posterior (N, C): the mean difference of confidence and accuracy, in bins of the
    confidence, over the items whose truth (N,) is known; None if none is."""
    known = truth >= 0
    if not known.any():
        return None
    confidence, label = posterior[known].double().max(1)
    gap = (confidence - (label == truth[known]).double()).cpu()  # on a GPU a weighted sum has another order every time
    place = (confidence.cpu() * BINS).long().clamp(max=BINS - 1)
    return (torch.bincount(place, gap, BINS).abs().sum() / len(gap)).item()


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


def are_wrong(items):
    """bool (L,): which of the crowd's labels are wrong; none of an item whose truth is not known."""
    truth = items.truth[items.crowd.item]
    return (truth >= 0) & (items.crowd.label != truth)


def memorized(predicted, items):
    """(M,): the share of each annotator's wrong labels that the predictions (N,) repeat; NaN for one without any."""
    crowd, wrong = items.crowd, are_wrong(items)
    return share_of(wrong & (crowd.label == predicted[crowd.item]), wrong, crowd)


def annotator_error(true, estimated):
    """(M,): E_m, the mean of abs(T_m - T^_m) / T_m over the entries of T_m above zero; NaN where there are none.

    true: T, (M, C, C), NaN in the rows that are not known; estimated: T^, (M, C, C).
    """
    known = true > 0
    ratio = torch.where(known, (true - estimated).abs() / true, 0).sum((1, 2))
    return ratio / known.sum((1, 2))
