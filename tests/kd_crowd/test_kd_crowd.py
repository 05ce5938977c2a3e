"""KD-Crowd: who teaches whom, the robust learners, the two figures' numbers, and the command."""
import csv
import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.crowd.labels import CrowdLabels, class_shares
from common.data import dataset as dataset_module
from common.data.dataset import Dataset, Items
from common.data.features import FeatureSet
from common.evaluation.metrics import annotator_error, memorized
from common.kd_crowd.dividemix import DivideMix, clean_probability, sharpen
from common.kd_crowd.elr import ELR
from common.kd_crowd.registry import ROBUST
from common.losses import label_mig_loss, mig_loss
from common.methods.max_mig import MaxMIG
from common.methods.method import Batch, Constants, Distillation, Setting
from common.methods.registry import METHODS
from common.names import TEACHERS
from common.networks.classifier import Classifier
from common.networks.papers import feature_net
from common.training import run as training_run
from common.training.epoch import end_epoch
from common.training.executor import SERIAL
from common.training.experiment import Experiment
from common.training.options import Options
from common.training.predictions import predict_all
from common.training.protocol import Protocol
from common.training.selection import make_plan
from common.training.stages import build_stage
from conftest import load_script
from test_methods import CLASSES, DENSE, INPUTS
from test_runs import SMALL, numbers, same_weights

digits_main = load_script("Digits")
TARGETS = torch.tensor([[.7, .2, .1], [.1, .8, .1], [.3, .3, .4], [.05, .05, .9], [.6, .3, .1]])
KD = ("kd-crowd-crowd-layer", "kd-crowd-max-mig")
pytestmark = pytest.mark.usefixtures("blank_pictures")


SHARES = (TARGETS.sum(0) + 1) / 8  # of the classes, as the teacher sees them, with one pseudo-count each


def student(kind, kd_loss="mig", kd_weight=1., divergence="kl", lambda_u=0., **how):
    torch.manual_seed(0)
    crowd = CrowdLabels.from_dense(DENSE, CLASSES)
    setting = Setting(lambda: Classifier(torch.nn.Identity(), torch.nn.Linear(4, CLASSES)), crowd, None,
                      torch.full((CLASSES,), 1 / CLASSES), constants=Constants(divergence),
                      distillation=Distillation(TARGETS, kd_loss, kd_weight, lambda_u), **how)
    return kind(setting), crowd


