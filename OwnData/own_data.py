"""Anybody's items and answers as a Dataset: the flags, the checks, what the run leaves beside what every run does."""
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from common.crowd.labels import CrowdLabels, majority_vote
from common.data.answers import read_answers, read_labels
from common.data.dataset import Dataset, Items, cut
from common.data.groups import read_groups
from common.data.item_names import FILE_NAMES
from common.data.sources import Source, read_source
from common.output.csv_files import write_columns
from common.output.model import Model, prediction_columns, states_of
from common.system.errors import UserError, echo, first_few, warnings
from common.training.protocol import m_step_epochs
from OwnData.options import PROTOCOL, name_of
from OwnData.own_inputs import prepare
from OwnData.own_network import network_of

GOLD = "gold"

BATCH = 64

LARGEST = 4e9  # bytes of all annotators' confusion matrices

# Passes over the items come to at most so many rows, within limits; --patience ends them earlier
ROWS = {"images": 25_000, "features": 100_000, "texts": 100_000, "backbone": 30_000}

EPOCHS = {"images": (4, 25), "features": (4, 100), "texts": (4, 100), "backbone": (4, 60)}

EM_ROWS = 10_000  # in an M-step of AggNet and MBEM, as on LabelMe


def reading(options):
    """The flags that say how the answers are read, as arguments of read_answers."""
    names = "columns", "annotators", "questions", "classes", "duplicates", "where", "no_header"
    return {name: getattr(options, name) for name in names}


def read_crowd(files, **layout):
    """The Answers of read_answers, whose confusion matrices fit into memory."""
    if not files:
        raise UserError("--answers: missing; expected the table of who answered what, "
                        "as --answers OwnData/example/answers.csv")
    answers = read_answers(files, **layout)
    matrices = len(answers.annotators) * len(answers.classes) ** 2 * 4
    if matrices > LARGEST:
        raise UserError(f"{answers.file}: {len(answers.classes)} classes and {len(answers.annotators)} annotators, whose "
                        f"confusion matrices take {matrices / 1e9:.0f} GB; expected fewer classes: is the label's column "
                        "the right one?")
    return answers


def load_answers(files, truth=None, gold=None, say=False, **layout):
    """The Dataset of answers without items. files: a path or Frame, or several; truth, gold: paths or Frames; say: print
    what was taken for what; layout: as in read_answers."""
    answers = read_crowd(files, **layout)
    if say:
        echo(answers.describe())
    source = Source("answers", answers.file, answers.items, answers.items, [])
    known_by = "is not among --classes" if layout.get("classes") else "no answer has"
    truth, gold = (_labels(table, source, answers.classes, known_by) for table in (truth, gold))
    everything = np.arange(len(source))
    crowd, annotators = _with_gold(answers, everything, everything, gold)
    train = Items(None, torch.from_numpy(np.where(gold >= 0, -1, truth)), answers.items, crowd,
                  gold=torch.from_numpy(gold) if (gold >= 0).any() else None)
    return Dataset(train, train.select(torch.zeros(0, dtype=torch.int64)), answers.classes, annotators, named=True)


