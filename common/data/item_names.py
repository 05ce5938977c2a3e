"""How an item's name in an export meets the file or the row that it means."""
import re
import unicodedata
from functools import partial
from pathlib import PurePosixPath
from urllib.parse import unquote

import numpy as np

AMBIGUOUS = -2


def stem_of(name):
    """A file's name without folders and ending, that of name.nii.gz too."""
    return PurePosixPath(name.removesuffix(".gz")).stem


# what a file may go by: its path, its name, that without the ending, or what is behind the last hyphen of that (peerannot's)
FILE_NAMES = (lambda name: name, lambda name: PurePosixPath(name).name, stem_of,
              lambda name: stem_of(name).rpartition("-")[2])
HASH = r"^[0-9a-f]{8,40}[-_]"  # before a file's name, as Label Studio writes it
HASH_OF_FILE = r"^(?=[0-9]*[a-f])[0-9a-f]{8,40}[-_]"  # of a file itself: a date is none


def find_items(there, names, keys=FILE_NAMES[:1]):
    """int array: which of the items `there` each name means, -1 for none and AMBIGUOUS for more than one.

    A name means the item of that name, in any Unicode form, or a file by one of `keys`. Else it may have gained a URL
    and its encoding, folders with / or \\, a hash before the file's name, or capitals: without them it means one of the
    remaining items.
    """
    meant = np.full(len(names), -1)
    composed, wanted = [_composed(name) for name in there], [_composed(name) for name in names]
    for key in keys:
        _look_up(meant, [key(name) for name in composed], wanted)
    if (meant == -1).any():
        _find_exported(meant, composed, wanted, files=len(keys) > 1)
    return meant


def _composed(name):
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _look_up(meant, there, wanted, taken=()):
    """Fills in, where `meant` is -1, which of `there` is equal to the name in `wanted`, except those that are taken."""
    index = {}
    for i, name in enumerate(there):
        index[name] = AMBIGUOUS if name in index else i
    for k in np.flatnonzero(meant == -1):
        item = index.get(wanted[k], -1) if wanted[k] else -1
        meant[k] = -1 if item in taken else item


def _find_exported(meant, there, wanted, files):
    """As find_items, for the names that are left: by ever shorter ends of their paths, then without a hash, capitals, and
    for files without the ending; then the same with %20 as a space. Items that a name has met already are not met again,
    unless they are files. Where a name met a file with its folder, or with its hash, the others do not lose theirs."""
    taken = set() if files else set(meant[meant >= 0].tolist())
    item_paths, exported = [path_of(name) for name in there], [path_of(name) for name in wanted]
    longest = max((path.count("/") for k, path in enumerate(exported) if meant[k] == -1), default=0)
    steps = [(str, partial(_end, parts=parts)) for parts in range(min(longest + 1, 8), 0, -1)] + [(_file, _file)]
    steps += [(partial(key, pattern=HASH_OF_FILE), key) for key in (_without_hash, _folded, *[_stem] * files)]
    decoded = [unquote(path) for path in exported]
    for paths in (exported, decoded) if decoded != exported else (exported,):
        for item_key, key in steps:
            if (meant != -1).all():
                return
            before = meant.copy()
            _look_up(meant, [item_key(path) for path in item_paths], _shortened(paths, key, meant, item_paths), taken)
            if not files:  # several names of one item are rather other items
                met, count = np.unique(meant[meant != before], return_counts=True)
                meant[np.isin(meant, [AMBIGUOUS, *met[count > 1]]) & (before == -1)] = -1
                taken |= set(meant[meant >= 0].tolist())


def _shortened(paths, key, meant, item_paths):
    """The paths that mean no item yet, by a key; "" where that loses a folder, or a hash, with which others mean one."""
    met = [(path, item_paths[i]) for path, i in zip(paths, meant, strict=True) if i >= 0]
    folders = any("/" in path and _end(path, 2) == _end(item, 2) for path, item in met)
    hashes = any(re.match(HASH, _file(path)) and _file(path) == _file(item) for path, item in met)

    def shorten(path):
        name = key(path)
        without_folder = folders and "/" in path and "/" not in name
        without_hash = hashes and re.match(HASH, _file(path)) and not re.match(HASH, _file(name))
        return "" if without_folder or without_hash else name
    return [shorten(path) if i == -1 else "" for path, i in zip(paths, meant, strict=True)]


def path_of(name):
    """The path in a URL or a path of any system, without what is behind a question mark or a hash sign. Label Studio's local
    files have theirs behind ?d=."""
    name = name.replace("\\", "/")
    local = re.search(r".*/data/local-files/\?d=([^&#]+)", name, re.DOTALL)
    if local:
        return path_of(unquote(local[1]))
    if re.match(r"[A-Za-z][\w+.-]*://", name):
        name = unquote(re.split(r"[?#]", name.split("://", 1)[1])[0])
    return re.sub(r"^(\./|/)+", "", _composed(name))


def _end(path, parts):
    return "/".join(path.split("/")[-parts:])


def _file(path):
    return path.rpartition("/")[2]


def _without_hash(path, pattern=HASH):
    return re.sub(pattern, "", _file(path))


def _folded(path, pattern=HASH):
    return _without_hash(path, pattern).casefold()


def _stem(path, pattern=HASH):
    return stem_of(_without_hash(path, pattern)).casefold()