def test_stages_hand_over():
    random = np.random.default_rng(0)
    features = torch.from_numpy(random.normal(size=(40, 6)).astype(np.float32))
    crowd = CrowdLabels.from_dense(random.integers(-1, 3, (40, 4)), 3)
    items = Items(FeatureSet(features), torch.arange(40) % 3, list(range(40)), crowd)
    dataset = Dataset(items, items, list("abc"), list(range(4)))
    protocol = Protocol("x", lambda precision: feature_net(6, 3, precision), 1, 8, 1e-2, 1e-2, (1 / 3,) * 3, ())
    options = Options(methods=[name for name in METHODS if name != "true-label"], batch_size=8, epochs=1, augment="none")

    def build(stage, earlier, **changed):
        experiment = Experiment(dataset, protocol, replace(options, **changed), make_plan(items, options),
                                torch.device("cpu"), "float32", SERIAL)
        return build_stage(experiment, stage, earlier, {})

    def train(learners):
        for learner in learners:
            learner.method.train()
            for start in range(0, 40, 8):
                index = torch.arange(start, start + 8)
                learner.step(Batch(index, features[index], crowd.select(index), lambda i=index: features[i]), start)
        end_epoch(learners, items)

    def share_nothing(learners):
        places = [{value.untyped_storage().data_ptr() for value in learner.method.state_dict().values() if value.numel()}
                  for learner in learners]
        return len(set.union(*places)) == sum(map(len, places))

    teachers = build(0, [])
    assert share_nothing(teachers)
    train(teachers)
    students = build(1, [teachers])
    assert [learner.name for learner in students] == [name for name in options.methods if name in TEACHERS]
    by_name = {learner.name: learner for learner in teachers}
    for learner in students:
        assert type(learner.method) is ELR
        teacher = by_name[METHODS[learner.name].teacher]
        assert torch.equal(learner.method.targets, predict_all([teacher], items.inputs)[0])
        before = learner.method.targets.clone()
        train([learner])
        assert torch.equal(learner.method.targets, before)
    assert {learner.method.lambda_u for learner in build(1, [teachers], robust="dividemix", lambda_u=7.)} == {7.}
    switched = build(2, [teachers, students])
    assert share_nothing([*teachers, *switched])
    for learner, taught_by in zip(switched, students, strict=True):
        assert type(learner.method) is METHODS[learner.name]
        assert torch.equal(learner.method.targets, predict_all([taught_by], items.inputs)[0])
        teacher = by_name[METHODS[learner.name].teacher].method.state_dict()
        assert all(torch.equal(learner.method.state_dict()[key], value) for key, value in teacher.items())
    anew = build(2, [teachers, students], retrain=True)
    heads = {learner.name: learner.method.classifier.head.weight for learner in [*anew, *teachers]}
    head = heads["kd-crowd-crowd-layer"]
    assert torch.equal(head, heads["kd-crowd-max-mig"])
    assert not any(torch.equal(head, heads[name]) for name in ("crowd-layer", "max-mig"))
    assert all(torch.equal(a.method.targets, b.method.targets) for a, b in zip(anew, switched, strict=True))

    by_name["max-mig"].failure = "broken"  # no teacher, no student
    assert [learner.name for learner in build(1, [teachers])] == [name for name in TEACHERS if name != "kd-crowd-max-mig"]


@pytest.mark.parametrize("kind", ROBUST.values())
def test_students_look_at_no_crowd(kind):
    losses = []
    for dense in (DENSE, DENSE[::-1].copy()):
        method, _ = student(kind)
        torch.manual_seed(1)
        crowd = CrowdLabels.from_dense(dense, CLASSES)
        batch = Batch(torch.arange(5), INPUTS, crowd, lambda: INPUTS)
        losses.append([method.loss(batch).item()])
        method.epoch = 5  # of DivideMix: after its warm-up
        losses[-1].append(method.loss(batch).item())
    assert losses[0] == losses[1]


def test_distillation():
    log_p = torch.log_softmax(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), 1)
    certain = torch.eye(3)[[0, 1, 2, 0, 1]]
    method, _ = student(ELR)
    expected = mig_loss(log_p, torch.log(TARGETS), torch.log(SHARES))  # not the setting's prior, which is uniform
    assert method.distillation(log_p, TARGETS).item() == pytest.approx(expected.item(), rel=1e-4)
    assert np.isfinite(method.distillation(log_p, certain).item())
    method, _ = student(ELR, kd_loss="kl")
    expected = (TARGETS * (torch.log(TARGETS) - log_p)).sum(1).mean()
    assert method.distillation(log_p, TARGETS).item() == pytest.approx(expected.item(), rel=1e-5)
    assert np.isfinite(method.distillation(log_p, certain).item())


@pytest.mark.parametrize("used", [None, torch.tensor([True, False, True, True, False])])
def test_label_loss(used):
    log_p = torch.log_softmax(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), 1)
    chosen = slice(None) if used is None else used
    method, _ = student(ELR)
    expected = label_mig_loss(log_p[chosen], TARGETS[chosen], torch.log(SHARES))
    assert method.label_loss(log_p, TARGETS, used).item() == pytest.approx(expected.item(), rel=1e-4)
    method, _ = student(ELR, kd_loss="kl")
    expected = (TARGETS * (torch.log(TARGETS) - log_p)).sum(1)[chosen].mean()
    assert method.label_loss(log_p, TARGETS, used).item() == pytest.approx(expected.item(), rel=1e-5)
    certain = torch.eye(3)[[0, 1, 2, 0, 1]]
    assert np.isfinite(method.label_loss(log_p, certain, used).item())


