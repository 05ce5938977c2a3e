"""Runs cells: several workers, processes and machines share them by locks."""
import subprocess
import sys
import threading
import time

from tqdm import tqdm

from common.reproduce.cells import DATASETS, ERROR, ROOT
from common.system.files import claim, replace_file


def run_cell(cell, claimed, options, number, show):
    """Runs the script, to which the claim on the cell's folder is passed on; show(text) is called with each line it prints.
    Leaves error.txt if it fails. Where there are GPUs, each worker has one, by its number."""
    passed_on = claimed.to_child()
    environment = passed_on["env"] | ({"OMP_NUM_THREADS": str(options.threads)} if options.threads else {})
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):  # of this launch, not of the script's
        environment.pop(name, None)
    device = options.device or (str(number % options.gpus) if options.gpus else None)
    process = subprocess.Popen([sys.executable, str(ROOT / DATASETS[options.dataset].script), *cell.arguments,
                                *(["--device", device] if device else [])],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
                               env=environment,
                               pass_fds=passed_on["pass_fds"])
    errors = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    for line in process.stdout:
        if line.strip():
            show(f"{cell.folder.name}: {line.strip()[:100]}")
    reader.join()
    if process.wait():
        text = "".join(errors[-30:]).strip() or f"exit status {process.returncode}\n"
        replace_file(cell.folder / ERROR, lambda file: file.write(text), "w")
    else:
        (cell.folder / ERROR).unlink(missing_ok=True)


def work(cells, options, number, started):
    """Takes one cell after another that is neither done, nor claimed, nor failed in this launch. The workers of all
    processes are numbered."""
    # each worker begins at another place, so that they seldom ask for the same cell
    order = cells[number % len(cells):] + cells[:number % len(cells)]
    with tqdm(total=0, position=number, bar_format="{desc}", leave=False, disable=None) as line:
        while True:
            busy = False
            for cell in order:
                if cell.done or cell.failed_since(started):
                    continue
                claimed = claim(cell.folder)
                if claimed is None:
                    busy = True
                    continue
                with claimed:
                    if not cell.done and not cell.failed_since(started):
                        run_cell(cell, claimed, options, number, line.set_description_str)
                        tqdm.write(f"{cell.folder.name}: {'done' if cell.done else 'failed'}")
            if not busy or number:
                return
            time.sleep(1)  # the first worker stays until all is done: it takes over what another leaves


def work_side_by_side(cells, options):
    """options.jobs workers of this process. Raises what the first of them has raised."""
    started, raised = time.time(), []

    def worker(number):
        try:
            work(cells, options, number, started)
        except Exception as error:  # of a thread it would be printed and forgotten
            raised.append(error)
    threads = [threading.Thread(target=worker, args=(options.rank * options.jobs + k,), daemon=True)
               for k in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
