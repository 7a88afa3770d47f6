"""What a loader's worker process does before its first sample."""

import multiprocessing
import os
import signal
import threading

import cv2


def init_worker(_: int) -> None:
    """Give the worker one thread, and leave the signals that end a training to the main process.

    A terminal sends Ctrl-C, and many a scheduler SIGTERM, to all processes of a job. The main process then saves, for
    which it may need a batch more, and ends the workers itself.
    """
    cv2.setNumThreads(0)  # the workers are the parallelism; PyTorch gives each of them one thread
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(signal, "sigwaitinfo"):  # Linux; elsewhere nothing tells who has sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey, args=(parent.pid,), daemon=True).start()


def _obey(parent: int | None) -> None:
    """End this process at the SIGTERM that its parent sends, as PyTorch's own handler does, and at no other."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
