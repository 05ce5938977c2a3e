"""The end of a run: the final classifier, the summary, and the files."""
import time
from dataclasses import asdict

import torch

from common.crowd.held_out import HELD_OUT
from common.crowd.labels import confusion_from
from common.evaluation import metrics
from common.names import ENSEMBLE, FORECASTER, LABEL_MODEL, STAGES, TEACHERS, UPPER_BOUND, teacher_student_pairs
from common.output import console, csv_files, page, plots
from common.output.console import say_crowd
from common.output.crowd import outvoted, write_crowd
from common.output.records import Summary
from common.system import processes
from common.system.errors import echo
from common.training.estimates import choose_labels, estimate, labels_of, model_confusion
from common.training.learner import fold_models
from common.training.predictions import predict_all, to_array
from common.training.selection import reported_epochs

LARGEST_MODEL = 512e6  # bytes of the classifier that a run leaves, if it is of several methods


def finish(experiment, stages, folder, state):
    """Writes the results of a run, summary.json last: it says that the run is done. Returns the exit status.

    stages: [[Learner]]; state: of the checkpoint.
    """
    dataset, options, plan = experiment.dataset, experiment.options, experiment.plan
    started = time.perf_counter() - state["seconds"]
    final = fold_models([learner for learners in (stages[0], *stages[2:]) for learner in learners])
    succeeded = {name: final[name] for name in options.methods
                 if name in final and not any(learner.failure for learner in final[name])}
    estimates = estimate(succeeded, dataset, plan)
    train = dataset.train.without_copies()
    competitors = [name for name in estimates.scores if name != UPPER_BOUND]
    best_method = max(competitors, key=estimates.scores.get) if competitors else None
    summary = asdict(Summary(
        summarise_methods(options, plan, stages, succeeded, estimates, state, train.truth), len(train),
        train.crowd.annotators, len(estimates.crowd.model.label), round(state["seconds"], 3),
        round(state["peak_memory_mb"], 1), best_method))
    scored = [row for row in state["rows"] if row["test_accuracy"] is not None]
    if scored:
        folder.write("curves.png", lambda file: plots.curves(file, scored, folder.path.name), "wb")
    if state["memorization"]:
        errors = write_kd_figures(succeeded, estimates.posteriors, train, dataset.annotator_names, folder,
                                  state["memorization"])
        summary["methods"] = {name: method | errors.get(name, {}) for name, method in summary["methods"].items()}
    if succeeded:
        summary |= write_labels(succeeded, best_method, estimates, options, dataset, train, folder, summary)
    conclude(folder, summary, started, options.reproduce(experiment.protocol))
    return 0 if succeeded else 1


def write_labels(succeeded, best_method, estimates, options, dataset, train, folder, summary):
    """Writes the files of the crowd, the final classifier and the page. Returns what the summary says of them."""
    items = train.unique_labels()
    method, source = choose_labels(options.label_source, best_method, succeeded, estimates.posteriors)
    posterior = estimates.posteriors[source]
    crowd = estimates.crowd.by(source, to_array(posterior))
    confusion = model_confusion(succeeded[method], labels_of(method, estimates.posteriors), train.crowd)
    found = write_crowd(folder, items, dataset.annotator_names, dataset.class_names if dataset.named else None,
                        estimates.posteriors, source, crowd, confusion)
    shares = estimates.shares if source == LABEL_MODEL else {}
    found |= leave_classifier(succeeded, method, shares, dataset, folder)
    write_page(folder, summary | found, dataset, items, posterior)
    return found


def conclude(folder, summary, started, command=""):
    """Writes summary.json and prints the table. started: time.perf_counter() at the run's beginning, less the time before a
    stop; command: what reproduces the row of the table."""
    summary["seconds"] = round(time.perf_counter() - started, 3)
    folder.write_json("summary.json", summary)
    echo("", *console.table(summary), "", *[f"the same with five seeds, for mean and deviation: {command}"] * bool(command))
    say_crowd(summary, folder)


