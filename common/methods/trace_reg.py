"""Trace regularisation (Tanno et al., CVPR 2019): the confusion matrices, with a penalty on their traces."""
from common.methods.coupled import Coupled

STRENGTH = .01  # lambda


class TraceReg(Coupled):
    """loss = coupled cross-entropy + lambda mean_m trace(A^m); the parameters start at 6 I - 5. The rows of A^m are a
    softmax of them; the published code has a normalised softplus."""
    name = "trace-reg"

    @staticmethod
    def start(identity):
        return 6 * identity - 5

    def regularisation(self, h, matrices, crowd):
        return STRENGTH * matrices.diagonal(dim1=1, dim2=2).sum(1).mean() if len(crowd.label) else 0
