"""What a finished run leaves: the methods' labels of the training items, the summary, the tables, the pictures."""
from dataclasses import replace

import torch

from common import processes
from common.annotators import copies
from common.crowd import confusion_from, majority_vote, pinned
from common.errors import UserError
from common.label_models import shrunk_confusion
from common.methods import FORECASTER, LABEL_MODELS, METHODS, UPPER_BOUND, taught
from common.output import page, plots, results
from common.training.learners import STAGES, predict_all, teams
from common.training.selection import mean

CONSENSUS, JOINED = "consensus", "-joined"
LARGEST_MODEL = 512e6  # bytes of the classifier that a run leaves, if it is of several methods


def per_image(belief, train):
    """(images, C): the mean over an image's copies of belief (N, C)."""
    return belief.view(-1, train.copies, belief.shape[1]).mean(1)


@torch.no_grad()
def label_training_items(team, train):
    """{name: (images, C)}: the labels that a method, and its forecaster, gives the training items."""
    name, method = team[0].name, team[0].method
    h = predict_all(team, train.inputs)[0]
    labels = {name: per_image(method.aggregate(h, train.crowd), train)}
    if method.forecasts:
        labels[name + FORECASTER] = per_image(method.forecast(h, train.crowd), train)
    return labels


@torch.no_grad()
def label_apart(good, dataset, plan):
    """({name: (images, C)}, {name: score}, Joined, {name: share}) of a run with folds: what each candidate says of the
    training items by predictions that have not seen their labels, what these are worth, what to believe of it all, and
    whose predictions have which share in that.

    Of a method there are its predictions, calibrated, and these joined with the items' labels (`-joined`). The consensus
    joins the mean of the best methods' predictions with the labels; true-label has no part in it.
    """
    train, judge = dataset.train, plan.judge
    labels, judged, joined = {}, {}, {}
    for name, h in plan.predict_apart([learner for team in good.values() for learner in team], train).items():
        judged[name], joined[name] = judge.join(h)
        labels |= {} if name in LABEL_MODELS else {name: judged[name].h}
        labels[name + JOINED] = joined[name].belief
    scores = {name: verdict.score for name, verdict in judged.items()}
    for name, team in good.items():
        if team[0].method.forecasts and len(team) > 1:
            forecasts = torch.zeros(len(train), train.crowd.classes, device=train.truth.device)
            for learner, fold in zip(team, plan.folds, strict=True):
                h = predict_all([learner], train.inputs, items=fold.speaks_for)[0]
                forecasts[fold.speaks_for] = learner.method.forecast(h, train.crowd.select(fold.speaks_for))
            labels[name + FORECASTER] = per_image(forecasts, train)
    rivals = {name: verdict for name, verdict in judged.items() if name != UPPER_BOUND}
    believed, shares = None, {}
    if rivals:
        h, shares = judge.consensus(rivals)
        believed = judge.join(h)[1]
        labels[CONSENSUS] = believed.belief
    return labels, scores, believed, shares


@torch.no_grad()
def classifier_of(good, leader, shares, test):
    """(name, [(Method, weight)], what the summary says of it): the classifier that the run leaves. The consensus has the
    methods' networks by their `shares` in it, if there are several and its file would not be too large; else it is the
    leader's."""
    shares = shares if len(shares) > 1 else {}
    size = sum(p.numel() * p.element_size() for p in good[leader][0].method.classifier.parameters())
    if size * sum(len(good[name]) for name in shares) > LARGEST_MODEL:
        print(f"the classifier is {leader}'s: that of the consensus would take more than {LARGEST_MODEL / 1e6:.0f} MB")
        shares = {}
    parts = [(learner, share / len(good[name])) for name, share in (shares or {leader: 1.}).items()
             for learner in good[name]]
    said = {}
    if shares:
        mixed = sum(weight * p for (_, weight), p in zip(parts, predict_all([learner for learner, _ in parts], test.inputs),
                                                         strict=True))
        said = {CONSENSUS: {"shares": shares, **results.scores(mixed, test.truth)}}
    return CONSENSUS if shares else leader, [(learner.method, weight) for learner, weight in parts], said


def label_models(crowd):
    """{name: (N, C)}: what is said of the items without any classifier."""
    return {name: METHODS[name].posterior(crowd) for name in LABEL_MODELS}


