"""The command line's flags as a dataclass. Parsed in main(), never at import."""
import argparse
import math
import re
import shlex
import textwrap
from dataclasses import dataclass, field, fields

from common.names import AUTO, DIVERGENCES, FIELD_METHODS, FORECASTER, METHODS, STARTS, STUDENTS, TEACHERS
from common.system.errors import UserError, did_you_mean, warnings

# what no command for a whole row of a table names
OF_ONE_RUN = ("case", "expertise", "methods", "seed", "out", "device", "crowd", "fresh", "check", "download", "verbose")


GROUPS = ("data", "images", "results", "training", "choosing without the truth", "KD-Crowd", "computation")  # of --help


def flag(default, text, group="data", same_run=True, **argument):
    """A field that is a flag, in a group of --help. `argument` goes to argparse. Unless same_run, a run may be resumed with
    another value."""
    return field(default=default, metadata={"help": text, "group": group, "same_run": same_run, "argument": argument})


def whole(least, most=10**18):
    """An argparse type: a whole number from `least` to `most`."""
    def number(text):
        if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
            shown = f"from {least} on" if most == 10**18 else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"expected a whole number {shown}, not {text!r}")
        return int(text)
    return number


def _real(text, expected, is_right):
    """The number of a text. Raises ArgumentTypeError unless it is finite and is_right(number)."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and is_right(number)):
        raise argparse.ArgumentTypeError(f"expected a number {expected}, not {text!r}")
    return number


def not_negative(text):
    """An argparse type: a number that is zero or above."""
    return _real(text, "from 0 on", lambda number: number >= 0)


def positive(text):
    """An argparse type: a number above zero."""
    return _real(text, "above 0", lambda number: number > 0)


def share(text):
    """An argparse type: a number between zero and one."""
    return _real(text, "between 0 and 1", lambda number: 0 < number < 1)


def expertise(text):
    """An argparse type: 1 or 0, also by name, high or low."""
    if text not in ("1", "0", "high", "low"):
        raise argparse.ArgumentTypeError(f"expected 1 (high) or 0 (low), not {text!r}")
    return int(text in ("1", "high"))


@dataclass
class Options:
    """The flags that every script has. A default of None stands for the data set's own."""
    brief = ()  # groups of flags, and flags, that --help only names

    path: str = flag(None, "folder of the data", same_run=False, metavar="DIR")
    train_size: int = flag(None, "use so many training items", type=whole(1), metavar="N")
    test_size: int = flag(None, "use so many test items", type=whole(1), metavar="N")

    out: str = flag(None, "folder for the results; by default under runs/", "results", same_run=False, metavar="DIR")
    fresh: bool = flag(False, "start over in a folder with an existing run", "results", same_run=False, action="store_true")
    verbose: bool = flag(False, "print all methods after each epoch", "results", same_run=False, action="store_true")
    label_source: str = flag(None, "label estimate that labels.csv follows", "results", metavar="NAME")

    methods: list = flag(("all",), "names; all: the data set's table; field: all without KD-Crowd", "training",
                         nargs="+", metavar="METHOD")
    epochs: int = flag(None, "passes over the training items, in each stage", "training", type=whole(1), metavar="N")
    batch_size: int = flag(None, "items in a batch", "training", type=whole(2), metavar="N")
    seed: int = flag(0, "of weights, batches and augmentation", "training", type=whole(0), metavar="N")
    augment: str = flag(None, "flip and turn images: never, once, or each epoch", "training",
                        choices=("none", "once", "fresh"))
    divergence: str = flag("kl", "f-divergence of the MIG loss: kl, reverse-kl, pearson, jensen-shannon, hellinger, "
                           "total-variation", "training", choices=DIVERGENCES, metavar="NAME")
    start: str = flag("votes", "posterior from which annotators' models start: votes (the papers'), dawid-skene, "
                      "label-model, auto", "training", choices=(*STARTS, AUTO), metavar="NAME")

    select: str = flag("none", "epoch whose weights are kept: the last, or the one that predicts held-out labels best",
                       "choosing without the truth", choices=("none", "crowd"))
    folds: int = flag(None, "with --select crowd: number of folds (5; 2 from 5,001 items on)",
                      "choosing without the truth", type=whole(2), metavar="K")
    held_out: float = flag(None, "with --select crowd: hold out this share, instead of folds",
                           "choosing without the truth", type=share, metavar="SHARE")
    patience: int = flag(None, "early stopping with a --select: a method ends N epochs after its best one",
                         "choosing without the truth", type=whole(1), metavar="N")

    robust: str = flag("elr", "student of stage 1", "KD-Crowd", choices=STUDENTS)
    lambda_u: float = flag(0., "DivideMix's weight of unlabelled items", "KD-Crowd", type=not_negative, metavar="W")
    kd_loss: str = flag("mig", "loss of the distillation: MIG^f, or KL", "KD-Crowd", choices=("mig", "kl"))
    kd_weight: float = flag(3., "weight of the distillation in stage 2", "KD-Crowd", type=positive, metavar="W")
    stage_end: str = flag("last", "epoch whose weights the next stage starts from", "KD-Crowd", choices=("last", "selected"))
    retrain: bool = flag(False, "stage 2 starts from new weights", "KD-Crowd", action="store_true")

    device: str = flag(None, "number of a GPU, or cpu; by default GPU 0 if there is one", "computation", same_run=False)
    precision: str = flag("auto", "auto: bfloat16 if the hardware has it", "computation",
                          choices=("auto", "bfloat16", "float32"))
    keep: str = flag("auto", "where decoded images are", "computation", same_run=False, choices=("auto", "device", "disk"))
    graphs: str = flag("auto", "CUDA graphs for small steps on a GPU", "computation", same_run=False,
                       choices=("auto", "off"))

    def run_name(self, dataset):
        """The name of the run's folder."""
        return f"{dataset}-seed{self.seed}"

    def table_name(self, dataset):
        """What reproduce.py calls the data set."""
        return dataset

    def row(self):
        """The flags, {name: value}, by which reproduce.py picks this run's row of the table."""
        return {}

    def reproduce(self, protocol, seeds=None, rows=None):
        """The command that makes this run's row of the table, over several seeds, or so many; or other rows, named as by
        `row`: {} for all."""
        words = ["python3 reproduce.py", self.table_name(protocol.name), *([f"--seeds {seeds}"] if seeds else [])]
        words += [f"--{name} {value}" for name, value in (self.row() if rows is None else rows).items()]
        for f in fields(self):
            value, default = getattr(self, f.name), f.default if f.default is not None else getattr(protocol, f.name, None)
            if value != default and f.name not in OF_ONE_RUN:
                value = () if value is True else value if isinstance(value, list) else (value,)
                words.append(shlex.join([f"--{f.name.replace('_', '-')}", *map(str, value)]))
        if self.methods and self.methods != _methods(("all",), protocol.methods):
            words += ["--methods", *self.methods]
        return " ".join(words)

    def changed(self, group):
        """The names of a group's flags that do not have their defaults."""
        return ["--" + f.name.replace("_", "-") for f in fields(self)
                if f.metadata["group"] == group and getattr(self, f.name) != f.default]

    def choose_methods(self, table):
        """The methods that --methods stands for; table: those of the data set's table."""
        return _methods(self.methods, table)

    def of_the_run(self):
        """The flags that must be the same for a run to go on."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.metadata["same_run"]}


@dataclass
class SynthesizedOptions(Options):
    """The flags of the data sets whose crowd is synthesized."""
    case: int = flag(1, "1 independent mistakes, 2 naive majority, 3 correlated mistakes", type=int, choices=(1, 2, 3))
    expertise: int = flag(1, "of the annotators: 1 high, 0 low", type=expertise,
                          metavar="{0,1}")
    labels_per_item: int = flag(None, "keep the labels of N random annotators for each item", type=whole(1), metavar="N")

    def run_name(self, dataset):
        return f"{dataset}-case{self.case}-{'high' if self.expertise else 'low'}-seed{self.seed}"

    def row(self):
        return {"cases": self.case, "expertise": self.expertise}


class Help(argparse.RawDescriptionHelpFormatter):
    """Flags with their values' names, not all their choices, in a column of 32 characters."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=32, width=100)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        known, hint = self._option_string_actions, ""
        unknown = re.fullmatch(r"unrecognized arguments: (\S+).*", message, re.DOTALL)
        too_few = re.fullmatch(r"argument (--[\w-]+): expected \d+ arguments", message)
        if unknown and unknown[1].startswith("--"):
            hint = did_you_mean(re.match(r"[\w-]+", unknown[1])[0], known)
        elif unknown and "--answers" in known and not unknown[1].startswith("-"):
            hint = f"; did you mean --answers {unknown[1]}?"
        elif too_few:
            hint = f", {' '.join(known[too_few[1]].metavar)}"
        raise UserError(message.removeprefix("argument ") + hint)


