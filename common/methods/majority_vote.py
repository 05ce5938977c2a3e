"""Majority vote: cross-entropy on each item's most frequent label."""
from common.crowd import majority_vote
from common.methods.method import Method, one_hot, soft_cross_entropy


class MajorityVote(Method):
    name = "majority-vote"

    def loss_from(self, logits, batch):
        return soft_cross_entropy(logits, one_hot(majority_vote(batch.crowd), batch.crowd.classes))

    def aggregate(self, predict_train, crowd):
        """The votes themselves, one-hot; uniform for an item without labels."""
        votes = one_hot(majority_vote(crowd), crowd.classes)
        return votes.where(votes.sum(1, keepdim=True) > 0, 1 / crowd.classes)
