"""How an item's name in an export meets the file or the row that it means."""
import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import unquote

import numpy as np

SEVERAL = -2


def stem_of(name):
    """A file's name without folders and ending, that of name.nii.gz too."""
    return PurePosixPath(name.removesuffix(".gz")).stem


# what a file may go by: its path, its name, that without the ending, or what is behind the last hyphen of that (peerannot's)
FILE_NAMES = (lambda name: name, lambda name: PurePosixPath(name).name, stem_of,
              lambda name: stem_of(name).rpartition("-")[2])
HASH = r"^[0-9a-f]{8,40}[-_]"  # before a file's name, as Label Studio writes it


def find_items(there, names, keys=FILE_NAMES[:1]):
    """int array: which of the items `there` each name means, -1 for none and SEVERAL for more than one.

    A name means the item of that name, in any Unicode form, or a file by one of `keys`. Else it may have gained a URL,
    folders with / or \\, a hash before the file's name, or capitals: without them it means one of the remaining items.
    """
    found = np.full(len(names), -1)
    composed, wanted = [_composed(name) for name in there], [_composed(name) for name in names]
    for key in keys:
        _look_up(found, [key(name) for name in composed], wanted)
    if (found == -1).any():
        _find_exported(found, composed, wanted, files=len(keys) > 1)
    return found


def _composed(name):
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _look_up(found, there, wanted, taken=()):
    """Fills in, where `found` is -1, which of `there` is equal to the name in `wanted`, except those that are taken."""
    index = {}
    for i, name in enumerate(there):
        index[name] = SEVERAL if name in index else i
    for k in np.flatnonzero(found == -1):
        item = index.get(wanted[k], -1) if wanted[k] else -1
        found[k] = -1 if item in taken else item


def _find_exported(found, there, wanted, files):
    """As find_items, for the names that are left: by ever shorter ends of their paths, then without a hash, capitals, and
    for files without the ending. Items that a name has met already are not met again, unless they are files."""
    taken = set() if files else set(found[found >= 0].tolist())
    paths = [path_of(name) for name in wanted]
    item_paths = [path_of(name) for name in there]
    longest = max((path.count("/") for k, path in enumerate(paths) if found[k] == -1), default=0)
    tries = [(item_paths, [_end(path, parts) for path in paths]) for parts in range(min(longest + 1, 8), 0, -1)]
    for key in (_file, _without_hash, lambda path: _without_hash(path).casefold(), *[_stem] * files):
        tries.append(([key(path) for path in item_paths], [key(path) for path in paths]))
    for items, names in tries:
        before = found.copy()
        _look_up(found, items, names, taken)
        if not files:  # several names of one item are rather other items
            met, count = np.unique(found[found != before], return_counts=True)
            found[np.isin(found, [SEVERAL, *met[count > 1]]) & (before == -1)] = -1
            taken |= set(found[found >= 0].tolist())


def path_of(name):
    """The path in a URL or a path of any system, without what is behind a question mark or a hash sign."""
    name = name.replace("\\", "/")
    if re.match(r"[A-Za-z][\w+.-]*://", name):
        name = unquote(re.split(r"[?#]", name.split("://", 1)[1])[0])
    return re.sub(r"^(\./|/)+", "", _composed(name))


def _end(path, parts):
    return "/".join(path.split("/")[-parts:])


def _file(path):
    return path.rpartition("/")[2]


def _without_hash(path):
    return re.sub(HASH, "", _file(path))


def _stem(path):
    return stem_of(_without_hash(path)).casefold()
