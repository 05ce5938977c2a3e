"""Files that are never half written."""
import os


def replace_file(path, write, mode="wb", **how):
    """Writes a file under a temporary name with write(file), then renames it: the old one stays until the new is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, **how) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
