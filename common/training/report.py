"""The end of a run: what the trained methods say of the training items, the final classifier, the summary."""
from dataclasses import dataclass, field

import torch

from common import processes
from common.crowd.held_out import combine, score
from common.crowd.labels import confusion_from, pinned
from common.errors import UserError
from common.methods import FORECASTER, LABEL_MODELS, METHODS, UPPER_BOUND, taught
from common.output import page, plots, results
from common.output.crowd import Crowd, outvoted, write_crowd
from common.training.learners import STAGES, predict_all, teams
from common.training.selection import mean

LABEL_MODEL, WITH_LABELS, ENSEMBLE = "label-model", "-posterior", "ensemble"
LARGEST_MODEL = 512e6  # bytes of the classifier that a run leaves, if it is of several methods


@dataclass
class Estimates:
    """What is said of the training items (images).

    posteriors: {name: float (N, C)}; scores: {method: held-out log-likelihood}; shares: {method: its share in the ensemble};
    crowd: the Crowd that `label-model` comes from.
    """
    posteriors: dict
    crowd: Crowd
    scores: dict = field(default_factory=dict)
    shares: dict = field(default_factory=dict)


def per_image(posterior, train):
    """(images, C): the mean over an image's copies of a posterior (N, C)."""
    return posterior.view(-1, train.copies, posterior.shape[1]).mean(1)


@torch.no_grad()
def label_training_items(team, train):
    """{name: (images, C)}: the labels that a method, and its forecaster, gives the training items."""
    name, method = team[0].name, team[0].method
    h = predict_all(team, train.inputs)[0]
    labels = {name: per_image(method.aggregate(h, train.crowd), train)}
    if method.forecasts:
        labels[name + FORECASTER] = per_image(method.forecast(h, train.crowd), train)
    return labels


def label_models(crowd):
    """{name: (N, C)}: the posteriors of the classic label models."""
    return {name: METHODS[name].posterior(crowd) for name in LABEL_MODELS}


def estimate(good, dataset, plan):
    """The Estimates of a run. good: {name: its learners} of the methods that came through."""
    train = dataset.train.once()
    said = train.said()[0]
    found = label_models(train.crowd)
    if plan.model:
        return estimate_held_out(good, dataset, plan, said, found)
    for name, team in good.items():
        found |= {} if name in LABEL_MODELS else label_training_items(team, dataset.train)
    crowd = Crowd.of(said.crowd, plan.gold)
    return Estimates({**{name: pinned(p, train.gold) for name, p in found.items()},
                      LABEL_MODEL: as_tensor(crowd.labels.posterior, train)}, crowd)


@torch.no_grad()
def estimate_held_out(good, dataset, plan, said, found):
    """The Estimates of a run whose predictions have not seen the items' own labels.

    Of a method there are its calibrated predictions, and the label model's posterior with them (`-posterior`).
    `label-model` is that with the mean of the best methods' predictions. true-label has no part in it.
    """
    train = dataset.train
    predictions = plan.predict_apart([learner for team in good.values() for learner in team], train)
    scores = {name: score(plan.model, as_array(h)) for name, h in predictions.items()}
    for name, theirs in scores.items():
        if name not in LABEL_MODELS:
            found[name] = as_tensor(theirs.calibrated, train)
        found[name + WITH_LABELS] = as_tensor(plan.model.posterior(theirs.calibrated).posterior, train)
    for name, team in good.items():
        if team[0].method.forecasts and len(team) > 1:
            forecasts = torch.zeros(len(train), train.crowd.classes, device=train.truth.device)
            for learner, fold in zip(team, plan.folds, strict=True):
                h = predict_all([learner], train.inputs, items=fold.speaks_for)[0]
                forecasts[fold.speaks_for] = learner.method.forecast(h, train.crowd.select(fold.speaks_for))
            found[name + FORECASTER] = per_image(forecasts, train)
    rivals = {name: scores[name] for name in scores if name != UPPER_BOUND}
    h, shares = combine(plan.model, rivals) if rivals else (None, {})
    crowd = Crowd.of(said.crowd, plan.gold, plan.held_out, h)
    found = {name: pinned(p, train.once().gold) for name, p in found.items()}
    found[LABEL_MODEL] = as_tensor(crowd.labels.posterior, train)
    return Estimates(found, crowd, {name: scores[name].mean for name in scores}, shares)


def as_array(h):
    return h.double().cpu().numpy()