def load(options):
    """(Dataset, Protocol) of the flags' files. Fills in options.epochs and batch_size. UserError for what is wrong."""
    if options.path:
        raise UserError(f"--path {options.path}: your own data come by --answers, and --images, --features or --texts")
    answers = read_crowd(options.answers, **reading(options))
    echo(answers.describe())
    source = read_source(options.images, options.features, options.texts, options.items)
    known_by = "is not among --classes" if options.classes else "no answer has"
    index = _locate(source, answers.items, answers.place_of_item)
    _say_guessed(source, answers.items, index)
    truth, gold = (_labels(file, source, answers.classes, known_by) for file in (options.truth, options.gold))
    groups = read_groups(options.groups, source)
    answered = np.bincount(index[answers.item], minlength=len(source)) > 0
    train = np.flatnonzero(answered | (gold >= 0))
    rest = np.flatnonzero(~answered & (gold < 0))
    # an item may go by another name among the answers than in the source: what its answers call it is what it is called
    there = np.flatnonzero(np.bincount(answers.item, minlength=len(answers.items)))
    source = source.call(index[there], [answers.items[k] for k in there])

    truth[gold >= 0] = -1  # what was learnt from scores nobody
    made = prepare(source, train, options)
    if made.readable is not None and not made.readable.all():
        echo(f"notice: {(~made.readable).sum()} images without answers cannot be decoded and are left out: "
             f"{first_few([source.names[i] for i in np.flatnonzero(~made.readable)])}")
        rest = rest[made.readable[rest]]
    crowd, annotators = _with_gold(answers, index, train, gold)
    known = torch.from_numpy(gold[train]) if options.gold else None
    everything = Items(made.inputs, torch.from_numpy(truth), source.names, groups=groups)
    unanswered = everything.select(torch.from_numpy(rest))
    test = unanswered.select(torch.nonzero(unanswered.truth >= 0)[:, 0])
    train = everything if len(train) == len(source) else everything.select(torch.from_numpy(train))
    # the truth has no say in what is trained on
    train, test = cut(replace(train, crowd=crowd, gold=known), test, len(answers.classes), options, majority_vote(crowd))
    options.batch_size = options.batch_size or max(2, min(BATCH, len(train) // 4))
    kind = "backbone" if made.choice.backbone else source.kind
    options.epochs = options.epochs or int(np.clip(round(ROWS[kind] / len(train)), *EPOCHS[kind]))
    network, spec = network_of(options, made, len(answers.classes))
    finish = partial(leave, unanswered=unanswered, classes=answers.classes, network=spec,
                     preprocessing=made.preprocessing)
    dataset = Dataset(train, test, answers.classes, annotators, finish=finish, texts=_texts_of(source, train), named=True)
    return dataset, replace(PROTOCOL, name=name_of(options), network=network,
                            em_epochs=m_step_epochs(EM_ROWS, len(train), options.epochs))


def _locate(source, names, place, given="answers to"):
    """int array: which of the source's items each name means. place(k) says where the k-th name stands; given: what is given
    there, for errors."""
    index = source.locate(names, place, given)
    order = np.argsort(index, kind="stable")
    same = np.flatnonzero(np.diff(index[order]) == 0)
    if len(same):
        first, second = order[same[0]], order[same[0] + 1]
        raise UserError(f"{place(second)}: {names[first]!r} and {names[second]!r} both mean {source.names[index[first]]}; "
                        "expected one name for each item")
    return index


def _say_guessed(source, names, index):
    """Prints how many names mean an item of another name, which is a guess."""
    guessed = [k for k, name in enumerate(names) if all(name != key(source.names[index[k]]) for key in FILE_NAMES)]
    if guessed:
        first = guessed[0]
        echo(f"notice: {len(guessed)} of {len(names)} items have other names in --{source.kind}: {names[first]} is taken "
             f"for {source.names[index[first]]}")


def _labels(file, source, classes, known_by):
    """int64 (N,): the source's items' labels in a table task,label, -1 where there is none. Answers alone are not all items:
    labels of others are left out."""
    labels = np.full(len(source), -1)
    if file:
        names, given, lines = read_labels(file, classes, known_by)
        if source.kind == "answers":
            there = np.flatnonzero(source.find(names) >= 0)
            if 0 < len(there) < len(names):
                echo(f"notice: {file}: {len(names) - len(there)} of {len(names)} items have no answers and are left out")
                names, given, lines = [names[k] for k in there], given[there], lines[there]
        labels[_locate(source, names, lambda k: f"{file}, line {lines[k]}", "labels of")] = given
    return labels


def _with_gold(answers, index, train, gold):
    """(CrowdLabels of the items `train`, annotators' names), with an annotator who is right about the items of `gold`,
    int (N,) with -1 for the others. Each gold label is repeated, once more often than the item has other labels, so it
    wins every vote that a method learns from; and every method sees an annotator whose labels agree with the result."""
    place = np.full(len(gold), -1)
    place[train] = np.arange(len(train))
    item, annotator, label = place[index[answers.item]], answers.annotator, answers.label
    names = list(answers.annotators)
    if (gold >= 0).any():
        known = np.flatnonzero(gold >= 0)
        times = np.bincount(item, minlength=len(train))[place[known]] + 1
        item = np.concatenate([item, np.repeat(place[known], times)])
        label = np.concatenate([label, np.repeat(gold[known], times)])
        annotator = np.concatenate([annotator, np.full(times.sum(), len(names))])
        name = GOLD
        while name in names:
            name += " labels"
        names.append(name)
    return CrowdLabels.from_triples(item, annotator, label, len(train), len(names), len(answers.classes)), names


def _texts_of(source, train):
    """{item's name: text}, of the training items, for the report."""
    if source.kind != "texts":
        return {}
    texts = dict(zip(source.names, source.raw, strict=True))
    return {name: texts[name] for name in train.names}


def say(dataset, options):
    """What --check says of data in which nothing is wrong."""
    crowd = dataset.train.unique_labels().crowd
    voted = majority_vote(crowd).numpy()
    counts = np.bincount(voted[voted >= 0], minlength=crowd.classes)  # not of items without answers
    echo(f"{len(dataset.train)} items with {len(crowd.label)} answers of {crowd.annotators} annotators, "
         f"{len(crowd.label) / len(dataset.train):.1f} an item"
         + (f" (with the gold labels, as annotator {dataset.annotator_names[-1]!r})" if dataset.train.gold is not None
            else "")
         + (f"; {len(dataset.test)} to test on, {len(dataset.finish.keywords['unanswered'])} without answers to predict"
            if dataset.finish else ""))
    echo("by majority vote: " + ", ".join(f"{count} {name}" for name, count in zip(dataset.class_names, counts,
                                                                                  strict=True)))
    if options.epochs:
        echo(f"{options.epochs} epochs, batches of {options.batch_size}, methods {' '.join(options.methods)}")
    count = len(warnings)
    echo(f"passed, with {count} warning{'s' if count > 1 else ''}" if count else "nothing is wrong")
    return 0


def leave(folder, name, parts, unanswered, classes, network, preprocessing):
    """At the end of a run: model.pt of the classifier `name`, `parts` [(trained Method, weight)], and predictions.csv of the
    items without answers."""
    model = Model(name, list(classes), network, preprocessing, folder.config["run"]["precision"], states_of(parts))
    folder.write("model.pt", model.save, "wb")
    device = next(parts[0][0].parameters()).device
    if len(unanswered):
        probabilities = model.predict(unanswered.inputs, device, "items without answers")
        columns = prediction_columns(unanswered.names, probabilities, classes, unanswered.truth)
        folder.write("predictions.csv", lambda file: write_columns(file, columns), newline="")
