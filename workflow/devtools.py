"""A page in a real browser: headless Chromium, driven over the DevTools protocol."""

import json
import shutil
import subprocess
import time
import urllib.request

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """Headless Chromium over the DevTools protocol: one page, what it logs and what it asks for."""

    def __init__(self, profile):
        import websocket

        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        flags += ["--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"]
        flags += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen([CHROMIUM, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = profile / "DevToolsActivePort"
        self.wait(lambda: port.is_file() and "\n" in port.read_text())
        address = f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"
        # this machine's own address: whatever proxy there is has no part in it
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.wait(lambda: any(t["type"] == "page" for t in json.load(opener.open(address, timeout=30))))
        page = next(t for t in json.load(opener.open(address, timeout=30)) if t["type"] == "page")
        self.socket = websocket.create_connection(
            page["webSocketDebuggerUrl"], suppress_origin=True, timeout=600, http_no_proxy=["127.0.0.1"]
        )
        self.number, self.events = 0, []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                assert "error" not in message, (method, message)
                return message["result"]
            self.events.append(message)

    def run(self, expression):
        """The value of a JavaScript expression (or of the promise that it is)."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, path, width=1100, height=1000, seconds=60):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        there = path.as_uri()
        self.wait(lambda: self.run("[document.readyState, location.href]") == ["complete", there], seconds)

    @staticmethod
    def wait(condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"nothing after {seconds} s"
            time.sleep(0.05)

    def press(self, key, times=1):
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def complaints(self):
        """Console errors and warnings, exceptions, and requests that left the machine."""
        said = []
        for event in self.events:
            method, about = event["method"], event["params"]
            if method == "Runtime.exceptionThrown" or (
                method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning")
            ):
                said.append(str(about)[:300])
            if method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
                said.append(about["entry"]["text"])
            if method == "Network.requestWillBeSent" and not about["request"]["url"].startswith(("file:", "data:")):
                said.append(about["request"]["url"])
        return said

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)