def as_tensor(posterior, items):
    return torch.from_numpy(posterior).float().to(items.truth.device)


@torch.no_grad()
def classifier_of(good, leader, shares, test):
    """(name, [(Method, weight)], what the summary says of it): the classifier that the run leaves.

    It is the ensemble: the methods' networks, weighted by their `shares`, if there are several and the file would not be too
    large; else the leader's.
    """
    shares = shares if len(shares) > 1 else {}
    size = sum(p.numel() * p.element_size() for p in good[leader][0].method.classifier.parameters())
    if size * sum(len(good[name]) for name in shares) > LARGEST_MODEL:
        print(f"the classifier is {leader}'s: the ensemble's would take more than {LARGEST_MODEL / 1e6:.0f} MB")
        shares = {}
    parts = [(learner, share / len(good[name])) for name, share in (shares or {leader: 1.}).items()
             for learner in good[name]]
    said = {}
    if shares:
        mixed = sum(weight * p for (_, weight), p in zip(parts, predict_all([learner for learner, _ in parts], test.inputs),
                                                         strict=True))
        said = {ENSEMBLE: {"shares": shares, **results.scores(mixed, test.truth)}}
    return ENSEMBLE if shares else leader, [(learner.method, weight) for learner, weight in parts], said


def summarise(options, plan, stages, good, found, state, truth):
    """{name: its part of summary.json} of the methods and their forecasters."""
    failures = {learner.name: learner.failure for learners in stages for learner in learners if learner.failure}
    methods = {}
    for name in options.methods:
        last_stage = STAGES - 1 if METHODS[name].teacher else 0
        for reported in (name, name + FORECASTER):
            rows = [row for row in state["rows"] if row["method"] == reported and row.get("stage", 0) == last_stage]
            labels = found.posteriors.get(reported + WITH_LABELS, found.posteriors.get(reported)) if name in good else None
            if rows or labels is not None or reported == name:
                methods[reported] = results.epochs_that_count(rows, plan.select, methods.get(name)) | {
                    "train_label_accuracy": None if labels is None else results.accuracy(labels.argmax(1), truth),
                    "seconds": None}
        spent = sum(learner.seconds for learners in stages for learner in learners if learner.name == name)
        methods[name] |= {"seconds": round(spent, 3)}
        if name in good:
            methods[name] |= good[name][0].method.report()
        if name in found.scores:
            methods[name][results.HELD_OUT] = found.scores[name]
        failure = failures.get(name) or failures.get(METHODS[name].teacher)
        if failure:
            methods[name] |= {"failure": failure}
    return methods


def finish(stages, options, dataset, plan, folder, state, command):
    """Writes the results of the methods options.methods, summary.json last: it says that the run is done. stages:
    [[Learner]]; command: what reproduces the row of the table.

    Returns the exit status.
    """
    final = teams([learner for learners in (stages[0], *stages[2:]) for learner in learners])
    good = {name: final[name] for name in options.methods
            if name in final and not any(one.failure for one in final[name])}
    train = dataset.train.once()
    said = train.said()[0]
    found = estimate(good, dataset, plan)
    methods = summarise(options, plan, stages, good, found, state, train.truth)
    rivals = [name for name in found.scores if name != UPPER_BOUND]
    summary = {"methods": methods, "items": len(train), "annotators": train.crowd.annotators,
               "labels": len(said.crowd.label), "best_method": max(rivals, key=found.scores.get) if rivals else None,
               "labels_from": None, "classifier": None, "label_accuracy": None, "calibration_error": None,
               "seconds": round(state["seconds"], 3), "peak_memory_mb": round(state["peak_memory_mb"], 1)}
    if good:
        leader, source = choose_labels(options.labels_from, summary["best_method"], good, found.posteriors)
        posterior = found.posteriors[source]
        crowd = found.crowd if source == LABEL_MODEL else found.crowd.by(as_array(posterior))
        held = held_confusion(good[leader], posterior, train.crowd)
        summary |= write_crowd(folder, said, dataset.annotator_names, dataset.class_names if dataset.named else None,
                               found.posteriors, source, crowd, held)
        name, parts, ensemble = classifier_of(good, leader, found.shares if source == LABEL_MODEL else {}, dataset.test)
        summary |= {"classifier": name, **ensemble}
        if dataset.finish and not processes.rank():
            dataset.finish(folder, name, parts)
    scored = [row for row in state["rows"] if row["test_accuracy"] is not None]
    if scored:
        folder.write("curves.png", lambda file: plots.curves(file, scored, folder.path.name), "wb")
    if state["memorization"]:
        write_kd_figures(good, found.posteriors, train, dataset.annotator_names, folder, state["memorization"], methods)
    if good:
        write_page(folder, summary, dataset, said, posterior)
    folder.write_json("summary.json", summary)
    print(f"\n{results.table(summary)}\n" + (f"\nits row of the table, over five seeds: {command}" if command else ""))
    say_crowd(summary, folder)
    return 0 if good else 1


