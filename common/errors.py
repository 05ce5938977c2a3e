"""Errors that a user can cause: one sentence on standard error, exit status 2, no traceback."""
import os
import sys


class UserError(Exception):
    """Names the flag or the file, what was found and what was expected, in one sentence."""


def launch(main):
    """Runs main() as a script and exits: 0 when it is done, 2 on a UserError, 130 on Control-C."""
    try:
        status = main()
    except UserError as error:
        status = _say(f"error: {error}", 2)
    except KeyboardInterrupt:
        again = "the same command without --fresh" if "--fresh" in sys.argv else "the same command"
        status = _say(f"stopped: nothing is half written; {again} goes on; at most a minute of finished epochs is lost", 130)
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def _say(sentence, status):
    if os.environ.get("RANK", "0") != "0":  # of several processes of torchrun
        sentence = f"process {os.environ['RANK']}: {sentence}"
    print(sentence, file=sys.stderr)
    return status
