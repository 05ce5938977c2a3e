"""The files of a run: RunFolder writes no others and removes those of an older run; docs/run-files.md describes them."""
CONFIG, CHECKPOINT, SUMMARY = "config.json", "checkpoint.pt", "summary.json"

FILES = {  # name: what it holds
    CONFIG: "every flag, versions, device, checksums of the data, git commit",
    "metrics.csv": "a row for each epoch and method: loss, test accuracy, test AUC (two classes), seconds; with KD-Crowd "
                   "the stage; with `--select` held_out_log_likelihood or valid_accuracy",
    SUMMARY: "for each method the last epoch, the selected epoch and the best test epoch (named as such), "
             "`train_label_accuracy` (of its labels of the training items) and its held-out log-likelihood; "
             "`best_method`; the `classifier`, each method's share in the `ensemble`, and `test_confusion`; the accuracy "
             "of every label estimate (`label_estimates`), of the majority vote and of labels.csv, its calibration error; "
             "`label_shares` of the classes; `outvoted`, the number of labels with fewer votes than another class; "
             "`annotator_correlation`, Spearman's of three estimates with the annotators' true accuracies; `agreement` "
             "(Krippendorff's alpha; Fleiss' kappa where all items have equally many labels) with 95 % intervals; "
             "`copies` with their evidence; how many annotators have which flag; seconds, peak memory; null where "
             "something is not defined",
    "labels.csv": "each training item: truth where known, majority vote (ties to the first class), label, confidence, "
                  "class probabilities, and what each label estimate says: NAME, with `--select` the classifier's "
                  "held-out prediction, else the method's labels (those of AggNet and MBEM are the posterior of EM; "
                  "dawid-skene and one-coin are always the aggregators'); NAME-posterior, the label model with NAME's "
                  "held-out predictions; NAME-forecaster; label-model. `--label-source` takes these names. Own data also: "
                  "number of answers and the share that agrees",
    "annotators.csv": "each annotator, in the order of the answers: number of labels, agreement with the label, estimated "
                      "accuracy with its 95 % interval, information in bits, kappa, most common label and its share, "
                      "flag, true accuracy where known",
    "agreement.csv": "Cohen's kappa of the 1,000 pairs of annotators with most items in common (ten or more)",
    "next.csv": "the items in the order in which one more answer is worth most: label, confidence, expected gain in bits",
    "confusion.npz": "confusion matrices (M, C, C), rows the true class: `estimated` from labels.csv, smoothed by the "
                     "label model's priors, `model` inside the method, `true`",
    "confusion.csv": "own data: the estimated matrices with names",
    "confusion.png": "the estimated matrices of the ten most active annotators, and the true ones where known",
    "curves.png": "test accuracy (and AUC, with two classes) by epoch",
    "report.html": "all of it on one page: annotators, labels, methods, doubtful items",
    "model.pt": "own data: the final classifier, for OwnData/predict.py: the mean of the methods within one standard "
                "error of the best score, or the best alone",
    "predictions.csv": "own data: its predictions for the items without answers",
    "memorization.csv": "KD-Crowd: the share of each annotator's errors that the predictions repeat, by epoch, mean and "
                        "deviation over annotators",
    "memorization.png": "the same, drawn",
    "annotator_error.csv": "KD-Crowd: the relative error of each annotator's confusion matrix, beside the crowd model's",
    "annotator_error.png": "the same, drawn",
    "left_out.csv": "image data sets: images that could not be decoded",
    "split_train_file.csv": "Dogs vs. Cats: the training items, where the split was drawn",
    "split_val_file.csv": "Dogs vs. Cats: the test items, where the split was drawn",
    CHECKPOINT: "the state to resume from: written after the first epoch, then when a minute has passed, and at the end "
                "of a stage; at the end the weights alone",
}


def files_table():
    """FILES as a Markdown table."""
    rows = [f"| `{name}` | {text} |" for name, text in FILES.items()]
    return "\n".join(["| file | what it holds |", "| --- | --- |", *rows])
