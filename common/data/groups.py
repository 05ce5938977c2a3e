"""The groups of items: items of one patient, author or scene, which no fold divides."""
import numpy as np
import torch

from common.data.layouts import TASK, find_column
from common.data.tables import header_of, read_columns
from common.system.errors import UserError

GROUP = ("group", "group_id", "patient", "patient_id", "subject", "author", "scene")


def read_groups(file, source):
    """int64 tensor (N,): the group of each item of a Source, as a table item,group says; an item without one is a
    group of its own. None without a file. Raises UserError for names that are no items."""
    if not file:
        return None
    header = header_of(file)
    group = find_column(header, GROUP)
    task = find_column([name for name in header if name != group], TASK)
    if len(header) == 2:  # one of the two is enough to know the other
        other = next((name for name in header if name != (group or task)), None)
        group, task = group or other, task or other
    if group is None or task is None or group == task:
        raise UserError(f"{file}, line 1: columns {', '.join(header)}; expected item and group")
    columns, lines = read_columns(file, (task, group))
    codes = np.asarray(columns[group].codes)
    given = np.flatnonzero(np.array([value != "" for value in columns[group].values], bool)[codes])  # else one of its own
    codes, lines = codes[given], [lines[k] for k in given]
    names = [columns[task].values[columns[task].codes[k]] for k in given]
    index = source.locate(names, lambda k: f"{file}, line {lines[k]}", "groups of")
    groups = np.arange(len(source)) + len(columns[group].values)
    groups[index] = codes
    other = np.flatnonzero(groups[index] != codes)
    if len(other):
        raise UserError(f"{file}, line {lines[other[0]]}: {names[other[0]]!r} in two groups; expected one for each item")
    return torch.from_numpy(groups)
