"""Max-MIG (Cao, Xu, Kong & Wang, ICLR 2019): classifier and aggregator maximise their f-mutual information."""
import torch
from torch import nn

from common.losses import mig_loss, trainable
from common.methods.method import Method
from common.networks.aggregator import Aggregator, forecast


class MaxMIG(Method):
    """h and g are trained together on -MIG^f; the prior p is fixed, or the softmax of what is learnt."""
    name = "max-mig"
    forecasts = True

    @classmethod
    def has_start(cls, protocol):
        return True

    def __init__(self, setting):
        super().__init__(setting)
        self.aggregator = Aggregator(setting.initial_weights())
        self.prior_logits = nn.Parameter(torch.log(setting.prior), requires_grad=setting.constants.learn_prior)
        self.divergence = trainable(setting.constants.divergence)

    def log_prior(self):
        """log p, (C,)."""
        return torch.log_softmax(self.prior_logits, 0)

    def loss_from(self, logits, batch):
        log_prior = self.log_prior()
        log_g = self.aggregator(batch.crowd, log_prior)
        return mig_loss(torch.log_softmax(logits, 1), log_g, log_prior, self.divergence, batch.crowd.counts > 0)

    def forecast(self, probabilities, crowd):
        log_prior = self.log_prior()
        return forecast(probabilities, self.aggregator(crowd, log_prior), log_prior)

    def confusion(self, posterior, crowd):
        return self.aggregator.confusion()

    def report(self):
        return {"prior": self.log_prior().exp().tolist()}

    def aggregator_parameters(self):
        return [self.aggregator.table, self.prior_logits]
