"""Errors that a user can cause: one sentence on standard error, exit status 2, no traceback.

To be imported before what takes long to import: from then on Control-C is one sentence too.
"""
import contextlib
import difflib
import os
import re
import sys

LONGEST = 1000  # characters of a message


class UserError(Exception):
    """Names the flag or the file, what was found and what was expected, in one sentence."""


def _open_closed_streams():
    """Lets /dev/null stand for a standard stream that is closed (`>&-`): no file gets its number, and prints go nowhere."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def launch(main):
    """Runs main() as a script and exits: 0 when it is done, 2 on what a user can cause (a UserError, a file that cannot be
    read or written, a lack of memory), 130 on Control-C. The message is then the KeyboardInterrupt's argument."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names that the terminal's encoding does not have
    try:
        status = main()
        sys.stdout.flush()
    except UserError as error:
        status = _say(f"error: {error}", 2)
    except KeyboardInterrupt as stop:
        status = _say(f"stopped: nothing is half written; {str(stop) or 'the same command goes on'}", 130)
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        status = 1
    except OSError as error:
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file, or the output"
        status = _say(f"error: {where}: cannot be read or written ({error.strerror or error})", 2)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("out of memory|allocate", str(error)):  # torch's
            raise
        status = _say(f"error: not enough memory ({str(error) or 'none is free'})", 2)
    _leave(status)


@contextlib.contextmanager
def reader_may_leave():
    """A context whose prints are for a reader alone: where `| head` reads no further, it ends without an error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()


warnings = []  # what `warn` has printed


def warn(text):
    """Prints a warning and remembers it, so that nobody says afterwards that nothing is wrong."""
    warnings.append(text)
    echo(f"warning: {text}")


def echo(*lines):
    """Prints each argument as one line. A user's names may hold escape codes and line breaks: they are escaped here, so
    messages with names are printed by this function alone."""
    for line in lines:
        print(printable(line))


def printable(text):
    """The text with its control characters escaped, those that turn it around too, and what is no character."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def did_you_mean(word, known):
    """The end of a message about an unknown word: `; did you mean --answers?`, or nothing where no known one is near."""
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def first_few(names):
    """The first five of the names, as they can be printed."""
    return printable(", ".join(names[:5])) + " ..." * (len(names) > 5)


def _say(sentence, status):
    if os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK") != "0":  # of several processes of torchrun
        sentence = f"process {os.environ.get('RANK')}: {sentence}"
    sentence = printable(sentence)
    sentence = sentence if len(sentence) <= LONGEST else sentence[:LONGEST] + " ..."
    with contextlib.suppress(OSError):  # standard error is full or closed
        print(sentence, file=sys.stderr, flush=True)
    return status


def _leave(status):
    """sys.exit; output that can no longer be written is dropped, without an error."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _drop_output()
    sys.exit(status)


def _drop_output():
    """Lets what is still printed go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if sys.platform == "win32":  # files are locked, and memory is measured, as POSIX has it
    sys.exit("error: Windows is not supported, as it cannot lock files like Linux; use Linux, macOS or WSL")


def _stopped_early(kind, error, trace):
    """sys.excepthook: Control-C before `launch`."""
    if not issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, trace)
    _say("stopped: nothing was begun", 130)
    os._exit(130)


sys.excepthook = _stopped_early  # these three are all that an import does here
_open_closed_streams()
