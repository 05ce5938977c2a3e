"""Classic aggregators by maximum likelihood: Dawid-Skene and one-coin."""
import torch

from common.crowd.labels import confusion_from, vote_shares

FLOOR = 1e-6  # of a probability, where its logarithm is taken
ROUNDS, TOLERANCE = 100, 1e-4  # EM: most rounds, and the largest change of a posterior that ends it


def log(p):
    return p.clamp(min=FLOOR).log_()


def _em(crowd, evidence):
    """float32 (N, C): the posterior of EM that starts from the shares of the votes. An item without labels gets the class
    shares.

    evidence: a function of a posterior (N, C) to sum_m log pi^m[c, y_i^m], (N, C), zeros for items without labels.
    Each row may be off by a constant.
    """
    seen = (crowd.counts > 0)[:, None]
    posterior = vote_shares(crowd)
    for _ in range(ROUNDS):
        shares = posterior.sum(0) / seen.sum().clamp(min=1)
        # exp(-80) is the least: the CPU is slow with the denormal numbers below it
        logits = evidence(posterior).add_(log(shares))
        logits = logits.sub_(logits.amax(1, keepdim=True)).clamp_(min=-80)
        before, posterior = posterior, torch.softmax(logits, 1).mul_(seen)
        if not len(posterior) or (posterior - before).abs().max() < TOLERANCE:
            break
    return torch.where(seen, posterior, posterior.sum(0) / seen.sum().clamp(min=1))


def dawid_skene(crowd):
    """float32 (N, C): the posterior of Dawid & Skene (1979), with a confusion matrix for each annotator.

    q_i(c) is proportional to p_c prod_m pi^m[c, y_i^m]; pi^m and p are counted from q over the items m labelled.
    """
    def evidence(posterior):
        table = log(confusion_from(crowd, posterior)).transpose(1, 2).reshape(-1, crowd.classes)
        return crowd.evidence(table.contiguous())
    return _em(crowd, evidence)


def one_coin(crowd):
    """float32 (N, C): the posterior where an annotator has one accuracy a_m and errs evenly: pi^m[c, l] is a_m for l = c,
    (1 - a_m) / (C - 1) elsewhere."""
    who, label, items = crowd.annotator.long(), crowd.label.long(), crowd.item
    number = torch.bincount(who, minlength=crowd.annotators).clamp(min=1)
    cells = items * crowd.classes + label

    def evidence(posterior):
        right = posterior.new_zeros(crowd.annotators).index_add_(0, who, posterior[items, label])
        accuracy = right / number
        weight = log(accuracy) - log((1 - accuracy) / max(crowd.classes - 1, 1))
        return posterior.new_zeros(posterior.numel()).index_add_(0, cells, weight[who]).view_as(posterior)
    return _em(crowd, evidence)
