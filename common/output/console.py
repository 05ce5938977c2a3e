"""What a run prints: its progress and its table."""
from tqdm import tqdm

from common.crowd.held_out import HELD_OUT
from common.evaluation import metrics
from common.names import ENSEMBLE, FORECASTER, TEACHERS, WITH_DIVERGENCE
from common.system.errors import echo

WIDTH = 80  # columns of a terminal


def table(summary):
    """The summary's methods as the lines of a table of at most WIDTH columns.

    Test accuracy of the last, the selected and the best epoch (by the test items: not a result), accuracy of the training
    labels, in %. Methods stand in the order of `ranked`.
    """
    rows = [_row(name, method) for name, method in ranked(summary["methods"]).items()]
    if summary.get("label_accuracy") is not None:
        rows.append({("", "method"): "labels.csv", ("", "labels"): percent(summary["label_accuracy"])})
    rows = [row for row in rows if any(list(row.values())[1:])]  # a forecaster has no numbers without test items
    headings = [heading for heading in HEADINGS if any(row.get(heading) for row in rows)] or [HEADINGS[0]]
    while True:
        cells = [[heading[0] for heading in headings], [heading[1] for heading in headings],
                 *([row.get(heading, "") for heading in headings] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        if sum(widths) + 2 * (len(widths) - 1) <= WIDTH or not set(headings) & set(DISPENSABLE):
            break
        headings.remove(next(heading for heading in DISPENSABLE if heading in headings))
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells]
    return [*filter(None, lines[:2]), "-" * max(map(len, lines)), *lines[2:]]


HEADINGS = (("", "method"), ("held-out", "log-lik."), ("last", "epoch"), ("last", "AUC"), ("selected", "epoch"),
            ("best test", "epoch"), ("", "labels"), ("", "seconds"))
DISPENSABLE = ("", "seconds"), ("last", "AUC"), ("best test", "epoch")  # left out, in this order, for the width


def _row(name, method):
    """{heading: text} of a method's summary."""
    last, best, selected = method["last"] or {}, method["best"] or {}, method.get("selected")
    values = (name, f"{method[HELD_OUT]:.4f}" if HELD_OUT in method else "", percent(last.get("test_accuracy")),
              percent(last.get("test_auc")),
              f"{percent(selected['test_accuracy'])} ({method['selected_epoch']})" if selected else "",
              f"{percent(best.get('test_accuracy'))} ({method['best_epoch']})" if best else "",
              percent(method["train_label_accuracy"]), "" if method["seconds"] is None else f"{method['seconds']:.1f}")
    return dict(zip(HEADINGS, values, strict=True))


def ranked(methods):
    """The methods' summaries {name: ..} by their held-out log-likelihood, forecasters behind their method, those without
    at the end; as they are where nobody has one."""
    def place(name):
        score = methods[name].get(HELD_OUT)
        if score is None:
            score = methods.get(name.removesuffix(FORECASTER), {}).get(HELD_OUT, float("-inf"))
        return -score
    return {name: methods[name] for name in sorted(methods, key=place)}


def percent(share):
    """0.1234 as 12.34, nothing for None."""
    return "" if share is None else f"{100 * share:.2f}"


def say_start(experiment, folder, state):
    dataset, options, executor = experiment.dataset, experiment.options, experiment.executor
    train = dataset.train
    echo(f"{len(train)} training items, {len(dataset.test)} test items, {len(dataset.class_names)} classes, "
         f"{train.crowd.annotators} annotators, {len(train.crowd.label)} labels; {experiment.device}, {experiment.precision}"
         + (f", {executor.count} methods at a time with a thread each" if executor.count > 1 else ""))
    if options.divergence == "total-variation" and WITH_DIVERGENCE & set(options.methods):
        echo("total variation has no gradient: training takes its smooth surrogate, "
             "f(t) = t - 2 arctan t + pi/2 - 1")
    if options.robust == "dividemix" and set(TEACHERS) & set(options.methods) and not train.inputs.augmentation:
        echo("dividemix: features leave nothing to augment, an item's two views differ by dropout alone")
    only = metrics.only_class(dataset.test.truth)
    if len(dataset.class_names) == 2 and only is not None:
        echo(f"no AUC: all test items whose truth is known are of class {dataset.class_names[only]}; it needs both classes")
    stage = f"stage {state['stage']}, " if state["stage"] else ""
    echo(f"results go to {folder.path}" + (f"; going on after {stage}epoch {state['epoch']}" if state["epoch"] else ""))


def say_time(seconds, epochs, patience):
    """How long so many more epochs of so many seconds will take, where that is worth a word; with `patience` at most."""
    if seconds * epochs > 120:
        about = "at most" if patience else "some"
        tqdm.write(f"an epoch takes {seconds:.0f} s: {about} {seconds * epochs / 60:.0f} minutes to go; fewer --methods or "
                   "--epochs take less")


def say_ended(names, patience):
    """Prints the names of methods, one for each fold, that end after this epoch."""
    if names:
        names = list(dict.fromkeys(names))
        tqdm.write(f"{', '.join(names)} {'end' if len(names) > 1 else 'ends'} here: the best epoch was {patience} "
                   f"epoch{'s' if patience > 1 else ''} ago")


def say_epoch(epoch, rows, where, first, verbose=False):
    """Prints test accuracies, or held-out log-likelihoods where there are no test items, the best methods first: a line of
    as many as fit, or if `verbose` all in several lines; a heading the first time."""
    by_score = all(row["test_accuracy"] is None for row in rows)
    rows = [row for row in rows if not by_score or HELD_OUT in row]
    if not rows:
        return
    if first:
        tqdm.write(f"\n{'held-out log-likelihood' if by_score else 'test accuracy (%)'} by epoch{where}")
    line, value = f"{epoch:5}", HELD_OUT if by_score else "test_accuracy"
    for k, row in enumerate(sorted(rows, key=lambda row: -row[value])):
        cell = f"  {row['method']} {row[value]:.4f}" if by_score else f"  {row['method']} {percent(row[value])}"
        more = f"  and {len(rows) - k} more"
        if len(line + cell) + len(more) * (k < len(rows) - 1) > WIDTH:
            if not verbose:
                line += more
                break
            tqdm.write(line)
            line = " " * 5
        line += cell
    tqdm.write(line)


def say_done(summary, folder):
    """Prints the results of a run that had been finished before."""
    echo("this run is done; --fresh runs it again", "", *table(summary), "")
    say_crowd(summary, folder)


def say_crowd(summary, folder):
    """Prints what a finished run says of its classifier, labels and annotators."""
    if summary.get(ENSEMBLE, {}).get("test_accuracy") is not None:
        echo(f"the classifier is an ensemble of {', '.join(summary[ENSEMBLE]['shares'])}: "
             f"{percent(summary[ENSEMBLE]['test_accuracy'])} % test accuracy")
    if summary["label_source"]:
        found = ", ".join(f"{count} {flag}" for flag, count in summary["flags"].items())
        echo(f"{summary['outvoted']} of {summary['items']} labels have fewer votes than another class; annotators flagged: "
             f"{found or 'none'}")
        echo(f"labels.csv, annotators.csv and confusion are by {summary['label_source']}; files are in {folder.path}")
