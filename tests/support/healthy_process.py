"""A process that only answers health checks: `python -m tests.support.healthy_process PORT_VARIABLE`."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ThreadingHTTPServer(("127.0.0.1", int(os.environ[sys.argv[1]])), Healthy).serve_forever()
