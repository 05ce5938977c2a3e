"""Label models, shrunken matrices, copies and flags: against plain loops, and on crowds whose truth is known."""
import numpy as np
import pytest
import torch

from common.annotators import copies, flags, information, interval
from common.crowd import CrowdLabels, confusion_from
from common.label_models import Tally, dawid_skene, one_coin, shrink, shrunk_confusion

DENSE = np.array([[0, 0, 1], [1, 1, 1], [-1, -1, -1], [1, 0, -1], [0, 0, 0], [1, 1, 0]])


def crowd_of(truth, confusions, seed=0, missing=0.):
    """CrowdLabels of annotators with these matrices (M, C, C), some labels missing."""
    random = np.random.default_rng(seed)
    dense = np.array([[random.choice(len(row), p=row) for row in confusions[:, t]] for t in truth])
    return CrowdLabels.from_dense(np.where(random.random(dense.shape) < missing, -1, dense), confusions.shape[1])


def by_loops(dense, classes, coin):
    """EM with plain loops in float64, as the papers write it."""
    n, m = dense.shape
    q = np.array([[np.sum(row == c) for c in range(classes)] for row in dense], float)
    q /= q.sum(1, keepdims=True).clip(1)
    seen = (dense >= 0).any(1)
    for _ in range(100):
        prior, pi = q[seen].mean(0), np.zeros((m, classes, classes))
        for k in range(m):
            for i in range(n):
                if dense[i, k] >= 0:
                    pi[k, :, dense[i, k]] += q[i]
            if coin:
                a = np.trace(pi[k]) / pi[k].sum()
                pi[k] = a * np.eye(classes) + (1 - a) / (classes - 1) * (1 - np.eye(classes))
            else:
                pi[k] /= pi[k].sum(1, keepdims=True)
        new = np.log(prior) + np.array([sum((np.log(pi[k, :, row[k]].clip(1e-6)) for k in range(m) if row[k] >= 0),
                                            np.zeros(classes)) for row in dense])
        new = np.exp(new - new.max(1, keepdims=True))
        new /= new.sum(1, keepdims=True)
        done, q = np.abs(new - q)[seen].max() < 1e-4, np.where(seen[:, None], new, prior)
        if done:
            return q
    return q


@pytest.mark.parametrize(("model", "coin"), [(dawid_skene, False), (one_coin, True)])
def test_em_against_plain_loops(model, coin):
    np.testing.assert_allclose(model(CrowdLabels.from_dense(DENSE, 2)), by_loops(DENSE, 2, coin), atol=2e-4)


def test_em_finds_who_is_right():
    """One good annotator against three who guess: the votes are wrong, Dawid-Skene is not."""
    truth = np.arange(600) % 3
    good, guess = np.full((3, 3), .04) + .88 * np.eye(3), np.full((3, 3), .1) + .7 * np.eye(3)[[1, 1, 1]]
    crowd = crowd_of(truth, np.stack([good, good, good, guess, guess, guess, guess]))
    votes = (crowd.votes().argmax(1).numpy() == truth).mean()
    assert votes < .75 < .95 < (dawid_skene(crowd).argmax(1).numpy() == truth).mean()


def test_shrinking_by_hand():
    """A row of no labels is its mean, one of four between both; a row of a tally holds one label of every true class."""
    counts, mean = torch.tensor([[3., 0.], [1., 0.]]), torch.tensor([[.5, .25], [.5, .75]])
    np.testing.assert_allclose(shrink(counts, mean, torch.tensor([4., 0.]), 4.), [[5 / 8, .25], [3 / 8, .75]])


