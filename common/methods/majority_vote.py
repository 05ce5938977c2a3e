"""Majority vote: cross-entropy on each item's most frequent label."""
from common.crowd import majority_vote
from common.methods.method import Method, one_hot, soft_cross_entropy


class MajorityVote(Method):
    name = "majority-vote"

    def __init__(self, setting):
        super().__init__(setting)
        votes = one_hot(majority_vote(setting.crowd), setting.crowd.classes)  # zeros for an item without labels
        self.register_buffer("votes", votes, persistent=False)

    def loss_from(self, logits, batch):
        return soft_cross_entropy(logits, self.votes[batch.items])

    def aggregate(self, predict_train, crowd):
        """The votes themselves, one-hot; uniform for an item without labels."""
        return self.votes.where(self.votes.sum(1, keepdim=True) > 0, 1 / crowd.classes)
