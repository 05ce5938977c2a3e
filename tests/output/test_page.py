"""report.html: what stands in it, of plain data."""
import base64
import io
import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from common.crowd.labels import CrowdLabels
from common.data.features import FeatureSet
from common.data.images import ImageSet
from common.output import page, plots

CLASSES, NAMES = ["cat", "dog & <co>"], ["ann", "bob <script>", "cas"]
OUTVOTED = [False, False, True, True]


def crowd():
    return CrowdLabels.from_dense(np.array([[0, 0, 1], [1, 1, -1], [-1, 0, 1], [0, -1, -1]]), 2)


def rows():
    return [{"item": f"<{k}>.png", "truth": "", "majority_vote": vote, "label": label, "confidence": str(confidence),
             "answers": "3"}
            for k, (vote, label, confidence) in enumerate([("cat", "cat", .6), ("dog & <co>", "dog & <co>", .99),
                                                           ("cat", "dog & <co>", .7), ("dog & <co>", "cat", .55)])]


def make(show=lambda items: [{} for _ in items], curves=None, methods=None, shares=None, flag="", tables=(), **known):
    methods = methods or {
        "max-mig": {"last": {"test_accuracy": .875, "test_auc": None}, "best": None, "train_label_accuracy": None,
                    "seconds": 12.3},
        "aggnet": {"last": None, "best": None, "train_label_accuracy": None, "seconds": 1., "failure": "loss not finite"}}
    summary = {"methods": methods, "items": 4, "annotators": 3, "labels": 8, "majority_vote_accuracy": None,
               "label_source": "max-mig", "seconds": 13.4, "peak_memory_mb": 500., **known}
    annotators = [{"annotator": name, "labels": str(n), "agreement": "0.51", "flag": flag if n == 2 else "",
                   "spam": "likely" if n == 3 else ""}
                  for name, n in zip(NAMES, (3, 3, 2), strict=True)]
    labels = iter(row | (shares or {}) for row in rows())
    return page.page("a run", summary, labels=labels, annotators=annotators, upcoming=[], curves=curves, classes=CLASSES,
                     names=NAMES, crowd=crowd(), outvoted=OUTVOTED, confusion=np.full((3, 2, 2), .5, np.float32), show=show,
                     has_model=False, tables=tables)


def test_what_stands_in_it():
    html = make()
    assert "<script" not in html and "bob &lt;script&gt;" in html and "dog &amp; &lt;co&gt;" in html
    assert "87.5" in html and "loss not finite" in html and "test AUC" not in html and "label accuracy" not in html
    assert "spam" in html and "likely" in html  # a column that it does not know
    assert "<th>flag</th>" not in html  # one in which nothing stands
    assert not re.search(r"(src|href)=", html)


def test_flagged_annotators_are_shown_however_many_there_are(monkeypatch):
    monkeypatch.setattr(page, "ANNOTATORS", 2)
    assert "1 more are in annotators.csv" in make() and "1 more" in make(flag="no labels")
    assert "spammer</bdi></span>" in make(flag="spammer") and "more are in" not in make(flag="spammer")


def test_the_files_that_there_are():
    assert "summary.json, labels.csv, next.csv.</footer>" in make(tables=["labels.csv", "next.csv"])


def test_accuracies_where_the_truth_is_known():
    shown = "<b>95.0 %</b><span>labels.csv, accuracy", "<b>75.0 %</b><span>majority vote, accuracy"
    html = make(label_accuracy=.95, calibration_error=.02, majority_vote_accuracy=.75)
    assert all(text in html for text in shown)
    assert "csv, accuracy" not in make()


def test_only_a_run_with_a_model_is_sent_to_predict_py():
    without, with_model = (page.what_to_do({"classifier": "aggnet"}, has_model) for has_model in (False, True))
    assert not any("predict.py" in line for line in without)
    assert with_model == [*without, with_model[-1]] and "OwnData/predict.py RUN, with --images" in with_model[-1]


def test_classes_called_like_what_a_card_shows():
    html = make(shares={"text": ".9", "picture": ".1"})
    assert "<blockquote>" not in html and "<img" not in html and "&lt;3&gt;.png" in html


def test_the_doubtful_come_first():
    assert [number for number, _ in page.most_doubtful(rows(), OUTVOTED, 3)] == [3, 2, 0]
    html = make()
    places = [html.index(f"&lt;{k}&gt;.png") for k in (3, 2, 0, 1)]
    assert places == sorted(places)


def test_who_said_what():
    assert page.who_said_what(crowd(), [2, 0], CLASSES, NAMES) == [
        [("cat", ["bob <script>"]), ("dog & <co>", ["cas"])], [("cat", ["ann", "bob <script>"]), ("dog & <co>", ["cas"])]]


def test_pictures_and_texts():
    pixels = np.zeros((4, 8, 8, 1), np.uint8)
    pixels[2, :4] = 255
    show = page.thumbnails(ImageSet(torch.from_numpy(pixels), (.5,), (.5,)), {}, [str(k) for k in range(4)])
    html = make(show)
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"', html)
    assert len(pictures) == 4
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[1]))))  # of item 2
    assert image.shape == (96, 96) and image[:48].min() == 255 and image[48:].max() == 0
    color = Image.open(io.BytesIO(base64.b64decode(page.picture(np.full((200, 100, 3), 7, np.uint8)).split(",")[1])))
    assert color.size == (48, 96) and color.format == "JPEG"
    show = page.thumbnails(FeatureSet(torch.zeros(4, 2)), {"1": "a <b> " + "word " * 200}, [str(k) for k in range(4)])
    html = make(show)
    assert html.count("<blockquote>") == 1 and "a &lt;b&gt; word" in html and html.count("word") < 100


def test_names_that_look_like_numbers():
    assert [page._cell(name, "common_label") for name in ("nan", "inf", "007")] == ["nan", "inf", "007"]
    assert [page._cell(value, "share") for value in ("0.5049", "3", "")] == ["0.50", "3", ""]


def test_a_method_of_somebody_else_has_a_colour(monkeypatch):
    monkeypatch.setitem(plots.METHODS, "mine", plots.METHODS["max-mig"])
    assert plots.color_of("mine") == plots.color_of("mine-forecaster") != plots.color_of("max-mig")


def test_curves_are_in_the_file():
    assert 'src="data:image/png;base64,' + base64.b64encode(b"curves").decode() in make(curves=b"curves")


@pytest.mark.pictures
def test_pictures_of_names_that_the_font_lacks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.confusions(io.BytesIO(), np.full((1, 2, 2), .5), np.full((1, 2, 2), .5), ["日本"], [3], "a run")


def test_names_that_are_long_or_turn_the_text_around(monkeypatch):
    turned = "\N{RIGHT-TO-LEFT OVERRIDE}ann"
    monkeypatch.setattr("test_page.NAMES", ["w" * 20_000, turned, "cas"])
    html = make()
    assert "w" * (page.NAME - 1) + "\N{HORIZONTAL ELLIPSIS}" in html and "w" * page.NAME not in html
    found = html.count(turned)
    assert found and html.count(f"<bdi>{turned}</bdi>") == found