def test_elr_gradient_and_running_targets():
    method, crowd = student(ELR)
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    running = torch.softmax(torch.randn(5, 3, dtype=torch.float64), 1)
    p = torch.softmax(logits, 1)
    ELR.regularisation(p, running).backward()
    # ELR's equation: d/dz_c log(1 - <p, t>) = p_c / (1 - <p, t>) sum_k (t_k - t_c) p_k
    inner = (p * running).sum(1, keepdim=True)
    expected = 3 / 5 * p / (1 - inner) * ((running * p).sum(1, keepdim=True) - running)
    torch.testing.assert_close(logits.grad, expected.detach())

    h = torch.softmax(method.classifier(INPUTS), 1).detach()
    items = torch.tensor([3, 1])
    for _ in range(2):
        method.loss(Batch(items, INPUTS[items], crowd.select(items)))
    torch.testing.assert_close(method.running[items], (.3 + .7 * .3) * h[items])
    assert (method.running[[0, 2, 4]] == 0).all()


@pytest.mark.parametrize("kd_loss", ["mig", "kl"])
def test_elr_loss_by_hand(kd_loss):
    """Of three items in another order: each has its teacher's most probable class as a label."""
    method, crowd = student(ELR, kd_loss=kd_loss)
    items = torch.tensor([3, 1, 0])
    log_p = torch.log_softmax(method.classifier(INPUTS[items]), 1).detach()
    probable = TARGETS.argmax(1)
    shares = (torch.bincount(probable, minlength=CLASSES) + 1) / (5 + CLASSES)
    label_loss = (label_mig_loss(log_p, torch.eye(CLASSES)[probable[items]], torch.log(shares)) if kd_loss == "mig"
                  else -log_p[range(3), probable[items]].mean())
    regularisation = 3 * torch.log(1 - .3 * (log_p.exp() ** 2).sum(1)).mean()  # the running mean has begun with .3 p
    loss = method.loss(Batch(items, INPUTS[items], crowd.select(items)))
    assert loss.item() == pytest.approx((label_loss + regularisation).item(), rel=1e-4)


def test_clean_probability_splits_losses_made_by_hand():
    random = np.random.default_rng(0)
    losses = torch.tensor(np.concatenate([random.normal(.2, .05, 80), random.normal(2, .3, 20)]), dtype=torch.float32)
    clean = clean_probability(losses)
    assert (clean[:80] > .9).all() and (clean[80:] < .1).all()
    assert (clean_probability(torch.full((10,), .3)) == 1).all()  # nothing to tell apart


def test_sharpen_by_hand():
    np.testing.assert_allclose(sharpen(torch.tensor([[.6, .3, .1]])), [[.36 / .46, .09 / .46, .01 / .46]], rtol=1e-5)


