"""Servers that misbehave as told: HTTP with ranges, redirects and an S3 listing; FTP with REST."""

import hashlib
import http.server
import threading
import time
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Server:
    """Serves `files` on a local port.

    ``faults[name]`` are given first, one a request: a status, ``(status, headers)``, other bytes, ``"break"`` (after
    half of what was asked for) or ``("break", bytes)``, ``"stall"``, ``"whole"`` (200 to a range), ``"shift"`` (206
    with another range), ``"no length"``, ``"longer"`` and ``"shorter"`` (a wrong length). ``asked`` is the names in
    order; ``sent`` of each answer (name, first byte, bytes written).
    """

    def __init__(self, files: dict[str, bytes], page: int = 1000):
        self.files, self.faults, self.asked, self.sent = files, {}, [], []
        self.page, self.pause, self.listed = page, 0.0, []  # keys a listing page; seconds each 4 kB; prefixes asked for
        self.modified = None  # a Last-Modified, beside which every answer has another ETag
        self.stalled, self.active, self.most, lock = threading.Event(), 0, 0, threading.Lock()  # answers at once
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                address = urlsplit(self.path)
                query = parse_qs(address.query, keep_blank_values=True)
                if query.get("list-type") == ["2"]:
                    return self.answer("", outer.list_page(query), 200, {"Content-Type": "application/xml"})
                name = unquote(address.path[1:])
                outer.asked.append(name)
                with lock:
                    outer.active += 1
                    outer.most = max(outer.most, outer.active)
                self.give(name, outer.faults[name].pop(0) if outer.faults.get(name) else None)
                with lock:
                    outer.active -= 1

            def give(self, name, fault):
                status, headers = fault if isinstance(fault, tuple) and isinstance(fault[0], int) else (fault, {})
                if isinstance(status, int):
                    return self.answer(name, b"sorry", status, headers)
                if name not in outer.files:
                    return self.answer(name, b"sorry", 404, {})
                content = fault if isinstance(fault, bytes) else outer.files[name]
                stamp = {"ETag": '"' + hashlib.md5(content, usedforsecurity=False).hexdigest() + '"'}
                if outer.modified:
                    stamp = {"ETag": f'"{len(outer.asked)}"', "Last-Modified": outer.modified}
                first, last, total = 0, len(content) - 1, len(content)
                asked = self.headers.get("Range", "").removeprefix("bytes=").split("-")
                fits = self.headers.get("If-Range", stamp["ETag"]) in stamp.values()
                if len(asked) == 2 and fits and fault not in ("whole", "no length", "longer", "shorter"):
                    first, last = int(asked[0]), min(int(asked[1] or last), last)
                    if first >= total:
                        return self.answer(name, b"", 416, {"Content-Range": f"bytes */{total}"})
                    if fault == "shift":
                        first += 1
                    stamp["Content-Range"] = f"bytes {first}-{last}/{total}"
                status = 206 if "Content-Range" in stamp else 200
                return self.answer(name, content[first : last + 1], status, stamp, fault, first)

            def answer(self, name, body, status, headers, fault=None, first=0):
                self.send_response(status)
                length = len(body) + {"longer": 10, "shorter": -10}.get(fault, 0)
                if fault != "no length":
                    self.send_header("Content-Length", str(length))
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                if fault == "break":
                    body = body[: len(body) // 2]
                elif isinstance(fault, tuple) and fault[0] == "break":
                    body = body[: fault[1]]
                elif fault == "stall":
                    self.wfile.write(body[: len(body) // 2])
                    outer.stalled.wait(30)
                    return
                written = 0
                try:
                    for at in range(0, len(body), 4096):
                        time.sleep(outer.pause)
                        written += self.wfile.write(body[at : at + 4096])
                except OSError:
                    pass  # the client was killed
                finally:
                    if status in (200, 206) and name:
                        outer.sent.append((name, first, written))

            def log_message(self, *_):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def list_page(self, query) -> bytes:
        """One page of ListObjectsV2, as S3 answers it."""
        prefix, delimiter = query["prefix"][0], query.get("delimiter", [""])[0]
        self.listed.append(prefix)
        found = {}
        for key in sorted(k for k in self.files if k.startswith(prefix)):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            found.setdefault(key if cut < 0 else key[: cut + 1], cut < 0)
        start = int(query.get("continuation-token", ["token-0"])[0].removeprefix("token-"))
        keys, rest = list(found)[start : start + self.page], list(found)[start + self.page :]
        body = "".join(
            f"<Contents><Key>{escape(k)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>&quot;"
            f"{hashlib.md5(self.files[k], usedforsecurity=False).hexdigest()}&quot;</ETag>"
            f"<Size>{len(self.files[k])}</Size></Contents>"
            if found[k]
            else f"<CommonPrefixes><Prefix>{escape(k)}</Prefix></CommonPrefixes>"
            for k in keys
        )
        more = f"<NextContinuationToken>token-{start + self.page}</NextContinuationToken>" if rest else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Prefix>{escape(prefix)}</Prefix><IsTruncated>{str(bool(rest)).lower()}</IsTruncated>{more}{body}"
            "</ListBucketResult>"
        ).encode()

    def close(self):
        self.stalled.set()
        self.httpd.shutdown()
        self.httpd.server_close()


@contextmanager
def serve(files, **options):
    """A `Server`, closed afterwards."""
    server = Server(files, **options)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def serve_ftp(folder, *, break_after: list | None = None, rest: bool = True):
    """An FTP server of `folder` for anonymous readers: its address, and the REST offsets that were asked for.

    Each number of `break_after` makes one transfer end after about as many bytes; with ``rest=False`` it knows no REST.
    """
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.filesystems import AbstractedFS
    from pyftpdlib.handlers import DTPHandler, FTPHandler
    from pyftpdlib.servers import FTPServer

    breaks, offsets = list(break_after or []), []

    class Transfer(DTPHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.left = breaks.pop(0) if breaks else None
            self.ac_out_buffer_size = 4096

        def send(self, data):
            sent = super().send(data)
            if self.left is not None:
                self.left -= sent
                if self.left <= 0:
                    self.close()
            return sent

    class Handler(FTPHandler):
        authorizer, dtp_handler, abstracted_fs, use_sendfile = DummyAuthorizer(), Transfer, AbstractedFS, False

        def ftp_REST(self, line):
            offsets.append(int(line))
            return super().ftp_REST(line) if rest else self.respond("502 Command not implemented.")

    Handler.authorizer.add_anonymous(str(folder))
    server = FTPServer(("127.0.0.1", 0), Handler)
    running = threading.Event()

    def loop():
        while not running.is_set():
            server.serve_forever(timeout=0.02, blocking=False)
        server.close_all()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield f"ftp://127.0.0.1:{server.address[1]}", offsets
    finally:
        running.set()
        thread.join(5)
