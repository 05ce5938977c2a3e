"""Each reader of what users wrote, on what hypothesis makes of a whole file: it is read, or refused in one sentence.

benchmarks/soak.py does the same by the hundred thousand.
"""
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broken_files import make, mutate, outcome, run_of_own_data
from conftest import ROOT  # noqa: F401  the scripts' folders are on the path

NAMES = ("batch-2", "batch-4", "archive-tar", "archive-gz", "cifar10h.csv", "cifar10n-0.pt", "cifar10n-8.pt", "columns",
         "labelme-answers", "labelme-labels_train", "labelme-labels_test", "labelme-data_train_vgg16",
         "labelme-data_test_vgg16", "array.npy", "image-jpg", "image-png", "image-tif", "image-gif", "image-bmp",
         "image-webp", "list.csv", "candidates.csv", "scan-header-False", "scan-data-False",
         "scan-header-True", "scan-data-True", "answers-long.csv", "answers.csv.gz", "answers-wide.tsv", "answers.json",
         "truth.csv", "features.csv", "features.npy", "items.txt", "texts.csv", "model.pt", "checkpoint.pt", "summary.json",
         "config.json", "checkpoint-resealed", "weights-new", "weights-old")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return make(folder, run_of_own_data(folder))


def test_every_file_is_read_as_it_is(whole):
    assert set(whole) == set(NAMES)
    for name, (path, read) in whole.items():
        assert outcome(read, path) == "read", name


@pytest.mark.parametrize("name", NAMES)
def test_broken_files(whole, name):
    path, read = whole[name]
    content = path.read_bytes()

    @settings(max_examples=40, derandomize=True, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.integers(0, 2**32).map(lambda seed: mutate(content, np.random.default_rng(seed))),
                     st.binary(max_size=300)))
    def holds(broken):
        path.write_bytes(broken)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = outcome(read, path)
        if isinstance(found, Exception):
            raise found
    try:
        holds()
    finally:
        path.write_bytes(content)