def test_dividemix_each_network_is_told_by_the_other():
    method, crowd = student(DivideMix, epochs=10)  # two epochs of warm-up
    batch = Batch(torch.arange(5), INPUTS, crowd, lambda: INPUTS)
    warm = sum(method.label_loss(torch.log_softmax(network(INPUTS), 1), TARGETS) for network in method.networks())
    assert method.loss(batch).item() == pytest.approx(warm.item(), rel=1e-6)
    assert not torch.equal(method.classifier.head.weight, method.second.head.weight)
    hard = method.hard
    assert hard.argmax(1).tolist() == [0, 1, 2, 2, 0]
    sure, wrong = hard * .94 + .02, hard.roll(1, 1) * .94 + .02
    # the first network thinks that the labels of items 0 and 1 are wrong, the second item 4's
    p = torch.stack([torch.cat([wrong[:2], sure[2:]]), torch.cat([sure[:4], wrong[4:]])], 1)
    method.end_epoch(lambda function: pytest.fail("asked for in the warm-up"))
    method.end_epoch(lambda function: p)
    assert (method.clean[1] > .5).tolist() == [False, False, True, True, True]
    assert (method.clean[0] > .5).tolist() == [True, True, True, True, False]

    method.clean = torch.where(method.clean > .5, .7, .2)
    seen = []
    method.mix_match = lambda *inputs: seen.append(inputs) or torch.tensor(0.)
    method.loss(batch)
    guesses = [torch.softmax(network(INPUTS), 1).detach() for network in method.networks()]
    for k, (network, _, target, used, log_prior) in enumerate(seen):
        assert torch.equal(log_prior, method.used_log_prior[k]) and not torch.equal(log_prior, method.hard_log_prior)
        assert network is method.networks()[k] and used.tolist() == (method.clean[k] > .5).tolist() * 2
        w = method.clean[k][:, None]
        refined, guessed = w * hard + (1 - w) * guesses[k], (guesses[0] + guesses[1]) / 2
        torch.testing.assert_close(target[:5], sharpen(torch.where(used[:5, None], refined, guessed)))
        torch.testing.assert_close(target[5:], target[:5])
        assert not target.requires_grad, "the guesses are labels: nothing is learnt through them"


@pytest.mark.parametrize("share", [1., .7])
@pytest.mark.parametrize("lambda_u", [0., 25.])
def test_mix_match_by_hand(monkeypatch, share, lambda_u):
    """The label loss on what is used, lambda_u times the squared error elsewhere, and the balance; with 0 no error."""
    method, _ = student(DivideMix, epochs=10, lambda_u=lambda_u)
    guess_loss, calls = method.guess_loss, []
    monkeypatch.setattr(method, "guess_loss", lambda *inputs: calls.append(1) or guess_loss(*inputs))
    method.epoch = method.warm_up + 8  # half way up the ramp
    other = torch.tensor([1, 2, 3, 4, 0])
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda self: torch.tensor(1 - share))
    monkeypatch.setattr(torch, "randperm", lambda count: other)
    used = torch.tensor([True, True, False, True, False])
    log_prior = torch.log(torch.tensor([.5, .3, .2]))
    loss = method.mix_match(method.classifier, INPUTS, TARGETS, used, log_prior)
    log_p = torch.log_softmax(method.classifier(share * INPUTS + (1 - share) * INPUTS[other]), 1)
    p, mixed = log_p.exp().detach().numpy(), share * TARGETS + (1 - share) * TARGETS[other]
    error = ((p - mixed.numpy()) ** 2).mean(1)[~used.numpy()].mean()
    shares = np.array([3, 2, 3]) / 8  # of the hard labels 0, 1, 2, 2, 0, with one pseudo-count each
    balance = (shares * np.log(shares / p.mean(0))).sum()
    labelled = label_mig_loss(log_p[used], mixed[used], log_prior).item()
    assert loss.item() == pytest.approx(labelled + lambda_u * .5 * error + balance, rel=1e-4)
    assert bool(calls) == (lambda_u > 0)


def test_dividemix_resumes_after_the_warm_up():
    method, _ = student(DivideMix, epochs=5)
    method.end_epoch(lambda function: torch.stack([TARGETS, TARGETS], 1))
    other, _ = student(DivideMix, epochs=5)
    other.load_state_dict(method.state_dict())
    assert other.epoch == 1 and torch.equal(other.clean, method.clean)
    assert torch.equal(other.used_log_prior, method.used_log_prior)


def test_dividemix_takes_the_shares_of_the_labels_that_each_network_uses(monkeypatch):
    method, _ = student(DivideMix, epochs=5)
    # by network 0 for network 1, and the other way round
    clean = iter([torch.tensor([1., 1., 0., 0., 1.]), torch.tensor([0., 1., 1., 1., 0.])])
    monkeypatch.setattr("common.kd_crowd.dividemix.clean_probability", lambda losses: next(clean))
    method.end_epoch(lambda function: torch.stack([TARGETS, TARGETS], 1))  # the hard labels are 0, 1, 2, 2, 0
    torch.testing.assert_close(method.used_log_prior.exp(), torch.tensor([[1, 2, 3], [3, 2, 1]]) / 6)