def finish(stages, options, dataset, plan, folder, state, command):
    """Writes the results of the methods options.methods, summary.json last: it says that the run is done. stages:
    [[Learner]]; command: what reproduces the row of the table.

    Returns the exit status.
    """
    names = options.methods
    final = teams([learner for learners in (stages[0], *stages[2:]) for learner in learners])
    good = {name: final[name] for name in names if name in final and not any(one.failure for one in final[name])}
    train = dataset.train.once()
    said, once = train.said()
    candidates, scores, believed, shares = label_models(train.crowd), {}, None, {}
    if plan.judge:
        apart, scores, believed, shares = label_apart(good, dataset, plan)
        candidates |= apart
    else:
        for name, team in good.items():
            candidates |= {} if name in LABEL_MODELS else label_training_items(team, dataset.train)
    candidates = {name: pinned(belief, train.gold) for name, belief in candidates.items()}
    failures = {learner.name: learner.failure for learners in stages for learner in learners if learner.failure}
    methods = {}
    for name in names:
        last_stage = STAGES - 1 if METHODS[name].teacher else 0
        for reported in (name, name + FORECASTER):
            rows = [row for row in state["rows"] if row["method"] == reported and row.get("stage", 0) == last_stage]
            labels = candidates.get(reported + JOINED, candidates.get(reported)) if name in good else None
            if rows or labels is not None or reported == name:
                methods[reported] = results.epochs_that_count(rows, plan.select, methods.get(name)) | {
                    "train_label_accuracy": None if labels is None else results.accuracy(labels.argmax(1), train.truth),
                    "seconds": None}
        spent = sum(learner.seconds for learners in stages for learner in learners if learner.name == name)
        methods[name] |= {"seconds": round(spent, 3)}
        if name in good:
            methods[name] |= good[name][0].method.report()
        if name in scores:
            methods[name]["crowd_score"] = scores[name]
        failure = failures.get(name) or failures.get(METHODS[name].teacher)
        if failure:
            methods[name] |= {"failure": failure}
    rivals, voted = [name for name in scores if name != UPPER_BOUND], majority_vote(said.crowd)
    summary = {"methods": methods, "items": len(train), "annotators": train.crowd.annotators,
               "labels": len(said.crowd.label),
               "best_method": max(rivals, key=scores.get) if rivals else None,
               "labels_from": None, "classifier": None, "label_accuracy": None, "calibration_error": None,
               "candidates": {name: results.accuracy(belief.argmax(1), train.truth) for name, belief in candidates.items()},
               "majority_vote_accuracy": results.accuracy(voted, torch.where(voted >= 0, train.truth, -1)),
               "seconds": round(state["seconds"], 3), "peak_memory_mb": round(state["peak_memory_mb"], 1)}
    true = results.true_confusion(train)
    if good:
        leader, label_from = choose_labels(options.labels_from, summary["best_method"], good, candidates)
        belief = candidates[label_from]
        votes = said.crowd.votes()
        outvoted = votes.gather(1, belief.argmax(1, keepdim=True))[:, 0] < votes.max(1).values
        summary |= {"labels_from": label_from, "label_accuracy": summary["candidates"][label_from],
                    "calibration_error": results.calibration_error(belief, train.truth)}
        held = held_confusion(good[leader], belief, train.crowd)
        if believed:
            believed = replace(believed, apart=believed.apart[once])
        summary |= write_crowd(held, belief, candidates, believed, said, true, dataset.annotator_names,
                               dataset.class_names if dataset.named else None, folder, label_from)
        name, parts, of_consensus = classifier_of(good, leader, shares if label_from == CONSENSUS else {}, dataset.test)
        if not dataset.answers_alone:
            summary |= {"classifier": name, **of_consensus}
        if dataset.finish and not processes.rank():
            dataset.finish(folder, name, parts)
    scored = [row for row in state["rows"] if row["test_accuracy"] is not None]
    if scored:
        folder.write("curves.png", lambda file: plots.curves(file, scored, folder.path.name), "wb")
    if state["memorization"]:
        write_kd_figures(good, candidates, train, true, dataset.annotator_names, folder, state["memorization"], methods)
    if good:
        folder.write("report.html", lambda file: page.write(file, folder.path, summary, dataset, said, outvoted),
                     encoding="utf-8")
    folder.write_json("summary.json", summary)
    print(f"\n{results.table(summary)}\n" + (f"\nits row of the table, over five seeds: {command}" if command else ""))
    if summary.get(CONSENSUS, {}).get("test_accuracy") is not None:
        print(f"the classifier of {', '.join(summary[CONSENSUS]['shares'])} together: "
              f"{results.percent(summary[CONSENSUS]['test_accuracy'])} % of the test items")
    if summary["labels_from"]:
        found = ", ".join(f"{count} {flag}" for flag, count in summary["flags"].items())
        print(f"{outvoted.sum()} of {len(train)} labels are not what most of the crowd says; annotators flagged: "
              f"{found or 'none'}")
        print(f"labels.csv, annotators.csv and confusion are {summary['labels_from']}'s; files are in {folder.path}")
    return 0 if good else 1


