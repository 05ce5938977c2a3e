"""The label model of a crowd whose copies are found first, then counted once."""
from dataclasses import dataclass

from common.crowd.bayes import LabelModel, Labels
from common.crowd.copying import Copies, find_copies
from common.names import LABEL_MODEL, MAJORITY_VOTE


@dataclass(frozen=True)
class FittedCrowd:
    """What is known of a crowd at the end of a run.

    model: its LabelModel; labels: the Labels that labels.csv follows; copies: the Copies among the annotators.
    """
    model: LabelModel
    labels: Labels
    copies: Copies

    @classmethod
    def of(cls, model, h=None):
        """The FittedCrowd of a LabelModel: copies are found, then counted once. h: (N, C), see LabelModel.labels."""
        copies = find_copies(model, h)
        if len(copies.first):
            model = LabelModel(model.crowd, model.gold, model.held_out, copies.representative)
        return cls(model, model.labels(h), copies)

    def by(self, source, posterior):
        """The same crowd where labels.csv follows the label estimate `source`, a name, whose posterior (N, C) is given."""
        if source == LABEL_MODEL:
            return self
        annotators = self.model.m_step(posterior)
        others = self.model.alone.others if source == MAJORITY_VOTE else self.model.without_own(posterior, annotators)
        part = 1., posterior, others
        return FittedCrowd(self.model, Labels(posterior, [part], annotators), self.copies)

    def confusion(self):
        """float (M, C, C): the annotators' confusion matrices, rows the true class."""
        return self.model.confusion(self.labels.parts[0][1], self.labels.annotators)
