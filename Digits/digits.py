"""scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, and their crowd."""
import numpy as np
import torch

from common.crowd.synthetic import pair_experts
from common.data.dataset import Items
from common.data.images import Augmentation, ImageSet

TEST = 500
# Digits that look alike: of all ways to make five pairs, the one with most confusions between the two of a pair.
# tests/crowd/test_labels.py counts them, on the training items.
PAIRS = ((5, 9), (1, 8), (2, 3), (4, 7), (0, 6))
EXPERTS = pair_experts(PAIRS)


def load():
    """(train, test): 1,297 and 500 Items, a fixed split with every digit's share kept. Names are load_digits' indices."""
    from sklearn.datasets import load_digits  # takes a second, which --help need not wait for
    from sklearn.model_selection import train_test_split
    digits = load_digits()
    pixels = torch.from_numpy(np.round(digits.images * (255 / 16)).astype(np.uint8))[..., None]
    truth = torch.from_numpy(digits.target.astype(np.int64))
    everything = Items(ImageSet(pixels, (.3054,), (.3760,), Augmentation(flip=False, rotation=15)), truth,
                       [str(i) for i in range(len(truth))])
    train, test = train_test_split(np.arange(len(truth)), test_size=TEST, random_state=0, stratify=digits.target)
    return everything.select(torch.from_numpy(train)), everything.select(torch.from_numpy(test))
