"""The proxies of docs/scaling.md, as they stand there, in front of three panel processes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.servers.cluster import Cluster, make_cluster
from tests.servers.live import Events
from tests.servers.panel import ROOT, PanelProcess, Reply
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.processes import listening
from tests.support import BOSS, PASSWORD, USER

DOCUMENTED = (10222, 10223, 10224)


@dataclass
class Proxy:
    """A proxy that runs, and its panels."""

    port: int
    cluster: Cluster

    @property
    def front(self) -> PanelProcess:
        """What sends its requests to the proxy as to a panel."""
        front = PanelProcess(self.cluster.storage)
        front.url = f"http://{LOOPBACK}:{self.port}"
        front.described = False
        return front


def documented(name: str, own: int, ports: dict[int, int]) -> tuple[str, int]:
    """Return a configuration of the documentation with ports of this test, and the one on which it listens."""
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```{name}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    front = free_port()
    for old, new in {**ports, own: front}.items():
        assert f"{LOOPBACK}:{old}" in block
        block = block.replace(f"{LOOPBACK}:{old}", f"{LOOPBACK}:{new}")
    return block, front


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Three panels over one SQLite box, and a proxy before them."""
    folder = tmp_path_factory.mktemp(request.param)
    cluster = make_cluster(folder, "", folder, environment={"MAILUSERS_TRUSTED_PROXIES": "127.0.0.1"})
    ports = dict(zip(DOCUMENTED, (panel.port for panel in cluster.panels), strict=True))
    config = folder / "proxy.conf"
    if request.param == "nginx":
        block, front = documented("nginx", 8080, ports)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        head = f"daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        config.write_text(f"{head}http {{\naccess_log off;\n{temporary}{block}}}\n")
        folder.parent.chmod(0o755)
        command = ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(config)]
    else:
        block, front = documented("haproxy", 8081, ports)
        config.write_text(block)
        command = ["haproxy", "-db", "-f", str(config)]
    try:
        cluster.start()
        with listening(command, front, folder / "proxy.log"):
            yield Proxy(front, cluster)
    finally:
        cluster.stop()


def test_events_come_through_at_once(proxy: Proxy) -> None:
    """A proxy hands on each event of a stream when it comes, and does not wait for more."""
    with closing(Events(proxy.front)) as events:
        assert proxy.cluster.panels[0].api("/add", 0, email=USER, password=PASSWORD).status == 200
        began = time.monotonic()
        assert events.next() == ("changed", {"lines": [USER], "sizes": []})
        assert time.monotonic() - began < 5


def log_in(front: PanelProcess) -> tuple[dict[str, str], str]:
    """Log in as a browser does; return the cookies and the page's token."""
    path = "/admin/mailusers/login"
    jar: dict[str, str] = {}
    token = re.search(r'name="_xsrf" value="([^"]+)"', send(front, jar, "GET", path).text)
    assert token is not None
    form = {"email": BOSS, "password": PASSWORD, "_xsrf": token[1]}
    assert send(front, jar, "POST", path, form).status in (302, 303)
    return jar, token[1]


def send(
    front: PanelProcess, jar: dict[str, str], method: str, path: str, form: dict[str, str] | None = None
) -> Reply:
    """Send a request with a browser's cookies and keep those that come."""
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items()), "Accept": "text/html"}
    reply = front.request(method, path, form, headers=headers, redirects=False)
    for line in reply.headers.get_all("Set-Cookie", []):
        name, _, value = line.partition(";")[0].partition("=")
        jar[name] = value
    return reply


def test_an_import_stays_at_one_process(proxy: Proxy) -> None:
    """A browser that uploads a file finds it again with each request, until it has the result file."""
    front = proxy.front
    for number in range(4):
        jar, token = log_in(front)
        email = f"imported{number}@example.com"
        form = {"text": f"{email}\n", "_xsrf": token}
        job = send(front, jar, "POST", "/admin/users/import", form).headers["Location"]
        for _ in range(4):
            assert "Import 1 user" in send(front, jar, "GET", job).text
        assert send(front, jar, "POST", job, {"action": "import", "_xsrf": token}).status == 303
        deadline = time.monotonic() + 20
        while (result := send(front, jar, "GET", f"{job}/result.csv")).status == 404:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert email in result.text


def test_a_process_that_dies_is_not_noticed(proxy: Proxy) -> None:
    """While a process is away the proxy asks the others; nobody is told of it who had not sent just then."""
    front = proxy.front
    gone = proxy.cluster.panels[1]
    gone.kill()
    # What it was just being asked may be lost; from then on nothing is.
    deadline = time.monotonic() + 10
    in_a_row = 0
    while in_a_row < 30:
        # Readers whom the proxy takes for different ones, so that some would have come to the one that is gone.
        headers = {"Cookie": f"mailusers_session={in_a_row}"}
        reply = front.request("GET", "/admin/mail/users", user=BOSS, password=PASSWORD, headers=headers)
        in_a_row = in_a_row + 1 if reply.status == 200 else 0
        assert time.monotonic() < deadline
    assert front.api("/quota", 0, email=BOSS, quota="7G").status == 200
    gone.start()


def test_the_caller_is_known_behind_it(proxy: Proxy) -> None:
    """A proxy tells the panel how it was called, and what a caller claims about that does not count."""
    claimed = {"X-Forwarded-For": "192.0.2.7", "X-Real-Ip": "192.0.2.7", "Forwarded": "for=192.0.2.7"}
    proxy.front.request("GET", "/admin/mail/users", user=BOSS, password="wrong", headers=claimed)
    log = proxy.cluster.panels[0].log.read_text()
    assert "192.0.2.7" not in log
