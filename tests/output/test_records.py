"""summary.json as it was written before names were changed."""
import json

from common.output.records import read_summary


def test_old_names_of_a_summary_are_read(tmp_path):
    method = {"last": None, "best": None, "best_epoch": None, "train_label_accuracy": .5, "seconds": 1}
    summary = {"methods": {"max-mig": method}, "seconds": 1, "candidates": {"max-mig": .75}, "labels_from": "max-mig"}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    found = read_summary(tmp_path)
    assert found["label_estimates"] == {"max-mig": .75} and found["label_source"] == "max-mig"
    assert not {"candidates", "labels_from"} & set(found)
