"""Predictions judged by labels that they have not seen: against plain loops, and on crowds whose truth is known."""
import numpy as np
import pytest
import torch
from random_crowds import draw

from common.annotators import copies
from common.crossfit import MIDDLE, Judge, exchanged
from common.crowd import CrowdLabels
from common.output.results import calibration_error

CLASSES, ITEMS = 4, 1200


def make(seed=0, annotators=12, per_item=3):
    """(truth, crowd, part): annotators of mixed quality, five parts."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, CLASSES, ITEMS)
    accuracy = random.uniform(.3, .9, annotators)
    item = np.repeat(np.arange(ITEMS), per_item)
    annotator = np.concatenate([random.permutation(annotators)[:per_item] for _ in truth])
    wrong = (truth[item] + random.integers(1, CLASSES, len(item))) % CLASSES
    label = np.where(random.random(len(item)) < accuracy[annotator], truth[item], wrong)
    crowd = CrowdLabels.from_triples(item, annotator, label, ITEMS, annotators, CLASSES)
    return truth, crowd, torch.from_numpy(random.permutation(ITEMS) % 5)


def predictions(truth, accuracy, sureness, seed=1):
    """float32 (N, C): right with `accuracy`, and as sure as `sureness` of it whether right or not."""
    random = np.random.default_rng(seed)
    says = np.where(random.random(len(truth)) < accuracy, truth, random.integers(0, CLASSES, len(truth)))
    return torch.from_numpy(np.full((len(truth), CLASSES), (1 - sureness) / (CLASSES - 1)) * (1 - np.eye(CLASSES)[says])
                            + sureness * np.eye(CLASSES)[says]).float()


def test_losses_by_a_plain_loop():
    truth, crowd, part = make()
    part[part == 4] = -1
    judge, h = Judge(crowd, part), predictions(truth, .8, .7)
    matrices = torch.softmax(torch.randn(5, 12, CLASSES, CLASSES, generator=torch.Generator().manual_seed(0)), 3)
    rows = matrices[part[crowd.item], crowd.annotator.long(), :, crowd.label.long()]  # part -1 is the last
    losses = judge._losses(h, rows)
    h, matrices = h.tolist(), matrices.tolist()
    expected = [-np.log(sum(h[i][c] * matrices[part[i]][m][c][label] for c in range(CLASSES))) for i, m, label in
                zip(crowd.item.tolist(), crowd.annotator.tolist(), crowd.label.tolist(), strict=True) if part[i] >= 0]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_better_predictions_score_higher_and_are_calibrated():
    truth, crowd, part = make()
    judge = Judge(crowd, part)
    scores = [judge.judge(predictions(truth, accuracy, .8)).score for accuracy in (.2, .5, .7, .9)]
    assert scores == sorted(scores)
    for sureness in (.6, .999):  # right on 78 % and far from it in what they say of themselves
        h = predictions(truth, .7, sureness)
        before = calibration_error(h, torch.from_numpy(truth))
        after = calibration_error(judge.join(h)[0].h, torch.from_numpy(truth))
        assert after < .1 < before


@pytest.mark.parametrize("accuracy", [.1, .6, .9])
def test_joined_is_no_worse_than_either(accuracy):
    """Useless predictions do no harm to the labels, nor poor labels to good predictions."""
    truth, crowd, part = make()
    votes = (crowd.votes().argmax(1).numpy() == truth).mean()
    h = predictions(truth, accuracy, .7)
    judged, joined = Judge(crowd, part).join(h)
    right = (joined.belief.argmax(1).numpy() == truth).mean()
    assert right > max(votes, (h.argmax(1).numpy() == truth).mean()) - .005
    assert calibration_error(joined.belief, torch.from_numpy(truth)) < .08


def test_labels_that_err_together_are_worth_less():
    """Items that look like two classes make all of their annotators waver: the exponent of the evidence falls below that
    of annotators with the same matrices who err on their own."""
    random = np.random.default_rng(3)
    truth, _, part = make()
    exponents = []
    for together in (False, True):
        waver = random.random((ITEMS, 1)) < .4 if together else random.random((ITEMS, 6)) < .4
        other = (truth[:, None] + 1) % CLASSES
        said = np.where(waver & (random.random((ITEMS, 6)) < .6), other, truth[:, None])
        crowd = CrowdLabels.from_dense(said, CLASSES)
        exponents.append(Judge(crowd, part).join(predictions(truth, .85, .85))[1].exponent)
    assert exponents[1] < exponents[0]


@pytest.mark.parametrize(("rate", "voted"), [(1., .5), (.7, .6)])
def test_copies_count_once(rate, voted):
    """Five who copy a poor annotator, always or mostly, outvote two good ones, but not once they are known."""
    random = np.random.default_rng(0)
    truth = random.integers(0, CLASSES, ITEMS)
    said = np.stack([np.where(random.random(ITEMS) < a, truth, (truth + random.integers(1, CLASSES, ITEMS)) % CLASSES)
                     for a in (.8, .8, .4, .4, .4, .4, .4, .4)], 1)
    said[:, 3:] = np.where(random.random((ITEMS, 5)) < rate, said[:, 2:3], said[:, 3:])
    crowd = CrowdLabels.from_dense(said, CLASSES)
    assert (crowd.votes().argmax(1).numpy() == truth).mean() < voted
    _, joined = Judge(crowd, torch.from_numpy(random.permutation(ITEMS) % 5)).join(predictions(truth, .7, .7))
    assert joined.same_as.tolist() == [0, 1, 2, 2, 2, 2, 2, 2]
    assert (joined.belief.argmax(1).numpy() == truth).mean() > .9


@pytest.mark.parametrize("seed", range(3))
def test_nobody_copies_where_a_poor_classifier_errs(seed):
    """Forty annotators, some of them nearly always right, and twelve labels an item: where h errs these say the same."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, CLASSES, 500)
    accuracy = random.uniform(.5, 1, 40)
    said = np.where(random.random((500, 40)) < accuracy, truth[:, None],
                    (truth[:, None] + random.integers(1, CLASSES, (500, 40))) % CLASSES)
    said[random.random((500, 40)) > .3] = -1
    crowd = CrowdLabels.from_dense(said, CLASSES)
    judge, h = Judge(crowd, torch.from_numpy(random.permutation(500) % 5)), predictions(truth, .3, .5)
    assert copies(crowd, h).tolist() != [*range(40)]
    assert judge.join(h)[1].same_as.tolist() == [*range(40)]