def test_counts_are_of_the_other_parts():
    random = np.random.default_rng(0)
    dense = random.integers(-1, 3, (60, 5))
    crowd, part = CrowdLabels.from_dense(dense, 3), torch.from_numpy(random.integers(-1, 4, 60))
    belief = torch.from_numpy(random.dirichlet(np.ones(3), 60)).float()
    tally = Tally(crowd, part)
    counted = tally.count(belief)
    for p in (*range(4), -1):  # -1: the items that were trained on; everybody counts
        expected = np.zeros((5, 3, 3))
        for i, m in zip(*np.nonzero((dense >= 0) & (part != p if p >= 0 else part > -2).numpy()[:, None]), strict=True):
            expected[m, :, dense[i, m]] += belief[i].numpy()
        place = 4 if p < 0 else p
        mine = torch.nonzero(tally.who // 5 == place)[:, 0]
        assert len(mine) > 0
        np.testing.assert_allclose(counted.counts[mine], expected[tally.who[mine] % 5, :, tally.label[mine]], rtol=1e-4,
                                   atol=1e-6)
        np.testing.assert_allclose(counted.total[place * 5:place * 5 + 5], expected.sum(2), rtol=1e-4, atol=1e-6)
    ours = tally.who[tally.row], tally.label[tally.row]
    assert torch.equal(ours[0] % 5, crowd.annotator.long()) and torch.equal(ours[1], crowd.label.long())


def matrices(counted, people, classes):
    """(3, M, C, C): the prior means of a Counted without parts."""
    everything = torch.arange(people * classes)
    means = counted.means(everything // classes, everything % classes)
    return means.view(3, people, classes, classes).transpose(2, 3)


def test_prior_means_are_coins_habits_and_everybody():
    """Somebody who answers by habit has equal rows; somebody who is right with one accuracy has it on the diagonal."""
    truth = np.repeat(np.arange(3), 300)
    coin, habit = np.full((3, 3), .1) + .7 * np.eye(3), np.tile([.6, .3, .1], (3, 1))
    crowd = crowd_of(truth, np.stack([coin, habit]))
    even, own, pooled = matrices(Tally(crowd).count(torch.eye(3)[truth]), 2, 3)
    accuracy = float(even[0, 0, 0])
    np.testing.assert_allclose(even[0], accuracy * np.eye(3) + (1 - accuracy) / 2 * (1 - np.eye(3)), rtol=1e-5)
    assert torch.equal(even[1], own[1])
    np.testing.assert_allclose(own[0].diagonal(), own[0, 0, 0].expand(3), rtol=1e-5)
    assert abs(own[0, 0, 0] - .8) < .03
    np.testing.assert_allclose(own[1], own[1, :1].expand(3, 3), rtol=1e-5)
    np.testing.assert_allclose(own[1, 0], habit[0], atol=.04)
    np.testing.assert_allclose(pooled[0], coin, atol=.06)  # of those without a habit
    assert torch.equal(pooled[1], own[1])
    torch.testing.assert_close(own.sum(2), torch.ones(2, 3))


def test_who_has_said_little_has_no_habit():
    """A thousand people with two labels each, right on 90 %: hardly anybody is taken for one who answers by habit. Of those
    who do, two of five classes by turns, everybody is with thirty labels."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 5, 2000)
    item, people = np.repeat(np.arange(2000), 2), random.permutation(np.repeat(np.arange(1000), 4))
    label = np.where(random.random(4000) < .9, truth[item], random.integers(0, 5, 4000))
    habit = random.integers(0, 2, 300)
    item, people = np.concatenate([item, np.arange(300)]), np.concatenate([people, 1000 + np.arange(300) % 10])
    crowd = CrowdLabels.from_triples(item, people, np.concatenate([label, habit]), 2000, 1010, 5)
    found = Tally(crowd).count(torch.eye(5)[truth]).by_habit
    assert found[:1000].float().mean() < .03
    assert found[1000:].all()


def test_a_wrong_label_or_two_make_no_spammer():
    truth = np.arange(40) % 10
    crowd = CrowdLabels.from_triples(np.arange(40), np.repeat([0, 1, 2, 3], [1, 2, 3, 34]), (truth + 3) % 10, 40, 4, 10)
    apart = torch.eye(10)[truth] * .98 + .002
    found = flags(crowd, apart, torch.arange(4), "abcd")
    assert found[:3] == ["too few labels to tell"] * 3 and found[3] in ("spammer", "adversary")


def test_a_part_learns_nothing_from_its_own_labels():
    """Prior means of a part are those of the other parts' labels alone, whatever its own say."""
    random = np.random.default_rng(0)
    dense, part = random.integers(0, 3, (80, 6)), torch.from_numpy(random.integers(0, 4, 80))
    belief = torch.from_numpy(random.dirichlet(np.ones(3), 80)).float()
    other = dense.copy()
    other[part == 1] = (other[part == 1] + 1) % 3
    alone = CrowdLabels.from_dense(np.where((part == 1).numpy()[:, None], -1, dense), 3)
    everything = torch.arange(6 * 3)
    expected = Tally(alone).count(belief).means(everything // 3, everything % 3)
    for labels in (dense, other):
        counted = Tally(CrowdLabels.from_dense(labels, 3), part).count(belief)
        torch.testing.assert_close(counted.means(everything // 3 + 6, everything % 3), expected)


def test_few_labels_are_shrunk_more():
    """Matrices of 20 labels each are nearer to the truth shrunk than counted; those of 5,000 stay as they are."""
    truth = np.random.default_rng(0).integers(0, 4, 5000)
    true = np.stack([np.full((4, 4), .1) + .6 * np.eye(4)] * 10)
    for missing, factor in ((.996, .5), (0, 1.05)):
        crowd = crowd_of(truth, true, missing=missing)
        belief = torch.eye(4)[truth]
        counted = confusion_from(crowd, belief)
        error = [np.abs(matrix.numpy() - true).mean() for matrix in (shrunk_confusion(crowd, belief), counted)]
        assert error[0] <= factor * error[1]


def test_a_rare_class_that_is_hard_looks_hard():
    """Though the accuracies, which the common class fixes, are high; and those who guess do guess."""
    truth = (np.random.default_rng(1).random(1500) < .05).astype(int)
    good = [[[.97, .03], [1 - found, found]] for found in np.linspace(.55, .9, 14)]
    true = np.array([*good, *[[[.5, .5]] * 2] * 6])
    found = shrunk_confusion(crowd_of(truth, true, seed=1, missing=.85), torch.eye(2)[truth]).numpy()
    assert np.abs(found - true)[:14, 1, 1].mean() < .15 and np.abs(found - true)[:, 0, 0].max() < .1


def test_copies_are_told_from_good_annotators_and_from_those_of_one_label():
    truth = np.random.default_rng(1).integers(0, 3, 400)
    good = np.full((3, 3), .05) + .85 * np.eye(3)
    fair = np.full((3, 3), .2) + .4 * np.eye(3)
    seniors = crowd_of(truth, np.stack([good, good, fair, fair]))
    dense = seniors.label.view(400, 4).numpy()
    zeros = np.zeros((400, 2), np.int64)
    crowd = CrowdLabels.from_dense(np.concatenate([dense, dense[:, [2, 0, 2]], zeros], 1), 3)
    belief = torch.eye(3)[truth] * .97 + .01
    same_as = copies(crowd, belief)
    assert same_as.tolist() == [0, 1, 2, 3, 2, 0, 2, 7, 8]
    names = [f"p{m}" for m in range(9)]
    assert flags(crowd, belief[crowd.item], same_as, names) == [
        "", "", "", "", "copies p2", "copies p0", "copies p2", "one label only", "one label only"]


@pytest.mark.parametrize(("accuracy", "each", "seed"), [(.92, 3, 1), (.95, 6, 0), (.97, 6, 0)])
def test_nobody_copies_by_a_poor_belief(accuracy, each, seed):
    """Where the belief errs, those who are right give the same answers; who copies stands out all the same."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 5, 500)
    kind = np.full((5, 5), (1 - accuracy) / 4) + (accuracy - (1 - accuracy) / 4) * np.eye(5)
    dense = crowd_of(truth, np.stack([kind] * 8), seed=3).label.view(500, 8).numpy().copy()
    for row in dense:
        row[random.permutation(8)[each:]] = -1
    says = np.where(random.random(500) < .3, truth, (truth + random.integers(1, 5, 500)) % 5)
    poor = torch.eye(5)[says] * .875 + .025
    assert copies(CrowdLabels.from_dense(dense, 5), poor).tolist() == [*range(8)]
    dense = np.concatenate([dense, dense[:, :1]], 1)
    assert copies(CrowdLabels.from_dense(dense, 5), poor).tolist() == [*range(8), 0]


def test_a_suspicion_stands_where_the_matrices_foretell_all_errors():
    """Who always takes class 3 for class 2 gives the answers of all who do: only another belief can tell who copies."""
    truth = torch.from_numpy(np.random.default_rng(0).integers(0, 4, 400))
    said = torch.where(truth == 3, 2, truth)
    crowd = CrowdLabels.from_dense(torch.stack([truth, said, said, said], 1).numpy(), 4)
    belief = torch.eye(4)[truth]
    assert copies(crowd, belief).tolist() == [0, 1, 2, 3]
    assert copies(crowd, belief, torch.tensor([0, 0, 2, 2])).tolist() == [0, 1, 2, 2]


def test_flags_where_a_class_is_rare():
    """2 in 100: careful people say the common label of nearly all items, and are told from those who guess or say it
    always."""
    truth = (np.random.default_rng(5).random(1500) < .02).astype(int)
    kinds = np.stack([[[.99, .01], [.3, .7]], [[.98, .02], [.98, .02]], [[1., 0], [1, 0]]])
    crowd = crowd_of(truth, kinds, seed=6)
    found = flags(crowd, torch.eye(2)[truth][crowd.item], torch.arange(3), list("abc"))
    assert found[0] == "" and found[1] in ("spammer", "too few labels to tell") and found[2] == "one label only"


def test_flags():
    truth = np.random.default_rng(4).integers(0, 2, 500)
    kinds = np.stack([[[.8, .2], [.2, .8]], [[.5, .5], [.5, .5]], [[.2, .8], [.2, .8]], [[.1, .9], [.9, .1]],
                      [[.8, .2], [.2, .8]], [[.8, .2], [.2, .8]]])
    dense = crowd_of(truth, kinds, seed=1).label.view(500, 6).numpy().copy()
    dense[3:, 4] = -1
    dense[:, 5] = -1
    crowd = CrowdLabels.from_dense(dense, 2)
    found = flags(crowd, torch.eye(2)[truth][crowd.item], torch.arange(6), list("abcdef"))
    assert found == ["", "spammer", "spammer", "adversary", "too few labels to tell", "no labels"]


def test_information_by_hand():
    """Two classes at .5: always right is one bit, a guess none, right with .8 what 1 - H(.8) says."""
    right = torch.tensor([[[1., 0], [0, 1]], [[.3, .7], [.3, .7]], [[.8, .2], [.2, .8]]])
    entropy = -(.8 * np.log2(.8) + .2 * np.log2(.2))
    np.testing.assert_allclose(information(right, torch.tensor([.5, .5])), [1, 0, 1 - entropy], atol=1e-6)


def test_an_interval_narrows_with_the_labels_and_holds_the_truth():
    low, high = interval(np.array([.7, .7, np.nan]), np.array([10, 1000, 0]))
    assert low[0] < low[1] < .7 < high[1] < high[0] and np.isnan(low[2])
