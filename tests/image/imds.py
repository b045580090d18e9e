"""EC2's instance metadata, version 2 only, for a machine that boots: as cloud-init and the daemon ask.

It stands at the service's own address in the machine's own network, so that what is in the image
asks as it is. (tests/suite/support/imds.rs is another one, for the suite's stories of a service that
fails.) Whatever is asked without a token is refused and noted.
"""

import concurrent.futures
import http.server
import json
import subprocess
import threading
import uuid

from container import enter_network

ADDRESS, PORT = "169.254.169.254", 80
TOKEN_SECONDS = range(1, 21_601)

# What the instance's role may sign with; nobody here looks at the signature.
ROLE = {
    "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2020-01-01T00:00:00Z",
    "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "example", "Token": "example",
    "Expiration": "2099-01-01T00:00:00Z",
}


class Imds:
    """The metadata of one instance. Close it, or its threads go on."""

    def __init__(self, values, user_data):
        """`values` are those under `meta-data`, by path."""
        self.values, self.user_data = values, user_data
        self.tokens, self.asked = set(), []
        self.server = None

    def close(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()

    def enter(self, leader):
        """Serves in the network of the machine whose init this is, from now on."""
        with concurrent.futures.ThreadPoolExecutor(1, initializer=enter_network, initargs=(leader,)) as inside:
            self._serve(inside.submit(self._open).result())

    def listen(self):
        """Serves on a free port of this machine's loopback, which is returned: for a machine whose
        network is a program here."""
        self._serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler()))
        return self.server.server_address[1]

    def refused(self):
        """What was asked without a valid token."""
        return [line for line in self.asked if line.endswith(" 401")]

    def _serve(self, server):
        self.server = server
        threading.Thread(target=server.serve_forever).start()

    def _open(self):
        for command in ("link set lo up", f"address add {ADDRESS}/32 dev lo"):
            subprocess.run(["ip", *command.split()], check=True)
        return http.server.ThreadingHTTPServer((ADDRESS, PORT), self._handler())

    def _handler(imds):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one piece: a body of its own waits for the head's acknowledgement.
            wbufsize = -1

            def do_PUT(self):
                seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
                if self.path != "/latest/api/token":
                    self.answer(404)
                elif not seconds.isdigit() or int(seconds) not in TOKEN_SECONDS:
                    self.answer(400)
                else:
                    token = uuid.uuid4().hex
                    imds.tokens.add(token)
                    self.answer(200, token, {"X-aws-ec2-metadata-token-ttl-seconds": seconds})

            def do_GET(self):
                if self.headers.get("X-aws-ec2-metadata-token") not in imds.tokens:
                    self.answer(401)
                else:
                    value = imds.look_up(self.path)
                    self.answer(404 if value is None else 200, value or "")

            def answer(self, status, body="", headers=None):
                imds.asked.append(f"{self.command} {self.path} {status}")
                self.send_response(status)
                for name, value in {**(headers or {}), "Content-Length": len(body.encode())}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        return Handler

    def look_up(self, path):
        """A value, or the names in a directory; every version of the service has the same here."""
        _, _, kind, *rest = path.split("/", 3)
        rest = rest[0] if rest else ""
        if kind == "user-data" and not rest:
            return self.user_data
        values = {"meta-data": self.values, "dynamic": self._dynamic()}.get(kind)
        if values is None:
            return None
        if rest in values:
            return values[rest]
        below = rest.rstrip("/") + "/" if rest else ""
        names = {_entry(name[len(below):]): None for name in values if name.startswith(below)}
        return "\n".join(names) or None

    def _dynamic(self):
        document = {
            "instanceId": self.values["instance-id"], "region": self.values["placement/region"],
            "availabilityZone": self.values["placement/availability-zone"],
            "privateIp": self.values["local-ipv4"], "architecture": "x86_64",
        }
        return {"instance-identity/document": json.dumps(document)}


def instance(number, public_key):
    """The metadata of an instance."""
    return {
        "ami-id": "ami-00000000000000001", "instance-id": f"i-{number:017x}", "instance-type": "t3.small",
        "hostname": f"ip-10-0-0-{number}.eu-west-1.compute.internal",
        "local-hostname": f"ip-10-0-0-{number}.eu-west-1.compute.internal",
        "local-ipv4": f"10.0.0.{number}", "mac": f"0a:00:00:00:00:{number:02x}",
        "placement/availability-zone": "eu-west-1a", "placement/region": "eu-west-1",
        # Directories whose lists say more than names, or other names.
        "public-keys/": "0=operator", "public-keys/0/openssh-key": public_key,
        "iam/security-credentials/": "wsfleetd", "iam/security-credentials/wsfleetd": json.dumps(ROLE),
    }


def _entry(name):
    """As it stands in a list: what is a directory ends with a slash."""
    first, slash, _ = name.partition("/")
    return first + slash
