"""What a finished run leaves: the methods' labels of the training items, the summary, the tables, the pictures."""
import torch

from common.crowd import majority_vote
from common.methods import FORECASTER, METHODS, taught
from common.output import page, plots, results
from common.training.learners import STAGES, predict_all


@torch.no_grad()
def label_training_items(learners, train):
    """{name: (N, C)}: the labels that each method, and each forecaster, gives the training items; the mean over an
    image's copies, N being the images."""
    labels = {}
    for learner in learners:
        predictions = []

        def predict(learner=learner, predictions=predictions):
            predictions[:] = predictions or predict_all([learner], train.inputs)
            return predictions[0]
        labels[learner.name] = learner.method.aggregate(predict, train.crowd)
        if learner.method.forecasts:
            labels[learner.name + FORECASTER] = learner.method.forecast(predict(), train.crowd)
    return {name: belief.view(-1, train.copies, belief.shape[1]).mean(1) for name, belief in labels.items()}


def finish(stages, names, dataset, folder, state, command):
    """Writes the results of the methods `names`, summary.json last: it says that the run is done. stages: [[Learner]];
    command: what reproduces the row of the table.

    Returns the exit status.
    """
    final = {learner.name: learner for learners in (stages[0], *stages[2:]) for learner in learners}
    good = [final[name] for name in names if name in final and not final[name].failure]
    labels = label_training_items(good, dataset.train)
    train = dataset.train.once()
    failures = {learner.name: learner.failure for learners in stages for learner in learners if learner.failure}
    methods = {}
    for name in names:
        last_stage = STAGES - 1 if METHODS[name].teacher else 0
        for reported in (name, name + FORECASTER):
            rows = [row for row in state["rows"] if row["method"] == reported and row.get("stage", 0) == last_stage]
            if rows or reported in labels or reported == name:
                methods[reported] = results.epochs_that_count(rows) | {
                    "train_label_accuracy": results.accuracy(labels[reported].argmax(1), train.truth)
                    if reported in labels else None, "seconds": None}
        spent = sum(learner.seconds for learners in stages for learner in learners if learner.name == name)
        methods[name] |= {"seconds": round(spent, 3)}
        if name in final:
            methods[name] |= final[name].method.report()
        failure = failures.get(name) or failures.get(METHODS[name].teacher)
        if failure:
            methods[name] |= {"failure": failure}
    summary = {"methods": methods, "items": len(train), "annotators": train.crowd.annotators,
               "labels": len(train.crowd.label),
               "majority_vote_accuracy": results.accuracy(majority_vote(train.crowd), train.truth),
               "labels_from": None, "seconds": round(state["seconds"], 3),
               "peak_memory_mb": round(state["peak_memory_mb"], 1)}
    true = results.true_confusion(train)
    if good:
        kept = (folder.config["flags"].get("labels_from") or "").removesuffix(FORECASTER)
        leader = ([learner for learner in good if learner.name == kept]
                  or [learner for learner in good if learner.name != "true-label"] or good)[-1]
        summary["labels_from"] = write_crowd(leader, labels, train, true, dataset.annotator_names, folder)
        if dataset.finish:
            dataset.finish(folder, leader.name, [leader.method])
    scored = [row for row in state["rows"] if row["test_accuracy"] is not None]
    if scored:
        folder.write("curves.png", lambda file: plots.curves(file, scored, folder.path.name), "wb")
    if state["memorization"]:
        write_kd_figures(final, labels, train, true, dataset.annotator_names, folder, state["memorization"], methods)
    if good:
        folder.write("report.html", lambda file: page.write(file, folder.path, summary, dataset, train), encoding="utf-8")
    folder.write_json("summary.json", summary)
    print(f"\n{results.table(summary)}\n" + (f"\nits row of the table, over five seeds: {command}" if command else ""))
    if summary["labels_from"]:
        print(f"labels.csv, annotators.csv and confusion are {summary['labels_from']}'s; files are in {folder.path}")
    return 0 if labels else 1


def write_crowd(learner, labels, train, true, annotator_names, folder):
    """labels.csv, annotators.csv, confusion.npz and confusion.png, of a method's forecaster where it has one. Returns
    the name of what they are of."""
    method = learner.method
    name = learner.name + FORECASTER if method.forecasts else learner.name
    belief = labels[name]
    estimated = method.confusion(belief, train.crowd)
    folder.write("labels.csv", lambda file: results.write_labels(file, train, belief), newline="")
    folder.write("annotators.csv", lambda file: results.write_annotators(
        file, train, annotator_names, belief, estimated), newline="")
    folder.write("confusion.npz", lambda file: results.write_confusion(file, estimated, true), "wb")
    counts = torch.bincount(train.crowd.annotator, minlength=train.crowd.annotators)
    folder.write("confusion.png", lambda file: plots.confusions(
        file, estimated.cpu().numpy(), true.cpu().numpy(), annotator_names, counts.cpu().numpy(),
        f"{folder.path.name}: confusion matrices by {name}"), "wb")
    return name


def write_kd_figures(final, labels, train, true, annotator_names, folder, memorized, methods):
    """KD-Crowd's two figures and their numbers; the mean of an annotator's error goes into the methods' summaries."""
    folder.write("memorization.csv", lambda file: results.write_rows(file, memorized), newline="")
    pairs = taught(final)
    folder.write("memorization.png", lambda file: plots.memorization(file, memorized, pairs, folder.path.name), "wb")
    errors = {}
    for pair in pairs:
        for name in pair:
            if name in labels:
                errors[name] = results.annotator_error(true, final[name].method.confusion(labels[name], train.crowd))
                methods[name]["annotator_error"] = errors[name].nanmean().item()
    pairs = taught(errors)
    if pairs:
        folder.write("annotator_error.csv", lambda file: results.write_annotator_error(file, annotator_names, errors),
                     newline="")
        folder.write("annotator_error.png", lambda file: plots.annotator_error(
            file, {name: error.cpu().numpy() for name, error in errors.items()}, pairs, folder.path.name), "wb")