def write_page(folder, summary, dataset, items, posterior):
    """report.html of the Items that labels.csv has, whose labels follow the posterior (N, C)."""
    against = outvoted(items, posterior)
    folder.write("report.html", lambda file: page.write(file, folder.path, summary, dataset, items, against),
                 encoding="utf-8")


def say_crowd(summary, folder):
    """Prints what a finished run says of its classifier, labels and annotators."""
    if summary.get(ENSEMBLE, {}).get("test_accuracy") is not None:
        print(f"the classifier is an ensemble of {', '.join(summary[ENSEMBLE]['shares'])}: "
              f"{results.percent(summary[ENSEMBLE]['test_accuracy'])} % test accuracy")
    if summary["labels_from"]:
        found = ", ".join(f"{count} {flag}" for flag, count in summary["flags"].items())
        print(f"{summary['outvoted']} of {summary['items']} labels have fewer votes than another class; annotators flagged: "
              f"{found or 'none'}")
        print(f"labels.csv, annotators.csv and confusion are by {summary['labels_from']}; files are in {folder.path}")


def check_labels_from(options):
    """Raises UserError if options.labels_from is no label estimate of the run to come."""
    names = list(dict.fromkeys([*LABEL_MODELS, *options.methods]))
    if not options.held_out:  # a forecaster needs predictions for all items, by models that have not seen their labels
        names += [name + FORECASTER for name in options.methods if METHODS[name].forecasts]
    names += [name + WITH_LABELS for name in options.methods] if options.select == "crowd" else []
    names.append(LABEL_MODEL)
    if options.labels_from not in (None, *names):
        raise UserError(f"--labels-from {options.labels_from}: there is no such estimate; choose from {', '.join(names)}")


def choose_labels(asked, best_method, good, posteriors):
    """(method, estimate): whose classifier and matrices are kept, and what labels.csv follows.

    asked: --labels-from, or None: then the label model of a run with folds, else the last method's forecaster, or the
    method.
    """
    leader = best_method or ([name for name in good if name != UPPER_BOUND] or list(good))[-1]
    if asked and asked not in posteriors:
        print(f"--labels-from {asked}: it did not come through")
    wanted = asked, best_method and LABEL_MODEL, leader + FORECASTER, leader
    label_from = next(name for name in wanted if name in posteriors)
    method = label_from.removesuffix(FORECASTER).removesuffix(WITH_LABELS)
    return method if method in good else leader, label_from


def held_confusion(team, posterior, crowd):
    """(M, C, C): the annotators' matrices inside a method, the mean over its folds."""
    return mean([learner.method.confusion(posterior, crowd) for learner in team])


def write_kd_figures(good, posteriors, train, annotator_names, folder, memorized, methods):
    """KD-Crowd's two figures and their numbers.

    The mean of an annotator's error goes into the methods' summaries, by the matrices counted from the method's own labels
    (`annotator_error`) and by those inside it (`annotator_error_held`).
    """
    pairs = taught(good)
    if not pairs:
        return
    folder.write("memorization.png", lambda file: plots.memorization(file, memorized, pairs, folder.path.name), "wb")
    errors, true = {}, results.true_confusion(train)
    for pair in pairs:
        for name in pair:
            posterior = posteriors.get(name + WITH_LABELS, posteriors.get(name))
            errors[name] = results.annotator_error(true, confusion_from(train.crowd, posterior))
            held = results.annotator_error(true, held_confusion(good[name], posterior, train.crowd))
            methods[name] |= {"annotator_error": errors[name].nanmean().item(),
                              "annotator_error_held": held.nanmean().item()}
    folder.write("annotator_error.csv", lambda file: results.write_annotator_error(file, annotator_names, errors),
                 newline="")
    folder.write("annotator_error.png", lambda file: plots.annotator_error(
        file, {name: error.cpu().numpy() for name, error in errors.items()}, pairs, folder.path.name), "wb")
