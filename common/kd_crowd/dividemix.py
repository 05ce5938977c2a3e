"""DivideMix (Li, Socher & Hoi, ICLR 2020): two networks sort out each other's noisy labels and learn the rest from
each other's guesses."""
import math

import torch
from torch.nn import functional

from common.crowd.labels import class_shares
from common.kd_crowd.student import RobustLearner

WARM_UP = 1 / 5  # of the epochs are on the teacher's predictions as they are

CLEAN = .5  # probability from which a label is used

TEMPERATURE, ALPHA = .5, 4.  # of the sharpening, of MixMatch's Beta distribution

RAMP_UP = 16  # epochs in which the weight of the guesses' squared error rises to lambda_u


def clean_probability(losses):
    """float32 (N,): for each item the probability that its label is clean, the posterior of the component with the
    smaller mean in a mixture of two Gaussians on the losses (N,), scaled to [0, 1]."""
    low, high = losses.min(), losses.max()
    if not high > low:
        return torch.ones_like(losses)
    scaled = ((losses - low) / (high - low)).double().cpu().numpy()[:, None]
    from sklearn.mixture import GaussianMixture  # takes a second, which only this student need wait for
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(scaled)
    return torch.from_numpy(mixture.predict_proba(scaled)[:, mixture.means_.argmin()]).to(losses)


def sharpen(p):
    """p^(1/T), normalised; p: (B, C)."""
    power = p ** (1 / TEMPERATURE)
    return power / power.sum(1, keepdim=True)


class DivideMix(RobustLearner):
    """After a warm-up each epoch starts with co-divide: a mixture on each network's losses tells the *other* network
    which labels are clean. Clean labels are refined with the network's own predictions, the rest guessed by both
    (label co-refinement and co-guessing), and MixMatch trains on all. The two networks are trained side by side.

    Where there are no images to augment, an item's two views differ by dropout alone. What differs from the paper is in
    docs/methods.md.
    """
    draws = True

    def __init__(self, setting):
        super().__init__(setting)
        self.second = setting.network()
        self.lambda_u = setting.distillation.lambda_u
        self.warm_up = max(1, int(setting.epochs * WARM_UP))
        self.register_buffer("clean", torch.ones(2, len(self.targets)))  # of each label, for network k
        self.register_buffer("used_log_prior", self.hard_log_prior.repeat(2, 1))  # of the labels that network k uses
        self.register_buffer("epochs", torch.tensor(0))
        self.epoch = 0  # the same, on the host

    def networks(self):
        return self.classifier, self.second

    def loss(self, batch):
        if self.epoch < self.warm_up:
            targets = self.targets[batch.items]
            return sum(self.label_loss(torch.log_softmax(network(batch.inputs), 1), targets)
                       for network in self.networks())
        views = batch.view(), batch.view()
        with torch.no_grad():
            guesses = [torch.stack([torch.softmax(network(view), 1) for view in views]).mean(0)
                       for network in self.networks()]
        both = (guesses[0] + guesses[1]) / 2
        hard = self.hard[batch.items]
        loss = 0.
        for k, network in enumerate(self.networks()):
            weight = self.clean[k, batch.items][:, None]
            used = weight[:, 0] > CLEAN
            target = sharpen(torch.where(used[:, None], weight * hard + (1 - weight) * guesses[k], both))
            log_prior = self.used_log_prior[k]
            loss = loss + self.mix_match(network, torch.cat(views), target.repeat(2, 1), used.repeat(2), log_prior)
        return loss

    def mix_match(self, network, inputs, target, used, log_prior):
        """The loss of one network on mixed items: the label_loss where the label is used, lambda_u times the squared error
        of the guess elsewhere, and the divergence of the mean prediction from the hard labels' class shares.

        log_prior: (C,), of the labels that are used. A rare class has a smaller share of them than of all labels: its labels
        are harder to fit, and so less often taken for clean.
        """
        # drawn on the CPU; without its checks of ALPHA and with non_blocking nobody waits for the device
        share = torch.distributions.Beta(ALPHA, ALPHA, validate_args=False).sample().double()
        share = torch.maximum(share, 1 - share)
        other = torch.randperm(len(inputs)).to(inputs.device, non_blocking=True)
        log_p = torch.log_softmax(network(share * inputs + (1 - share) * inputs[other]), 1)
        mixed = share * target + (1 - share) * target[other]
        log_mean = torch.logsumexp(log_p, 0) - math.log(len(log_p))  # finite where a mean of float32 is zero
        balance = functional.kl_div(log_mean, self.hard_log_prior, log_target=True, reduction="sum")
        loss = self.label_loss(log_p, mixed, used, log_prior) + balance
        weight = self.lambda_u * min(1., (self.epoch - self.warm_up) / RAMP_UP)
        return loss + weight * self.guess_loss(log_p.exp(), mixed, used) if weight else loss

    @staticmethod
    def guess_loss(p, guesses, used):
        """The mean squared error of p (B, C) on the items whose label is not `used`, bool (B,); guesses: (B, C)."""
        return torch.where(used, 0, ((p - guesses) ** 2).mean(1)).sum() / (~used).sum().clamp(min=1)

    def predict(self, inputs):
        return sum(torch.softmax(network(inputs), 1) for network in self.networks()) / 2

    def end_epoch(self, predict_train):
        self.epoch += 1
        self.epochs.fill_(self.epoch)
        if self.epoch < self.warm_up:
            return
        p = predict_train(lambda inputs: torch.stack([torch.softmax(net(inputs), 1) for net in self.networks()], 1))
        losses = -torch.log((p * self.hard[:, None]).sum(2).clamp(min=1e-12))  # (N, 2)
        for k in range(2):
            self.clean[1 - k] = clean_probability(losses[:, k])
            self.used_log_prior[1 - k] = torch.log(class_shares(self.hard * (self.clean[1 - k] > CLEAN)[:, None]))

    def load_state_dict(self, state, *arguments, **named):
        super().load_state_dict(state, *arguments, **named)
        self.epoch = int(self.epochs)
