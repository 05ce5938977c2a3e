"""Max-MIG's crowd aggregator g and the forecaster, which joins g with the classifier h."""
import torch
from torch import nn


class Aggregator(nn.Module):
    """g(y_i) = softmax(sum_m W^m[:, y_i^m] + log p); a missing label adds nothing.

    weights: (M, C, C), the initial W, [m, c, l]. They are kept as a table (M * C, C) with row m * C + l = W^m[:, l],
    so that an item's evidence is a bag of rows.
    """

    def __init__(self, weights):
        super().__init__()
        classes = weights.shape[1]
        self.table = nn.Parameter(weights.transpose(1, 2).reshape(-1, classes).contiguous())

    def forward(self, crowd, log_prior):
        """log g, float32 (N, C), for the N items of `crowd` (CrowdLabels)."""
        return torch.log_softmax(crowd.evidence(self.table) + log_prior, 1)

    def confusion(self):
        """(M, C, C): each annotator's confusion matrix as the model sees it, the row-wise softmax of W^m."""
        classes = self.table.shape[1]
        return torch.softmax(self.table.detach().view(-1, classes, classes).transpose(1, 2), 2)


def forecast(h, log_g, log_prior):
    """What h and g say together: proportional to h(x)_c g(y)_c / p_c. h: (N, C); log_g: (N, C); log_prior: (C,)."""
    return torch.softmax(torch.log(h) + log_g - log_prior, 1)