def test_copies_who_make_the_belief_alone():
    """Labels of somebody who is copied foretell the copies', so that EM may end in them (68 % right, the votes 71)."""
    crowd, part, h, truth = draw(829, copies=True)
    assert (Judge(crowd, part).join(h)[1].belief.argmax(1) == truth)[crowd.counts > 0].double().mean() > .95


def test_repeated_by_a_plain_loop():
    _, crowd, part = make(annotators=5)
    same_as = [0, 0, 2, 0, 2]
    found, seen = Judge(crowd, part)._repeated(torch.tensor(same_as)).tolist(), {}
    for share, i, m, label in zip(found, crowd.item.tolist(), crowd.annotator.tolist(), crowd.label.tolist(), strict=True):
        before = seen.setdefault((i, same_as[m]), [])
        assert share == pytest.approx(before.count(label) / len(before)) if before else np.isnan(share)
        before.append(label)


def test_consensus_leaves_out_who_is_worse_part_by_part():
    truth, crowd, part = make()
    judge = Judge(crowd, part)
    good, poor = predictions(truth, .95, .9), predictions(truth, .2, .9, seed=2)
    mixed = torch.where((part == 0)[:, None], poor, good)
    other = torch.where((part == 0)[:, None], good, poor)
    h, shares = judge.consensus({"good in part 0 alone": judge.judge(other), "mixed": judge.judge(mixed)})
    assert shares == {"good in part 0 alone": pytest.approx(.2), "mixed": pytest.approx(.8)}
    assert (h.argmax(1).numpy() == truth).mean() > .93


