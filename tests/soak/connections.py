#!/usr/bin/env python3
"""Opens a hundred thousand connections to a fleet on this machine and looks what they cost.

    tests/soak/connections.py target/release/wsfleetd [CONNECTIONS [SECONDS]]

A process may have 20,000 descriptors here, so there is a daemon and a client process for every
16,000 connections; all daemons share one Redis. Shown are the time to accept them, bytes of
resident memory per connection, and what all servers together need while nothing is said but pings.
Fails if a connection is refused or lost, if one costs more than 8 KiB, if idling costs more than
its bound, or if anything is left in Redis when all have gone. It takes some 3 minutes and 3 GB.
"""

import multiprocessing
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

PER_PROCESS = 16_000
OPENING = 200  # handshakes a client has under way
MOST_BYTES = 8 * 1024
# Of a core: for a daemon's heartbeats, with Redis's part in them; and for 10,000 connections,
# whose pings and pongs every 25 s are some 1 %.
IDLE_DAEMON = 0.015
IDLE_CONNECTIONS = 0.03
PATIENCE = 300

HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: soak\r\nusername: u{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CONFIG = """
[instance]
state_dir = "{dir}"
runtime_dir = "{dir}"
[listen]
app = "127.0.0.1:0"
api = "127.0.0.1:0"
admin = "127.0.0.1:0"
backlog = 4096
[auth]
modes = ["header"]
[users]
file = "{users}"
[redis]
url = "redis://127.0.0.1:{redis}/0"
[telemetry]
log = "text"
"""


class Client:
    """One process's connections: opens them, then answers pings until it is told to leave."""

    def __init__(self, port, numbers, pipe):
        self.port, self.numbers, self.pipe = port, list(numbers), pipe
        self.poll = select.epoll()
        self.opening, self.open, self.lost = {}, {}, 0

    def run(self):
        start = time.monotonic()
        while self.numbers or self.opening:
            while self.numbers and len(self.opening) < OPENING:
                self.dial(self.numbers.pop())
            self.turn(1)
        self.pipe.send(time.monotonic() - start)
        while not self.pipe.poll():
            self.turn(0.2)
        self.pipe.send((len(self.open), self.lost))

    def dial(self, number):
        stream = socket.create_connection(("127.0.0.1", self.port))
        stream.sendall(HANDSHAKE.format(number).encode())
        self.opening[stream.fileno()] = (stream, number)
        self.poll.register(stream, select.EPOLLIN)

    def turn(self, seconds):
        for handle, _ in self.poll.poll(seconds):
            if handle in self.opening:
                self.upgraded(handle)
            else:
                self.heard(handle)

    def upgraded(self, handle):
        stream, number = self.opening.pop(handle)
        answer = stream.recv(4096)
        if answer.startswith(b"HTTP/1.1 101 "):
            self.open[handle] = stream
            return
        # Too fast for limits.accept_rate: later, and nothing else may refuse it.
        if not answer.startswith(b"HTTP/1.1 429 "):
            sys.exit(f"refused: {answer!r}")
        self.poll.unregister(stream)
        stream.close()
        self.numbers.insert(0, number)
        time.sleep(0.01)

    def heard(self, handle):
        frames = self.open[handle].recv(4096)
        # A client that was slow finds several; the last is the one to answer.
        if frames and frames == b"\x89\x00" * (len(frames) // 2):
            self.open[handle].sendall(b"\x8a\x80\0\0\0\0")
            return
        # Nobody sends anything else.
        self.poll.unregister(handle)
        self.open.pop(handle).close()
        self.lost += 1


class Server:
    """A daemon, or Redis."""

    def __init__(self, command, **options):
        self.process = subprocess.Popen(command, **options)

    def cpu(self):
        fields = self.read("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self):
        return int(re.search(r"VmRSS:\s+(\d+) kB", self.read("status"))[1]) * 1024

    def read(self, name):
        return pathlib.Path(f"/proc/{self.process.pid}/{name}").read_text()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def daemon(binary, dir, users, redis):
    """Starts one; it and the port of its app listener."""
    dir.mkdir()
    file = dir / "wsfleetd.toml"
    file.write_text(CONFIG.format(dir=dir, users=users, redis=redis))
    log = dir / "log"
    server = Server([binary, "run", "--config", file], stderr=log.open("w"))
    start = time.monotonic()
    while not (found := re.search(r"serves app on 127\.0\.0\.1:(\d+)", log.read_text())):
        if server.process.poll() is not None or time.monotonic() > start + 30:
            sys.exit(f"the daemon does not start:\n{log.read_text()}")
        time.sleep(0.05)
    return server, int(found[1])


def entries(redis):
    script = (
        "local n = 0 for _, key in ipairs(redis.call('KEYS', 'wsfleetd:{w*}:u:*')) do "
        "n = n + redis.call('HLEN', key) end return n"
    )
    command = ["redis-cli", "-p", str(redis), "EVAL", script, "0"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    binary = sys.argv[1]
    total = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    seconds = int(sys.argv[3]) if len(sys.argv) > 3 else 60
    with tempfile.TemporaryDirectory() as dir:
        servers = []
        try:
            soak(binary, total, seconds, pathlib.Path(dir), servers)
        finally:
            for server in reversed(servers):
                server.process.kill()
                server.process.wait()


def soak(binary, total, seconds, dir, servers):
    users = dir / "users.csv"
    lines = "".join(f"u{number},,,,,\n" for number in range(total))
    users.write_text("username,first_name,last_name,mobile,password_hash,disabled\n" + lines)
    redis = free_port()
    command = ["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", ""]
    servers.append(Server(command, stdout=subprocess.DEVNULL))
    time.sleep(1)
    clients = []
    for at, first in enumerate(range(0, total, PER_PROCESS)):
        server, port = daemon(binary, dir / str(at), users, redis)
        servers.append(server)
        numbers = range(first, min(first + PER_PROCESS, total))
        ours, theirs = multiprocessing.Pipe()
        client = Client(port, numbers, theirs)
        clients.append((multiprocessing.Process(target=client.run), ours))
    time.sleep(3)  # the members know each other
    daemons = servers[1:]
    before = [daemon.resident() for daemon in daemons]
    spent = sum(server.cpu() for server in servers)
    for process, _ in clients:
        process.start()
    slowest = max(answer(client) for client in clients)
    spent = sum(server.cpu() for server in servers) - spent
    time.sleep(5)
    grown = sum(daemon.resident() for daemon in daemons) - sum(before)
    print(f"{total} connections to {len(daemons)} daemons in {slowest:.1f} s, "
          f"{spent / total * 1e6:.0f} µs of CPU each, {grown / total:.0f} bytes each")
    known = entries(redis)

    idle, start = [server.cpu() for server in servers], time.monotonic()
    time.sleep(seconds)
    span = time.monotonic() - start
    used = [server.cpu() - before for server, before in zip(servers, idle)]
    share = sum(used) / span
    print(f"idle: {share:.1%} of a core in all, {used[0] / span:.1%} of it Redis")

    most = IDLE_DAEMON * len(daemons) + IDLE_CONNECTIONS * total / 10_000
    ends = []
    for process, pipe in clients:
        pipe.send("leave")
        ends.append(answer((process, pipe)))
        process.join(PATIENCE)
    start = time.monotonic()
    while (left := entries(redis)) and time.monotonic() < start + PATIENCE:
        time.sleep(0.5)
    print(f"gone after {time.monotonic() - start:.1f} s")
    open_at_the_end, lost = (sum(numbers) for numbers in zip(*ends))
    faults = [
        (open_at_the_end != total or lost, f"{open_at_the_end} of {total} open at the end, {lost} lost"),
        (known != total, f"Redis knew {known} of {total}"),
        (grown > MOST_BYTES * total, f"{grown / total:.0f} bytes are more than {MOST_BYTES}"),
        (share > most, f"{share:.1%} of a core are too much for idling"),
        (left, f"{left} entries are left in Redis"),
    ]
    for is_fault, words in faults:
        if is_fault:
            print(f"FAULT: {words}")
    if any(is_fault for is_fault, _ in faults):
        sys.exit(1)


def answer(client):
    process, pipe = client
    start = time.monotonic()
    while not pipe.poll(1):
        if not process.is_alive() or time.monotonic() > start + PATIENCE:
            sys.exit("a client has failed")
    return pipe.recv()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