def summarise_methods(options, plan, stages, succeeded, estimates, state, truth):
    """{name: its part of summary.json} of the methods and their forecasters. truth: int64 (images,)."""
    failures = {learner.name: learner.failure for learners in stages for learner in learners if learner.failure}
    posteriors, methods = estimates.posteriors, {}
    for name in options.methods:
        last_stage = STAGES - 1 if name in TEACHERS else 0
        for reported in (name, name + FORECASTER):
            rows = [row for row in state["rows"] if row["method"] == reported and row.get("stage", 0) == last_stage]
            labels = labels_of(reported, posteriors) if name in succeeded else None
            if rows or labels is not None or reported == name:
                methods[reported] = reported_epochs(rows, plan.select, methods.get(name)) | {
                    "train_label_accuracy": None if labels is None else metrics.accuracy(labels.argmax(1), truth),
                    "seconds": None}
        spent = sum(learner.seconds for learners in stages for learner in learners if learner.name == name)
        methods[name] |= {"seconds": round(spent, 3)}
        if name in state["starts"]:
            methods[name]["starts"] = state["starts"][name]
        if name in succeeded:
            methods[name] |= succeeded[name][0].method.report()
        if name in estimates.scores:
            methods[name][HELD_OUT] = estimates.scores[name]
        failure = failures.get(name) or failures.get(TEACHERS.get(name))
        if failure:
            methods[name] |= {"failure": failure}
    return methods


@torch.no_grad()
def leave_classifier(succeeded, method, shares, dataset, folder):
    """Leaves the final classifier where the data set has a `finish`. Returns what the summary says of it.

    It is the ensemble: the methods' networks, weighted by their `shares`, if there are several and the file would not be too
    large; else the network of `method`.
    """
    shares = shares if len(shares) > 1 else {}
    size = sum(p.numel() * p.element_size() for p in succeeded[method][0].method.classifier.parameters())
    if size * sum(len(succeeded[name]) for name in shares) > LARGEST_MODEL:
        echo(f"the classifier is {method}'s: the ensemble's would take more than {LARGEST_MODEL / 1e6:.0f} MB")
        shares = {}
    parts = [(learner, share / len(succeeded[name])) for name, share in (shares or {method: 1.}).items()
             for learner in succeeded[name]]
    name = ENSEMBLE if shares else method
    if dataset.finish and not processes.rank():
        dataset.finish(folder, name, [(learner.method, weight) for learner, weight in parts])
    predictions = predict_all([learner for learner, _ in parts], dataset.test.inputs)
    mixed = sum(weight * p for (_, weight), p in zip(parts, predictions, strict=True))
    confusion = metrics.confusion_counts(mixed.argmax(1), dataset.test.truth, mixed.shape[1])
    summary = {"classifier": name, "test_confusion": confusion}
    return summary | ({ENSEMBLE: {"shares": shares, **metrics.scores(mixed, dataset.test.truth)}} if shares else {})


def write_page(folder, summary, dataset, items, posterior):
    """Writes report.html. items: the Items of labels.csv, whose labels follow the posterior (N, C)."""
    against = outvoted(items, posterior)
    folder.write("report.html", lambda file: page.write(file, folder.path, summary, dataset, items, against),
                 encoding="utf-8")


def write_kd_figures(succeeded, posteriors, train, annotator_names, folder, memorized):
    """Writes KD-Crowd's two figures and their numbers. Returns {name: the mean error of the confusion matrices}.

    annotator_error is the error of the empirical matrices, counted from the method's own labels; annotator_error_model that
    of the matrices inside the method. memorized: rows of memorization.csv.
    """
    pairs = teacher_student_pairs(succeeded)
    if not pairs:
        return {}
    folder.write("memorization.png", lambda file: plots.memorization(file, memorized, pairs, folder.path.name), "wb")
    errors, means, true = {}, {}, metrics.true_confusion(train)
    for name in (name for pair in pairs for name in pair):
        posterior = labels_of(name, posteriors)
        errors[name] = metrics.annotator_error(true, confusion_from(train.crowd, posterior))
        inside = metrics.annotator_error(true, model_confusion(succeeded[name], posterior, train.crowd))
        means[name] = {"annotator_error": errors[name].nanmean().item(), "annotator_error_model": inside.nanmean().item()}
    columns = {"annotator": annotator_names} | {name: error.cpu().numpy() for name, error in errors.items()}
    folder.write("annotator_error.csv", lambda file: csv_files.write_columns(file, columns), newline="")
    folder.write("annotator_error.png", lambda file: plots.annotator_error(
        file, {name: error.cpu().numpy() for name, error in errors.items()}, pairs, folder.path.name), "wb")
    return means
