"""What a run prints: its progress and its table."""
from tqdm import tqdm

from common.crowd.held_out import HELD_OUT
from common.evaluation import metrics
from common.names import ENSEMBLE, FORECASTER
from common.output import console


def table(summary):
    """The summary's methods as text, those with the best held-out log-likelihood first where there is one: last epoch
    first, the best test epoch beside it and named for what it is."""
    rows = []
    for name, method in ranked(summary["methods"]).items():
        last, best = method["last"] or {}, method["best"] or {}
        rows.append({
            "method": name,
            "held-out LL": f"{method[HELD_OUT]:.4f}" if HELD_OUT in method else "",
            "last epoch": percent(last.get("test_accuracy")),
            "last AUC": percent(last.get("test_auc")),
            "selected epoch": f"{percent(method['selected']['test_accuracy'])} ({method['selected_epoch']})"
                              if "selected" in method else "",
            "best test epoch": f"{percent(best.get('test_accuracy'))} ({method['best_epoch']})" if best else "",
            "its AUC": percent(best.get("test_auc")),
            "training labels": percent(method["train_label_accuracy"]),
            "seconds": "" if method["seconds"] is None else f"{method['seconds']:.1f}"})
    if summary.get("label_accuracy") is not None:
        rows.append(dict.fromkeys(rows[0] if rows else ("method", "training labels"), "")
                    | {"method": "labels.csv", "training labels": percent(summary["label_accuracy"])})
    rows = [row for row in rows if any(list(row.values())[1:])]  # nothing is said of a forecaster without test items
    header = [heading for heading in rows[0] if any(row[heading] for row in rows)] if rows else ["method"]
    rows = [header, *([row[heading] for heading in header] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


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


def say_start(dataset, options, device, precision, folder, state, executor):
    train = dataset.train
    print(f"{len(train)} training items, {len(dataset.test)} test items, {len(dataset.class_names)} classes, "
          f"{train.crowd.annotators} annotators, {len(train.crowd.label)} labels; {device}, {precision}"
          + (f", {executor.count} methods at a time with a thread each" if executor.count > 1 else ""))
    if options.divergence == "total-variation":
        print("total variation has no gradient: training takes its smooth surrogate, "
              "f(t) = t - 2 arctan t + pi/2 - 1")
    if options.robust == "dividemix" and not train.inputs.augmentation:
        print("dividemix: features leave nothing to augment, an item's two views differ by dropout alone")
    only = metrics.only_class(dataset.test.truth)
    if len(dataset.class_names) == 2 and only is not None:
        print(f"no AUC: all test items whose truth is known are of class {dataset.class_names[only]}; it needs both classes")
    stage = f"stage {state['stage']}, " if state["stage"] else ""
    print(f"results go to {folder.path}" + (f"; going on after {stage}epoch {state['epoch']}" if state["epoch"] else ""))


def say_time(seconds, epochs):
    """How long so many more epochs of so many seconds will take, where that is worth a word."""
    if seconds * epochs > 120:
        tqdm.write(f"an epoch takes {seconds:.0f} s: some {seconds * epochs / 60:.0f} minutes to go; fewer --methods or "
                   "--epochs take less")


def say_epoch(epoch, rows, where, first):
    """A line of test accuracies, of held-out log-likelihoods where nothing is tested on, under a heading the first time."""
    by_score = all(row["test_accuracy"] is None for row in rows)
    rows = [row for row in rows if not by_score or HELD_OUT in row]
    if not rows:
        return
    width = max(12, *(len(row["method"]) for row in rows))
    if first:
        tqdm.write(f"\n{'held-out log-likelihood' if by_score else 'test accuracy'} by epoch{where}\nepoch  "
                   + "  ".join(row["method"].rjust(width) for row in rows))
    cells = (f"{row[HELD_OUT]:.4f}" if by_score else console.percent(row["test_accuracy"]) for row in rows)
    tqdm.write(f"{epoch:5}  " + "  ".join(cell.rjust(width) for cell in cells))


def say_crowd(summary, folder):
    """Prints what a finished run says of its classifier, labels and annotators."""
    if summary.get(ENSEMBLE, {}).get("test_accuracy") is not None:
        print(f"the classifier is an ensemble of {', '.join(summary[ENSEMBLE]['shares'])}: "
              f"{console.percent(summary[ENSEMBLE]['test_accuracy'])} % test accuracy")
    if summary["label_source"]:
        found = ", ".join(f"{count} {flag}" for flag, count in summary["flags"].items())
        print(f"{summary['outvoted']} of {summary['items']} labels have fewer votes than another class; annotators flagged: "
              f"{found or 'none'}")
        print(f"labels.csv, annotators.csv and confusion are by {summary['label_source']}; files are in {folder.path}")
