"""Labels from answers alone: as a Python call on a table, and as a run that leaves files."""
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd
import torch

from common.crowd.aggregators import AGGREGATORS
from common.crowd.bayes import LabelModel
from common.crowd.fitted import FittedCrowd
from common.data.layouts import (
    FIRST_TASKS,
    LABEL,
    MORE_LABELS,
    MORE_TASKS,
    MORE_WORKERS,
    TASK,
    WORKER,
    find_column,
)
from common.data.tables import Frame
from common.evaluation import metrics
from common.names import AGGREGATE_THEN_TRAIN, LABEL_MODEL
from common.names import METHODS as TRAINED
from common.output import console
from common.output.crowd import confusion_table, describe_crowd, write_crowd
from common.output.records import Summary
from common.output.run_folder import RunFolder
from common.system.device import peak_memory_mb
from common.system.errors import UserError, did_you_mean, echo
from common.training.estimates import classic_posteriors, with_label_model
from common.training.finish import conclude, write_page
from OwnData.options import PROTOCOL, OwnOptions, name_of
from OwnData.own_data import load_answers, reading

METHODS = (*AGGREGATE_THEN_TRAIN, LABEL_MODEL, *AGGREGATORS)
# flags that answers alone have no use for: of whole groups, and others
OF_TRAINING = [f.name for f in fields(OwnOptions) if f.metadata["group"] in ("training", "KD-Crowd", "images")
               and f.name not in ("methods", "seed")]
OF_TRAINING += ["train_size", "test_size", "groups", "select", "folds", "held_out", "patience", "precision", "keep",
                "graphs"]


@dataclass(frozen=True)
class Result:
    """What `aggregate` returns, and `fit` with a classifier.

    labels: a row an item with its label, confidence and the classes' probabilities; annotators: a row an annotator with
    accuracy, 95 % interval, information and flag; agreement: Cohen's kappa of pairs of annotators; next_items: the items
    in the order in which another answer says most; confusion: a row for each annotator and true class; summary: all else,
    a dictionary.
    """
    labels: pd.DataFrame
    annotators: pd.DataFrame
    agreement: pd.DataFrame
    next_items: pd.DataFrame
    confusion: pd.DataFrame
    summary: dict


def aggregate(answers, *, truth=None, gold=None, columns=None, annotators=None, questions=None, classes=None,
              duplicates="last", where=(), no_header=False, methods=()):
    """The Result of a crowd's answers.

    answers: a DataFrame with a column each for the task, the worker and the label, or with a column for each worker; or
    the path of a table or of a tool's export; or a list of these. truth: a DataFrame or path (task, label), which only
    scores; gold: the same, which is learnt from. columns: the names of the task's, the worker's and the label's column,
    where they are not guessed; annotators: those of the workers' columns instead, with the task's alone in `columns`;
    questions: those of the items' columns, with the worker's alone in `columns`. classes: the classes' names in their order.
    duplicates: which of a worker's answers to one item counts: last, first, count (each) or error. where: words
    COLUMN=VALUE, the rows that count. no_header: the files' columns have no names; they are called 1, 2, and so on.
    methods: further estimates in `labels`: glad, mace, ebcc.

    Raises UserError, one sentence, for anything that is wrong with them.
    """
    started = time.perf_counter()
    tables = [table_of(table, name) for name, table in several(answers).items()]
    truth, gold = table_of(truth, "truth"), table_of(gold, "gold")
    if not tables or not all(tables):
        raise UserError(f"answers: {'None' if tables else 'an empty list'}; expected a DataFrame or the path of a table")
    names = {"columns": columns, "annotators": annotators, "questions": questions, "classes": classes}
    layout = {name: names_of(value, name) for name, value in names.items()}
    layout |= {"duplicates": duplicates, "no_header": no_header}
    methods = [methods] if isinstance(methods, str) else list(methods or ())
    check_methods(methods)
    dataset = load_answers(tables, truth, gold, where=[where] if isinstance(where, str) else where, **layout)
    estimates, seconds, crowd = estimate(dataset, methods)
    items = dataset.train.unique_labels()
    described, summary = describe_crowd(items, dataset.annotator_names, dataset.class_names, estimates, LABEL_MODEL, crowd)
    frames = {name: pd.DataFrame(table) for name, table in described.items()}
    return Result(frames["labels"], frames["annotators"], frames["agreement"], frames["next"],
                  confusion_table(crowd.confusion(), dataset.annotator_names, dataset.class_names),
                  summarise(dataset, estimates, seconds, started) | summary)


def several(answers):
    """{name: table}: one table of answers, or those of a list, called answers, answers-1, ..."""
    tables = answers if isinstance(answers, list | tuple) else [answers]
    return {f"answers-{k}" if k else "answers": table for k, table in enumerate(tables)}


def table_of(table, name):
    """A Frame of a DataFrame, called `name`; the path of a table as text; None for None."""
    if table is None or isinstance(table, str | Path):
        return table and str(table)
    if not isinstance(table, pd.DataFrame):
        raise UserError(f"{name}: a {type(table).__name__}; expected a DataFrame or the path of a table")
    if has_items_in_index(table):
        table = table.reset_index()
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise UserError(f"{name}: two columns are named {twice[0]!r}; expected a name for each")
    return Frame(table, name)


