"""MBEM (Khetan, Lipton & Anandkumar, ICLR 2018): confusion matrices by the classifier's hard predictions."""
from common.crowd.labels import confusion_from
from common.methods.aggnet import EM, e_step
from common.methods.method import one_hot


class MBEM(EM):
    """pi and the class prior are counted from the classifier's hard predictions, then q is
    proportional to prior_c prod_m pi^m[c, y^m]; h is trained on q.

    The published h is trained to its end before each E-step, here for the epochs of an M-step (see Constants). A class that
    h does not predict for a while has no prior then, and can be lost.
    """
    name = "mbem"

    def revise(self, h):
        hard = one_hot(h.argmax(1), self.crowd.classes)
        return e_step(self.crowd, confusion_from(self.crowd, hard), hard.mean(0))