def test_memorized_by_hand():
    truth = torch.tensor([0, 1, 2, -1])  # the last is not known
    dense = np.array([[0, 1, 1], [0, 0, -1], [2, 0, 1], [1, 1, 1]])
    items = Items(None, truth, None, CrowdLabels.from_dense(dense, 3))
    # annotator 0 errs on item 1, 1 on items 0, 1 and 2, 2 on items 0 and 2
    share = memorized(torch.tensor([1, 0, 2, 1]), items)
    np.testing.assert_allclose(share, [1, 2 / 3, .5])
    nobody = Items(None, truth[:1], None, CrowdLabels.from_dense(np.array([[0, 1]]), 3))
    assert memorized(torch.tensor([2]), nobody).isnan().tolist() == [True, False]


def test_annotator_error_by_hand():
    true = torch.tensor([[[.5, .5], [0, 1]], [[torch.nan, torch.nan], [.2, .8]], [[torch.nan] * 2] * 2])
    estimated = torch.tensor([[[.6, .4], [.3, .7]], [[.9, .1], [.3, .7]], [[.5, .5]] * 2])
    error = annotator_error(true, estimated)
    np.testing.assert_allclose(error[:2], [(.2 + .2 + .3) / 3, (.5 + .125) / 2], rtol=1e-5)
    assert error[2].isnan()


def run(tmp_path, name, *arguments):
    folder = tmp_path / name
    status = digits_main.main([*map(str, SMALL), "--device", "cpu", "--precision", "float32", "--out", str(folder),
                               *map(str, arguments)])
    return status, folder, json.loads((folder / "summary.json").read_text())


def read_csv(file):
    with open(file, newline="") as rows:
        return list(csv.DictReader(rows))


def test_a_rare_class_of_the_teacher_is_no_frequent_one_of_the_student():
    """The best student of a teacher that knows nothing but the shares predicts them; with a uniform prior it would predict
    every class as often."""
    shares = torch.tensor([.9, .07, .03])
    targets = shares.repeat(1000, 1)
    setting = Setting(lambda: Classifier(torch.nn.Identity(), torch.nn.Linear(4, CLASSES)), None, None,
                      torch.full((CLASSES,), 1 / CLASSES), distillation=Distillation(targets))
    method, logits = ELR(setting), torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], .05)
    for _ in range(400):
        loss = method.label_loss(torch.log_softmax(logits, 0).repeat(64, 1), targets[:64])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(torch.softmax(logits, 0).detach(), shares, atol=.01, rtol=0)


def test_a_class_that_no_item_is_predicted_to_be_has_a_finite_loss():
    """DivideMix's balance of the classes, where a mean prediction is zero in float32."""
    method, _ = student(DivideMix)
    logits = torch.tensor([[200., -200., 0.]]).repeat(4, 1).requires_grad_()
    loss = method.mix_match(lambda inputs: logits, torch.zeros(4, 2, dtype=torch.double), torch.eye(3)[[0, 0, 0, 0]],
                            torch.ones(4, dtype=torch.bool), method.used_log_prior[0])
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_a_class_that_the_teacher_never_sees_has_a_finite_loss():
    targets = torch.eye(3)[[0, 1] * 20]
    assert class_shares(targets).tolist() == pytest.approx([21 / 43, 21 / 43, 1 / 43])
    method, _ = student(ELR)
    method.kd_log_prior = torch.log(class_shares(targets))
    assert np.isfinite(method.label_loss(torch.log_softmax(torch.zeros(40, 3), 1), targets).item())