def is_named(index):
    """Whether a DataFrame's index has a name, or holds no integers."""
    return index.name is not None or not pd.api.types.is_integer_dtype(index)


def has_items_in_index(table):
    """Whether the index of a DataFrame of answers holds the items' names: one that is named or no integers. In a table with
    a column for each annotator, where no column can be the items, also one that does more than number the rows."""
    if is_named(table.index):
        return True
    header = list(map(str, table.columns))
    long = find_column(header, (*WORKER, *MORE_WORKERS)) and find_column(header, (*LABEL, *MORE_LABELS))
    if long or find_column(header, (*TASK, *MORE_TASKS, *FIRST_TASKS)) or table.index.equals(pd.RangeIndex(len(table))):
        return False
    return table.index.is_unique and not any(column.map(str).is_unique for _, column in table.items())


def names_of(names, argument):
    """A list of names as text, or None."""
    if isinstance(names, str):
        raise UserError(f"{argument}: {names!r}; expected a list of names")
    return None if names is None else [str(name) for name in names]


def check_methods(methods):
    unknown = [name for name in methods if name not in METHODS]
    trained = [name for name in unknown if name in TRAINED]
    if trained:
        raise UserError(f"--methods {trained[0]}: trains a classifier; expected items too: --images, --features or --texts")
    if unknown:
        raise UserError(f"--methods {unknown[0]}: there is no such estimate of answers alone; choose from "
                        f"{', '.join(METHODS)}{did_you_mean(unknown[0], [*METHODS, *TRAINED])}")


def estimate(dataset, methods):
    """({name: posterior (N, C)}, {name: seconds}, FittedCrowd) of the classic label models, the label model and other
    `methods`."""
    train = dataset.train
    items = train.unique_labels()
    clock = time.perf_counter()
    found, seconds = classic_posteriors(train.crowd), {}
    seconds |= dict.fromkeys(found, (time.perf_counter() - clock) / len(found))
    for name in methods:
        if name in AGGREGATORS:
            clock = time.perf_counter()
            found[name] = torch.from_numpy(AGGREGATORS[name](train.crowd)).float()
            seconds[name] = time.perf_counter() - clock
    clock = time.perf_counter()
    crowd = FittedCrowd.of(LabelModel(items.crowd, train.gold_array()))
    seconds[LABEL_MODEL] = time.perf_counter() - clock
    return with_label_model(found, crowd, train), seconds, crowd


def summarise(dataset, estimates, seconds, started):
    """The part of summary.json that every run has. started: time.perf_counter() at the beginning."""
    train = dataset.train
    methods = {name: {"last": None, "best": None, "best_epoch": None,
                      "train_label_accuracy": metrics.accuracy(posterior.argmax(1), train.truth),
                      "seconds": round(seconds[name], 3)} for name, posterior in estimates.items()}
    return asdict(Summary(methods, len(train), train.crowd.annotators, len(train.unique_labels().crowd.label),
                          round(time.perf_counter() - started, 3),
                          round(peak_memory_mb(torch.device("cpu")), 1)))


def load(options):
    """The Dataset of the flags' answers. Raises UserError for flags that need items."""
    for name in OF_TRAINING:
        value = getattr(options, name)
        if value not in (getattr(OwnOptions, name), getattr(PROTOCOL, name, None)):
            shown = "" if value is True else " ".join(["", *map(str, value if isinstance(value, list) else [value])])
            raise UserError(f"--{name.replace('_', '-')}{shown}: nothing is trained on answers alone; leave it out, or give "
                            "the items by --images, --features or --texts")
    check_methods(options.methods)
    if options.label_source not in (None, *METHODS):
        raise UserError(f"--label-source {options.label_source}: there is no such estimate; choose from "
                        f"{', '.join(METHODS)}")
    return load_answers(options.answers, options.truth, options.gold, say=True, **reading(options))


def run(dataset, options, methods):
    """Writes the files of a run on answers alone. methods: what was asked for by --methods. Returns the exit status."""
    started = time.perf_counter()
    source = options.label_source or LABEL_MODEL
    if source in AGGREGATORS and source not in methods:
        methods = [*methods, source]
    folder = RunFolder(options, name_of(options), torch.device("cpu"), "float64", dataset.describe(), 1)
    with folder.claimed():
        _, summary = folder.load()
        if summary:
            console.say_done(summary, folder)
            return 0
        train = dataset.train
        echo(f"{len(train)} items, {len(dataset.class_names)} classes, {train.crowd.annotators} annotators, "
             f"{len(train.crowd.label)} answers")
        estimates, seconds, crowd = estimate(dataset, methods)
        crowd = crowd.by(source, estimates[source].double().numpy())
        items = train.unique_labels()
        folder.begin()
        found = write_crowd(folder, items, dataset.annotator_names, dataset.class_names, estimates, source, crowd)
        summary = summarise(dataset, estimates, seconds, started) | found
        write_page(folder, summary, dataset, items, estimates[source])
        conclude(folder, summary, started)
    return 0
