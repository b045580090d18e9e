"""One thread of a process, stopped where it is, while the others go on.

A signal would stop them all. ptrace stops the one that is asked for, as a deadlock or an endless
loop would.
"""

import ctypes
import os
import pathlib
import threading

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000  # threads too

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def threads_of(pid):
    """Thread id to name."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name): (task / "comm").read_text().strip() for task in tasks}


def freeze(tid):
    """Returns when the thread stands still; it does so until its process is killed."""
    stopped, outcome = threading.Event(), []
    threading.Thread(target=_hold, args=(tid, stopped, outcome), daemon=True).start()
    stopped.wait()
    if outcome:
        raise outcome[0]


def _hold(tid, stopped, outcome):
    """Only the thread that has attached may wait, and the process' parent hears of its end only
    after that."""
    try:
        for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
            if libc.ptrace(request, tid, None, None) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        status = os.waitpid(tid, WALL)[1]
    except OSError as error:
        outcome.append(error)
        return
    finally:
        stopped.set()
    while os.WIFSTOPPED(status):
        status = os.waitpid(tid, WALL)[1]
