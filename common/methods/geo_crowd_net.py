"""GeoCrowdNet (Ibrahim, Nguyen & Fu, ICLR 2023): geometry makes the classifier and the matrices identifiable."""
import torch

from common.methods.coupled import Coupled

LIMIT = 100.  # a term that is above this, or not finite, is dropped


def minus_log_volume(gram):
    """-log det of a Gram matrix (C, C), zero where that is not finite or above LIMIT; what is dropped has no gradient.

    The determinant of a singular Gram matrix can be below zero by rounding: then its logarithm is not finite.
    """
    sign, volume = torch.linalg.slogdet(gram.detach())
    kept = (sign > 0) & volume.isfinite() & (-volume <= LIMIT)
    identity = torch.eye(len(gram), device=gram.device)
    return -torch.linalg.slogdet(torch.where(kept, gram, identity)).logabsdet


class GeoCrowdNetF(Coupled):
    """loss = coupled cross-entropy - lambda log det(H^T H), H (B, C) the batch's predictions; parameters start at I."""
    name = "geo-crowd-net-f"
    strength = 1e-3  # lambda; the paper's lie between this and 1e-4

    @staticmethod
    def start(identity):
        return identity

    def regularisation(self, h, matrices, crowd):
        used = torch.where((crowd.counts > 0)[:, None], h, 0)  # no mask: its length would have to be asked for
        return self.strength * minus_log_volume(used.T @ used)


class GeoCrowdNetW(GeoCrowdNetF):
    """loss = coupled cross-entropy - lambda log det(sum_m A^m A^mT)."""
    name = "geo-crowd-net-w"

    def regularisation(self, h, matrices, crowd):
        if not len(crowd.label):
            return 0
        return self.strength * minus_log_volume(torch.einsum("mcl,mdl->cd", matrices, matrices))
