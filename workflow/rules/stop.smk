"""SIGTERM and SIGUSR1 to Snakemake alone, and what then becomes of its jobs."""

import signal
import threading
import time
from contextlib import suppress

import psutil


def jobs_below(process):
    """The processes of jobs below this one, without those that they started themselves."""
    for child in process.children():
        with suppress(psutil.Error):  # of one that has ended
            if child.cmdline()[1:3] == ["-m", "dacs"]:
                yield child
            else:
                yield from jobs_below(child)


def workers_of(job):
    """The processes of its pool, which would wait for ever for one that was ended by SIGTERM."""
    with suppress(psutil.Error):
        return [child for child in job.children() if "--multiprocessing-fork" in child.cmdline()]
    return []


def end_jobs():
    """Send SIGTERM once to each job, also to one that is just about to start, for as long as this process lives."""
    signalled = set()
    while True:
        for job in jobs_below(psutil.Process()):
            if job not in signalled:
                signalled.add(job)
                for process in (job, *workers_of(job)):
                    with suppress(psutil.Error):
                        process.terminate()
        time.sleep(0.5)


def stop(number, frame):
    """Pass a signal on that this process alone may have received, and end as on Ctrl-C, when the jobs have ended."""
    for each in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(each, signal.SIG_IGN)
    threading.Thread(target=end_jobs, daemon=True).start()
    raise KeyboardInterrupt


def stop_with(process):
    """Stop when another process has ended."""
    process.wait()
    os.kill(os.getpid(), signal.SIGTERM)


def stop_on_signals():
    """Stop on SIGTERM and SIGUSR1, and when the `dvc` that started this is killed.

    Snakemake itself waits for its jobs on the one and is killed by the other, and DVC passes no signal on.
    """
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, stop)
    if "DVC_ROOT" in os.environ:
        with suppress(psutil.Error):
            above = psutil.Process().parents()
            found = (each for each in above if "dvc" in {Path(part).name for part in each.cmdline()[:3]})
            if dvc := next(found, None):
                threading.Thread(target=stop_with, args=(dvc,), daemon=True).start()
