"""Clients that connect, say something to themselves and leave, over and over, while something happens."""

import threading
import time

from websocket import Refused, WebSocket

# Between two rounds of a client: an optimised daemon could do more of them than its own limits on new
# connections let in.
PAUSE = 0.015

# Longest a client waits for an answer before its round counts as broken.
PATIENCE = 30


class Load:
    """Begins at once; ends with the `with` block. What was met is counted by kind."""

    def __init__(self, machine, port, user, headers, clients=4):
        self.machine, self.port, self.user, self.headers = machine, port, user, headers
        self.lock = threading.Lock()
        self.over = threading.Event()
        # A round is a connection, a message, its answer. Sent away by the goodbye of a daemon that
        # stops is no fault; refused, or left without an answer, is.
        self.rounds, self.sent_away, self.refused, self.slowest = 0, 0, 0, 0.0
        self.errors = []
        self.threads = [machine.thread(self._work) for _ in range(clients)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def __str__(self):
        return (f"{self.rounds} rounds, {self.sent_away} sent away, {self.refused} refused, "
                f"slowest {self.slowest * 1000:.0f} ms, errors {self.errors[:5]}")

    def _work(self):
        while not self.over.wait(PAUSE):
            began = time.monotonic()
            outcome = self._round()
            with self.lock:
                setattr(self, outcome, getattr(self, outcome) + 1)
                self.slowest = max(self.slowest, time.monotonic() - began)

    def _round(self):
        try:
            sock = self.machine.dial(self.port, PATIENCE)
        except ConnectionRefusedError:
            return "refused"
        try:
            connection = WebSocket(sock, "/ws", self.headers)
        except Refused as refused:
            self.errors.append(repr(refused))
            return "sent_away"
        except (OSError, IndexError):  # closed before or while it was answered
            sock.close()
            return "sent_away"
        try:
            connection.send({"action": "send", "to": self.user, "message": "Hey!!"})
            return "rounds" if connection.receive() == '"Hey!!"' else "sent_away"
        except TimeoutError as error:
            self.errors.append(repr(error))
            return "sent_away"
        except OSError:
            return "sent_away"
        finally:
            connection.abort()
