"""A BitTorrent tracker for one torrent (BEP 3, compact lists of BEP 23): tells everybody who asks of everybody who asked.

usage: tracker.py ADDRESS PORT
"""

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

peers = set()


class Announce(BaseHTTPRequestHandler):
    def do_GET(self):
        port = int(parse_qs(urlparse(self.path).query)["port"][0])
        peers.add(socket.inet_aton(self.client_address[0]) + port.to_bytes(2, "big"))
        told = b"".join(peers)
        body = b"d8:intervali5e12:min intervali5e5:peers%d:%se" % (len(told), told)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Announce)
print("ready", flush=True)
server.serve_forever()
