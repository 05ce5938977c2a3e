"""How a table's runs were measured, and the command that makes it again."""
import dataclasses
from pathlib import Path

from common.system.errors import UserError

OF_A_CELL = {"case", "expertise", "seed", "device"}  # flags in which the runs of a table differ
ROWS = {"cases": [1, 2, 3], "expertise": [1, 0]}  # of a crowd that is synthesized
PLACES = ("DIR", "FILE", "DIR|none")  # what a flag's help calls a place in the file system


def words(value):
    """A flag's value as on a command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _agree(configs, but):
    """Raises UserError where the runs with these records differ in a flag that is not among `but`."""
    runs = [{name: value for name, value in config["run"].items() if name not in but} for config in configs]
    for run in runs:
        for name in sorted(run.keys() | runs[0].keys()):
            if (run.get(name) or None) != (runs[0].get(name) or None):  # a flag that is younger than a run is off in it
                raise UserError(f"runs with {name.replace('_', '-')} {words(run.get(name))} and {words(runs[0].get(name))} "
                                "in one table; give each an --out of its own")


def provenance(parts):
    """How a table's runs were measured, in Markdown; "" without any. parts: [(records, the command that makes them)]. Raises
    UserError where the runs of a part differ in more than case, expertise and seed, or the parts in more than methods."""
    configs = [config for records, _ in parts for config in records]
    if not configs:
        return ""
    for records, _ in parts:
        _agree(records, OF_A_CELL)
    _agree(configs, {*OF_A_CELL, "methods"})

    def of_all(value):
        return ", ".join(sorted({str(value(config)) for config in configs}))
    threads = of_all(lambda config: config["threads"] * config.get("side_by_side", 1))
    return "\n".join(f"    {command}" for _, command in parts) + (
        f"\n\nMeasured {of_all(lambda config: config.get('date', 'without a date'))} at commit "
        f"{of_all(lambda config: (config['commit'] or 'unknown')[:7])} on {of_all(lambda config: config['device'])}, "
        f"{threads} thread{'' if threads == '1' else 's'}, {of_all(lambda config: config['run']['precision'])}, "
        f"torch {of_all(lambda config: config['versions']['torch'])}.")


def without_places(flags, script):
    """A run's flags, {name: value}, in which a file or folder is its last name alone. The path is private and may change."""
    places = {f.name for f in dataclasses.fields(script.read_options([])) if f.metadata["argument"].get("metavar") in PLACES}

    def last_name(value):
        return [Path(each).name for each in value] if isinstance(value, list) else Path(value).name
    return {name: last_name(value) if value and name in places else value for name, value in flags.items()}


def command_of(configs, script):
    """The command that makes the table again, by the records of its runs."""
    kind = type(script.read_options([]))
    known = {f.name for f in dataclasses.fields(kind)}
    runs = [kind(**without_places({name: value for name, value in _given(config["flags"]).items() if name in known}, script))
            for config in configs]
    rows = {name: sorted({run.row()[name] for run in runs}) for name in runs[0].row()}
    return runs[0].reproduce(script.PROTOCOL, seeds=len({run.seed for run in runs}), rows={
        name: ",".join(map(str, values)) for name, values in rows.items() if len(values) < len(ROWS[name])})


def _given(flags):
    """A run's flags without those that are refused beside them: an older record may have another default of them."""
    return {name: value for name, value in flags.items() if name != "fit" or flags.get("images")}
