"""Files of JSON and JSON Lines, in which no name is twice in an object."""
import json
from collections import Counter

from common.data.opening import unpacked
from common.data.tables import encoding_of
from common.system.errors import UserError


def read_json(file):
    """(document, None) of JSON, (list of objects, the line of each) of JSON Lines."""
    with unpacked(file) as content:
        content = content.read()
    try:
        text = content.decode(encoding_of(content[:4])).lstrip("\ufeff")
        first = text.lstrip().split("\n", 1)
        if first[0].rstrip().endswith("}") and len(first) == 2 and first[1].lstrip().startswith("{"):
            lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
            return _by_lines(file, lines), [number for number, _ in lines]
        return json.loads(text, object_pairs_hook=_once(file)), None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON that can be read ({error})") from None


def _by_lines(file, lines):
    hook, found = _once(file), []
    for number, line in lines:
        try:
            found.append(json.loads(line, object_pairs_hook=hook))
        except ValueError as error:
            raise UserError(f"{file}, line {number}: not JSON that can be read ({error}); expected an object on each line"
                            ) from None
    return found


def _once(file):
    """The hook of json.loads that raises UserError for a name that is twice in an object."""
    def once(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            name = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise UserError(f"{file}: {name!r} twice in one object; expected each task once, and each worker once in it")
        return found
    return once
