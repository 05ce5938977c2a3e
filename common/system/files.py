"""Files that are never half written, and folders in which one process works at a time."""
import errno
import fcntl
import glob
import os
import socket
import time

LOCK = "claim.lock"

PASSED_ON = "CLAIM_PASSED_ON"  # the environment's name for the number of the open lock that a parent passes on


def replace_file(path, write, mode="wb", **opening):
    """Writes a file under a temporary name with write(file), then renames it: the old one stays until the new is whole.

    `opening` goes to open(). Temporary files of a killed process are removed. Text is UTF-8 in every locale; names of files
    that are not UTF-8 stay as they are.
    """
    if "b" not in mode:
        opening = {"encoding": "utf-8", "errors": "surrogateescape"} | opening
    remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, **opening) as file:
            _lock(file)  # until it is closed: a temporary file without a lock is nobody's
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path):
    """Removes the temporary files of `path` that no living process writes."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        try:
            with open(leftover, "rb") as file:
                if _lock(file):
                    leftover.unlink(missing_ok=True)
        except OSError:
            pass  # another process was quicker


def _lock(file, kind=fcntl.LOCK_EX):
    """Whether the open file is now locked by us."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:  # another process has it
        return False
    return True


class Claim:
    """The right to work in a folder: a lock that ends with the last process that has its file open, also when that
    one is killed. To be used with `with`."""

    def __init__(self, path, file, own):
        self.path, self.file, self.own = path, file, own
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M')}")
        file.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.own:
            self.path.unlink(missing_ok=True)  # before the lock ends: nobody else can have taken it yet
        self.file.close()

    def to_child(self):
        """What makes subprocess.Popen pass the claim on: {"pass_fds", "env"}. The child holds it even if we are killed."""
        return {"pass_fds": (self.file.fileno(),), "env": os.environ | {PASSED_ON: str(self.file.fileno())}}


def claim(folder):
    """Makes the folder, if need be, and claims it: a Claim, or None where another process works in it (`holder` says
    which). A claim that our parent has passed on is ours too. Raises OSError where the folder cannot be written to."""
    if folder.is_symlink() and not folder.exists():
        raise OSError(errno.ENOENT, "a symbolic link to nothing", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    if path.is_symlink():
        raise OSError(errno.ELOOP, f"{LOCK} in it is a symbolic link", str(path))
    passed_on = os.environ.get(PASSED_ON, "")
    if passed_on.isdecimal() and _is_open_at(int(passed_on), path):
        return Claim(path, open(os.dup(int(passed_on)), "r+"), own=False)
    while True:
        # O_NOFOLLOW: a link of this name must not have what it points to truncated
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+")  # the Claim closes it
        if not _lock(file):
            file.close()
            return None
        if _is_open_at(file.fileno(), path):
            return Claim(path, file, own=True)
        file.close()  # the former owner removed it between our opening and our locking


def _is_open_at(number, path):
    """Whether the open file of this number is the one at the path."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except (OSError, OverflowError):
        return False


def holder(folder):
    """Who works in the folder, in words, or None where nobody does."""
    try:
        with open(folder / LOCK) as file:
            return None if _lock(file, fcntl.LOCK_SH) else file.read(200) or "another process"
    except OSError:
        return None
