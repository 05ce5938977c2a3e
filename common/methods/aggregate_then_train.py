"""Methods in two steps: the crowd's labels are aggregated without a classifier, then one is trained on the result."""
from common.crowd.dawid_skene import dawid_skene, one_coin
from common.crowd.labels import majority_vote
from common.methods.method import Method, one_hot, soft_cross_entropy


class AggregateThenTrain(Method):
    """Cross-entropy on `posterior`, float32 (N, C), which a subclass makes of the crowd's labels; items without labels
    are not trained on."""

    def __init__(self, setting):
        super().__init__(setting)
        target = self.posterior(setting.crowd) * (setting.crowd.counts > 0)[:, None]
        self.register_buffer("target", target, persistent=False)

    @staticmethod
    def posterior(crowd):
        raise NotImplementedError

    def loss_from(self, logits, batch):
        return soft_cross_entropy(logits, self.target[batch.items])


class MajorityVote(AggregateThenTrain):
    """Each item's most frequent label, ties to the lowest class; uniform for an item without labels."""
    name = "majority-vote"

    @staticmethod
    def posterior(crowd):
        votes = one_hot(majority_vote(crowd), crowd.classes)
        return votes.where(votes.sum(1, keepdim=True) > 0, 1 / crowd.classes)


class DawidSkene(AggregateThenTrain):
    """Dawid & Skene (1979): EM with a confusion matrix for each annotator."""
    name = "dawid-skene"
    posterior = staticmethod(dawid_skene)


class OneCoin(AggregateThenTrain):
    """EM with one accuracy for each annotator."""
    name = "one-coin"
    posterior = staticmethod(one_coin)
