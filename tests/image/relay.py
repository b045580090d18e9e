"""TCP from one network to another, where no route leads.

A machine of the tests has a network of its own, which nothing enters or leaves. A relay is the one
hole: a socket that listens in the one network, each of its connections handed on in the other.
"""

import contextlib
import socket
import threading

CHUNK = 1 << 16


class Relay:
    """Begins at once. Close it, or use it as a context manager: nothing passes from then on."""

    def __init__(self, listener, dial):
        """`dial` makes the connection that one of `listener`'s is handed on to."""
        self.listener, self.dial = listener, dial
        self.lock = threading.Lock()
        self.open = {listener}
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with self.lock:
            sockets, self.open = self.open, None
        for end in sockets or ():
            _end(end)

    def _accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                near = self.listener.accept()[0]
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near):
        with near:
            try:
                far = self.dial()
            except OSError:  # as if nobody had listened there
                return
            with far:
                if not self._keep(near, far):
                    return
                back = threading.Thread(target=_pump, args=(far, near), daemon=True)
                back.start()
                _pump(near, far)
                back.join()
                with self.lock:
                    if self.open is not None:
                        self.open -= {near, far}

    def _keep(self, *ends):
        """Whether it is still to be relayed."""
        with self.lock:
            if self.open is not None:
                self.open |= set(ends)
            return self.open is not None


def _pump(source, sink):
    """Until the source has said all, or either is gone; then the sink is told so."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _end(end):
    """Also for whoever waits in it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