def _is_brief(f, kind):
    """Whether --help of a kind of Options only names the field's flag."""
    return (f.metadata["group"] in kind.brief or f.name in kind.brief) and f.name not in ("methods", "epochs", "seed")


def parse(kind, protocol, description, arguments=None):
    """Parses the command line (or `arguments`) into a `kind` of Options, with the protocol's defaults filled in.

    Raises UserError for a wrong flag.
    """
    warnings.clear()
    parser = Parser(description=description, formatter_class=Help, allow_abbrev=False, usage="%(prog)s [flags]")
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for f in fields(kind):
        default = f.default if f.default is not None else getattr(protocol, f.name, None)
        shown = " ".join(default) if f.name == "methods" else default
        shown = "" if shown is None or shown is False else f" (default: {shown})"
        brief = _is_brief(f, kind)
        groups[f.metadata["group"]].add_argument("--" + f.name.replace("_", "-"), default=default, help=(
            argparse.SUPPRESS if brief else f.metadata["help"] + shown), **f.metadata["argument"])
    if kind.brief:
        names = ["--" + f.name.replace("_", "-") for f in fields(kind) if _is_brief(f, kind)]
        parser.epilog = "\n".join(textwrap.wrap("Further flags (docs/): " + " ".join(names), 96, break_on_hyphens=False))
    options = kind(**vars(parser.parse_args(arguments)))
    options.methods = options.choose_methods(protocol.methods)
    return options


def _methods(words, table):
    """The chosen methods, each once, in their order; those of the `table` for all. A forecaster comes with its method,
    a teacher with its student."""
    names = [name.removesuffix(FORECASTER) if name.removesuffix(FORECASTER) in METHODS else name
             for word in words for name in word.split(",") if name]
    for word, methods in (("all", table), ("field", FIELD_METHODS)):
        if word in names:
            names = [name for name in names if name != word] + list(methods)
    for name in names:
        if name not in METHODS:
            raise UserError(f"--methods {name}: there is no such method; choose from all, field, {', '.join(METHODS)}"
                            + did_you_mean(name, METHODS))
    if not names:
        raise UserError(f"--methods: none was named; choose from all, field, {', '.join(METHODS)}")
    names += [TEACHERS.get(name) for name in names]
    return [name for name in METHODS if name in names]