def check_labels_from(options):
    """Raises UserError if options.labels_from is no candidate of the run to come."""
    names = list(dict.fromkeys([*LABEL_MODELS, *options.methods]))
    if not options.held_out:  # a forecaster needs predictions for all items, by models that have not seen their labels
        names += [name + FORECASTER for name in options.methods if METHODS[name].forecasts]
    names += [*(name + JOINED for name in options.methods), CONSENSUS] if options.select == "crowd" else []
    if options.labels_from not in (None, *names):
        raise UserError(f"--labels-from {options.labels_from}: there is no such candidate; choose from {', '.join(names)}")


def choose_labels(asked, best_method, good, candidates):
    """(method, candidate): whose classifier and matrices are kept, and what labels.csv follows.

    asked: --labels-from, or None: then the consensus of a run with folds, else the last method's forecaster, or the method.
    """
    leader = best_method or ([name for name in good if name != UPPER_BOUND] or list(good))[-1]
    if asked and asked not in candidates:
        print(f"--labels-from {asked}: it did not come through")
    label_from = next(name for name in (asked, CONSENSUS, leader + FORECASTER, leader) if name in candidates)
    method = label_from.removesuffix(FORECASTER).removesuffix(JOINED)
    return method if method in good else leader, label_from


def held_confusion(team, belief, crowd):
    """(M, C, C): the annotators' matrices inside a method, the mean over its folds."""
    return mean([learner.method.confusion(belief, crowd) for learner in team])


def write_crowd(held, belief, candidates, believed, train, true, annotator_names, class_names, folder, name):
    """labels.csv, annotators.csv, confusion.npz and confusion.png of belief (images, C), which is called `name`. held:
    (M, C, C), the matrices inside a model; believed: the Joined of a run with folds, or None; train: with each label once,
    as Items.said has them; class_names: where the files shall have names in place of numbers, else None. Returns what the
    summary says of the annotators."""
    crowd = train.crowd
    estimated = shrunk_confusion(crowd, belief)
    apart = believed.apart if believed else belief[crowd.item]
    same_as = believed.same_as if believed else copies(crowd, belief)
    folder.write("labels.csv", lambda file: results.write_labels(file, train, belief, candidates, class_names), newline="")
    people = results.describe_annotators(train, annotator_names, belief, estimated, apart, same_as, class_names)
    folder.write("annotators.csv", lambda file: results.write_annotators(file, people), newline="")
    folder.write("confusion.npz", lambda file: results.write_confusion(file, estimated, held, true), "wb")
    counts = torch.bincount(crowd.annotator, minlength=crowd.annotators)
    folder.write("confusion.png", lambda file: plots.confusions(
        file, estimated.cpu().numpy(), true.cpu().numpy(), annotator_names, counts.cpu().numpy(),
        f"{folder.path.name}: confusion matrices by {name}"), "wb")
    return results.judge_annotators(people, train, candidates["dawid-skene"])


def write_kd_figures(good, candidates, train, true, annotator_names, folder, memorized, methods):
    """KD-Crowd's two figures and their numbers; the mean of an annotator's error goes into the methods' summaries, by the
    matrices counted from the method's own labels (`annotator_error`) and by those inside it (`annotator_error_held`)."""
    pairs = taught(good)
    if not pairs:
        return
    folder.write("memorization.png", lambda file: plots.memorization(file, memorized, pairs, folder.path.name), "wb")
    errors = {}
    for pair in pairs:
        for name in pair:
            belief = candidates.get(name + JOINED, candidates.get(name))
            errors[name] = results.annotator_error(true, confusion_from(train.crowd, belief))
            held = results.annotator_error(true, held_confusion(good[name], belief, train.crowd))
            methods[name] |= {"annotator_error": errors[name].nanmean().item(),
                              "annotator_error_held": held.nanmean().item()}
    folder.write("annotator_error.csv", lambda file: results.write_annotator_error(file, annotator_names, errors),
                 newline="")
    folder.write("annotator_error.png", lambda file: plots.annotator_error(
        file, {name: error.cpu().numpy() for name, error in errors.items()}, pairs, folder.path.name), "wb")
