"""Majority vote: cross-entropy on each item's most frequent label."""
from torch.nn import functional

from common.crowd import majority_vote
from common.methods.method import Method, soft_cross_entropy


def one_hot(labels, classes):
    """float32 (N, C); a row of zeros where the label is -1."""
    return functional.one_hot(labels + 1, classes + 1)[:, 1:].float()


class MajorityVote(Method):
    name = "majority-vote"

    def loss(self, batch):
        return soft_cross_entropy(self.classifier(batch.inputs), one_hot(majority_vote(batch.crowd), batch.crowd.classes))

    def aggregate(self, predict_train, crowd):
        """The votes themselves, one-hot; uniform for an item without labels."""
        votes = one_hot(majority_vote(crowd), crowd.classes)
        return votes.where(votes.sum(1, keepdim=True) > 0, 1 / crowd.classes)