@pytest.mark.parametrize("seed", range(4))
def test_useless_predictions_of_few_items_exchange_no_names(seed):
    """178 items of three classes: EM from predictions that say nothing ends in any order of the classes' names."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, 178)
    said = np.stack([np.where(random.random(178) < a, truth, (truth + random.integers(1, 3, 178)) % 3)
                     for a in random.uniform(.6, .9, 5)], 1)
    crowd = CrowdLabels.from_dense(np.where(random.random(said.shape) < .6, said, -1), 3)
    h = torch.softmax(torch.from_numpy(random.standard_normal((178, 3))).float(), 1)
    belief = Judge(crowd, torch.from_numpy(random.permutation(178) % 5)).join(h)[1].belief
    votes = (crowd.votes().argmax(1).numpy() == truth).mean()
    assert (belief.argmax(1).numpy() == truth).mean() > votes - .03


def test_many_classes_end_under_their_own_names():
    """30 classes with useless predictions and two labels an item: ends whose classes are any others foretell as well."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 30, 250)
    said = np.where(random.random((250, 70)) < .75, truth[:, None], random.integers(0, 30, (250, 70)))
    crowd = CrowdLabels.from_dense(np.where(random.random(said.shape) < .03, said, -1), 30)
    h = torch.softmax(2 * torch.from_numpy(random.standard_normal((250, 30))).float(), 1)
    belief = Judge(crowd, torch.from_numpy(random.permutation(250) % 5)).join(h)[1].belief
    seen = (crowd.counts > 0).numpy()
    votes = (crowd.votes().argmax(1).numpy() == truth)[seen].mean()
    assert (belief.argmax(1).numpy() == truth)[seen].mean() > votes - .05


def test_names_that_the_predictions_exchange_are_those_of_the_labels():
    """Predictions that call two classes by one another's names foretell labels as well as others."""
    truth, crowd, part = make(annotators=8)
    h = predictions(truth, .6, .6)[:, [0, 3, 2, 1]]
    joined = Judge(crowd, part).join(h)[1]
    assert (joined.belief.argmax(1).numpy() == truth).mean() > .75
    assert exchanged(h, predictions(truth, .6, .6)) and not exchanged(h, h)
    zeros = torch.eye(CLASSES)[[0] * ITEMS]  # what everybody says is of one class: no other takes its place
    assert not exchanged(predictions(truth, .9, .9), zeros) and not exchanged(zeros, predictions(truth, .9, .9))


def test_what_is_known_is_believed_and_judges_the_annotators():
    """An annotator of ten who errs where all others do is right by the labels that are known."""
    truth, crowd, part = make()
    gold = torch.where(torch.arange(ITEMS) % 4 == 0, torch.from_numpy((truth + 1) % CLASSES), -1)  # no crowd says so
    joined = Judge(crowd, part, gold).join(predictions(truth, .8, .8))[1]
    known = gold >= 0
    assert torch.equal(joined.belief[known], torch.eye(CLASSES)[gold[known]])
    assert torch.equal(joined.apart[known[crowd.item]], torch.eye(CLASSES)[gold[crowd.item][known[crowd.item]]])
    assert (joined.belief.argmax(1).numpy() == truth)[~known].mean() > .8


def test_a_single_label_of_an_item_counts():
    """No other label tells how far to trust it: it counts, but not in full."""
    random = np.random.default_rng(0)
    truth, _, part = make()
    wrong = (truth + random.integers(1, CLASSES, ITEMS)) % CLASSES
    annotator = random.integers(0, 6, ITEMS)
    label = np.where(random.random(ITEMS) < np.linspace(.5, .95, 6)[annotator], truth, wrong)
    crowd = CrowdLabels.from_triples(np.arange(ITEMS), annotator, label, ITEMS, 6, CLASSES)
    h = predictions(truth, .85, .7)
    judged, joined = Judge(crowd, part).join(h)
    assert joined.exponent == MIDDLE
    before, after = (belief[range(ITEMS), truth].log().mean() for belief in (judged.h, joined.belief))
    assert after > before + .05