def test_a_crowd_without_an_error_has_no_figures(tmp_path, capsys, recwarn):
    truth = torch.arange(40) % 3
    crowd = CrowdLabels.from_dense(truth[:, None].repeat(1, 4).numpy(), 3)
    items = Items(FeatureSet(torch.randn(40, 6)), truth, list(map(str, range(40))), crowd)
    dataset = Dataset(items, items, list("abc"), list(range(4)))
    protocol = Protocol("x", lambda precision: feature_net(6, 3, precision), 1, 8, 1e-2, 1e-2, (1 / 3,) * 3, ("max-mig",))
    options = Options(methods=["crowd-layer", "kd-crowd-crowd-layer"], epochs=1, batch_size=8, augment="none", device="cpu",
                      precision="float32", out=str(tmp_path / "run"))
    assert training_run.run(dataset, protocol, options) == 0
    assert "no annotator's error is known: KD-Crowd's two figures" in capsys.readouterr().out
    assert not list(tmp_path.glob("run/memorization*"))
    assert not [warning for warning in recwarn if "degrees of freedom" in str(warning.message)]


@pytest.mark.pictures
def test_the_command_and_its_figures(command, tmp_path):
    done = command("Digits", "--case", 2, "--epochs", 2, *SMALL, "--methods", *KD, "aggnet", "true-label",
                   "--precision", "float32")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "digits-case2-high-seed0"
    rows = read_csv(folder / "metrics.csv")
    assert list(rows[0]) == ["epoch", "stage", "method", "loss", "test_accuracy", "test_auc", "seconds"]
    trained = {(row["stage"], row["method"]) for row in rows if row["loss"]}
    assert trained == {("0", "max-mig"), ("0", "crowd-layer"), ("0", "true-label"), ("0", "aggnet"),
                       *((stage, name) for stage in "12" for name in KD)}
    summary = json.loads((folder / "summary.json").read_text())["methods"]
    for name in KD:
        last = [row for row in rows if row["method"] == name and row["stage"] == "2"][-1]
        assert summary[name]["last"]["test_accuracy"] == float(last["test_accuracy"])
    assert "kd-crowd-max-mig-forecaster" in summary

    memorization = read_csv(folder / "memorization.csv")
    assert {(row["method"], row["stage"], row["epoch"]) for row in memorization} == {
        (name, str(stage), epoch) for name in KD for stage in (1, 2) for epoch in "12"} | {
        (METHODS[name].teacher, "0", epoch) for name in KD for epoch in "12"}
    assert all(0 <= float(row["mean"]) <= 1 for row in memorization)
    errors = read_csv(folder / "annotator_error.csv")
    assert len(errors) == 10 and set(errors[0]) == {"annotator", "crowd-layer", "max-mig", *KD}
    for name in ("max-mig", *KD):
        assert summary[name]["annotator_error"] == pytest.approx(np.mean([float(row[name]) for row in errors]), rel=1e-5)
    for picture in ("memorization.png", "annotator_error.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")

    # the teachers are what they are without students
    alone = command("Digits", "--case", 2, "--epochs", 2, *SMALL, "--methods", "max-mig", "true-label", "--out", "alone",
                    "--precision", "float32")
    assert alone.returncode == 0
    teachers = [{key: value for key, value in row.items() if key not in ("stage", "seconds")} for row in rows
                if row["stage"] == "0" and row["method"] not in ("crowd-layer", "aggnet")]
    assert numbers(tmp_path / "alone") == teachers


