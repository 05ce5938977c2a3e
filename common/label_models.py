"""Labels from the crowd's labels alone: Dawid-Skene and one-coin; confusion matrices shrunk by what they rest on."""
import torch

from common.crowd import confusion_from, vote_shares

FLOOR = 1e-6  # of a probability, where its logarithm is taken
ROUNDS, TOLERANCE = 100, 1e-4  # of EM: at the most, and the largest change of a posterior that ends it
STRENGTHS = (2., 8., 32., 128., 512.)  # pseudo-counts by which a row of a confusion matrix is held to its prior mean


def log(p):
    return torch.log(p.clamp(min=FLOOR))


def normalise(evidence):
    """softmax over the last axis, in place; what float32 would hold as a denormal number, fifteen times as slow to come by,
    is e^-80."""
    evidence = evidence.sub_(evidence.amax(-1, keepdim=True)).clamp_(min=-80).exp_()
    return evidence.div_(evidence.sum(-1, keepdim=True))


def log_table(confusion):
    """(M * C, C): log pi, as CrowdLabels.evidence takes it. confusion: (M, C, C), rows the true class."""
    return log(confusion).transpose(1, 2).reshape(-1, confusion.shape[1]).contiguous()


def _em(crowd, m_step, rounds, tolerance):
    """float32 (N, C): the posterior of EM on the labels alone, from the shares of the votes until no probability changes by
    more than `tolerance`, `rounds` at the most; an item without labels gets the class prior. m_step: of a belief (N, C),
    zeros for items without labels, the annotators' matrices (M, C, C)."""
    seen = (crowd.counts > 0)[:, None]
    belief = vote_shares(crowd)
    for _ in range(rounds):
        prior = belief.sum(0) / seen.sum().clamp(min=1)
        posterior = normalise(crowd.evidence(log_table(m_step(belief))).add_(log(prior))).mul_(seen)
        change = belief.sub_(posterior).abs_().max() if len(belief) else 0
        belief = posterior
        if change < tolerance:
            break
    return torch.where(seen, belief, belief.sum(0) / seen.sum().clamp(min=1))


def dawid_skene(crowd, rounds=ROUNDS, tolerance=TOLERANCE):
    """float32 (N, C): the posterior of Dawid & Skene (1979), with a confusion matrix for each annotator.

    q_i(c) is proportional to p_c prod_m pi^m[c, y_i^m]; pi^m and p are counted from q over the items m labelled.
    """
    return _em(crowd, lambda belief: confusion_from(crowd, belief), rounds, tolerance)


def one_coin(crowd, rounds=ROUNDS, tolerance=TOLERANCE):
    """float32 (N, C): the same where an annotator has one accuracy a_m and errs evenly: pi^m[c, l] is a_m for l = c,
    (1 - a_m) / (C - 1) elsewhere."""
    identity = torch.eye(crowd.classes, device=crowd.label.device)
    labels = torch.bincount(crowd.annotator, minlength=crowd.annotators)

    def m_step(belief):
        right = crowd.count_confusion(belief).diagonal(dim1=1, dim2=2).sum(1)
        accuracy = torch.where(labels > 0, right / labels.clamp(min=1), 1 / crowd.classes)[:, None, None]
        return accuracy * identity + (1 - accuracy) * (1 - identity) / max(crowd.classes - 1, 1)
    return _em(crowd, m_step, rounds, tolerance)


def prior_means(counts):
    """(2, ..., M, C, C): what annotators' matrices are shrunk to, two candidates: the annotator's own accuracy with
    everybody's errors beside it, and everybody's matrix. Who answers by a habit of their own, whatever the class, where that
    is likelier than one accuracy and even errors, has the habit in both, and no part in everybody's.

    counts: (..., M, C, C), rows the true class.
    """
    classes = counts.shape[-1]
    identity = torch.eye(classes, device=counts.device)
    total = counts.sum((-1, -2), keepdim=True)
    habit = ((counts.sum(-2, keepdim=True) + 1 / classes) / (total + 1)).expand_as(counts)

    def coin(errors, overall):
        accuracy = ((counts * identity).sum((-1, -2), keepdim=True) + 4 * overall) / (total + 4)
        return accuracy * identity + (1 - accuracy) * errors

    def likelihood(mean, numbers):
        """Of the counts, less the price of the mean's own `numbers` (the Bayesian information criterion)."""
        return (counts * log(mean)).sum((-1, -2), keepdim=True) - numbers / 2 * torch.log(total.clamp(min=1))
    even = (1 - identity) / max(classes - 1, 1)
    by_habit = likelihood(habit, classes - 1) > likelihood(coin(even, 1 / classes), 1)
    pooled = torch.where(by_habit, 0, counts).sum(-3, keepdim=True) + .1
    overall = (pooled * identity).sum((-1, -2), keepdim=True) / pooled.sum((-1, -2), keepdim=True)
    errors = pooled * (1 - identity)
    own = coin(errors / errors.sum(-1, keepdim=True), overall)
    return torch.where(by_habit, habit, torch.stack([own, (pooled / pooled.sum(-1, keepdim=True)).expand_as(own)]))


def shrink(counts, mean, strength):
    """(..., M, C, C): the rows of counts with `strength` pseudo-counts of `mean`; they add up to one."""
    return (counts + strength * mean) / (counts.sum(-1, keepdim=True) + strength)


def shrunk_confusion(crowd, belief):
    """(M, C, C): the annotators' matrices counted from belief (N, C), shrunk to the prior mean and by the strength under
    which the counts are likeliest (the Dirichlet-multinomial distribution's likelihood)."""
    counts = crowd.count_confusion(belief)

    def likelihood(mean, strength):
        a = strength * mean.clamp(min=FLOOR)
        rows = torch.lgamma(a.sum(2)) - torch.lgamma((a + counts).sum(2))
        return (rows + (torch.lgamma(a + counts) - torch.lgamma(a)).sum(2)).double().sum().item()
    mean, strength = max(((mean, strength) for mean in prior_means(counts) for strength in STRENGTHS),
                         key=lambda choice: likelihood(*choice))
    return shrink(counts, mean, strength)