@pytest.mark.parametrize("robust", ROBUST)
def test_killed_in_a_later_stage_and_resumed(start, command, tmp_path, robust):
    arguments = ("Digits", "--case", 1, "--epochs", 2, "--train-size", 150, "--test-size", 50, "--methods",
                 "kd-crowd-max-mig", "--robust", robust)
    killed = start(*arguments, "--out", "killed", each_epoch=True, killed_at=3)
    said = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said
    stopped = torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)
    assert (stopped["stage"], stopped["epoch"]) == (1, 1)
    resumed, whole = command(*arguments, "--out", "killed"), command(*arguments, "--out", "whole")
    assert resumed.returncode == whole.returncode == 0, resumed.stderr
    assert "going on after stage 1, epoch 1" in resumed.stdout
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")
    assert same_weights(tmp_path / "killed", tmp_path / "whole")
    for name in ("labels.csv", "memorization.csv", "annotator_error.csv"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()


TWO_EPOCHS = "--epochs", 2, "--methods", "kd-crowd-max-mig"


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    """The folder of a run without flags of KD-Crowd."""
    return run(tmp_path_factory.mktemp("plain"), "plain", *TWO_EPOCHS)[1]


@pytest.mark.parametrize("flags", [("--robust", "dividemix"), ("--kd-loss", "kl"), ("--kd-weight", ".5"), ("--retrain",)])
def test_flags_change_the_students_alone(tmp_path, plain_run, flags):
    changed = run(tmp_path, "changed", *TWO_EPOCHS, *flags)[1]
    first = {"--kd-weight": "2", "--retrain": "2"}.get(flags[0], "1")
    for a, b in zip(numbers(plain_run), numbers(changed), strict=True):
        if a["loss"]:
            assert (a == b) == (a["stage"] < first)


def test_nothing_of_the_truth_reaches_the_students(tmp_path, monkeypatch):
    for robust in ROBUST:
        arguments = ("--epochs", 2, "--methods", "kd-crowd-max-mig", "--robust", robust, "--train-size", 100)
        honest = run(tmp_path, f"honest-{robust}", *arguments)[1]
        make_dataset = dataset_module.synthesized
        with monkeypatch.context() as patch:
            def lied_to(*inputs, make_dataset=make_dataset):
                digits = make_dataset(*inputs)
                digits.train.truth.copy_(digits.train.truth.flip(0))
                return digits
            patch.setattr(dataset_module, "synthesized", lied_to)
            lied = run(tmp_path, f"lied-{robust}", *arguments)[1]
        assert numbers(honest) == numbers(lied)


def test_a_teacher_that_breaks_has_no_student(tmp_path, monkeypatch):
    monkeypatch.setattr(MaxMIG, "loss_from", lambda self, logits, batch: logits.sum() * float("nan"))
    status, _, summary = run(tmp_path, "run", "--epochs", 1, "--methods", *KD)
    assert status == 0
    for name in ("max-mig", "kd-crowd-max-mig"):
        assert summary["methods"][name]["failure"] == "loss not finite in epoch 1, batch 1"
        assert summary["methods"][name]["last"] is None
    assert summary["methods"]["kd-crowd-crowd-layer"]["last"] is not None


@pytest.mark.parametrize("at", [1, 6, None])
def test_a_student_that_breaks_leaves_its_teacher(tmp_path, monkeypatch, at):
    """In the first batch, in the second epoch, and in the very last step, whose loss is finite and gradient is not."""
    calls, loss = [], ELR.loss

    def broken(self, batch):
        calls.append(1)
        value = loss(self, batch)
        if len(calls) == at:
            return value * float("nan")
        if at is None and len(calls) == 8:
            value.register_hook(lambda gradient: gradient * float("nan"))
        return value
    monkeypatch.setattr(ELR, "loss", broken)
    out = tmp_path / "run"
    for again in ((), ("--fresh",)):  # a retry ends as well
        calls.clear()
        assert digits_main.main([*map(str, SMALL), "--epochs", "2", "--batch-size", "64", "--methods", "kd-crowd-max-mig",
                                 "--device", "cpu", "--out", str(out), *again]) == 0
        methods = json.loads((out / "summary.json").read_text())["methods"]
        assert methods["kd-crowd-max-mig"]["failure"] == {
            1: "loss not finite in stage 1, epoch 1, batch 1", 6: "loss not finite in stage 1, epoch 2, batch 2",
            None: "weights not finite after stage 1, epoch 2"}[at]
        assert methods["max-mig"]["last"]["test_accuracy"] is not None and (out / "curves.png").exists()
