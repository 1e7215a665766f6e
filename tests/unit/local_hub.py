"""A hub of models on this machine: the few addresses that the client libraries of the Hugging Face hub ask for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Hub", "serve"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Models by name, each a folder of files, and what was asked for."""

    models: dict[str, Path]
    tags: Mapping[str, tuple[str, ...]]
    closed: frozenset[str] = frozenset()  # models that need an account
    parameters: Mapping[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""

    def listed(self, query: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        """Return what a search finds."""
        author, word, tag = (query.get(key, [""])[0] for key in ("author", "search", "filter"))
        names = [
            name
            for name in self.models
            if name.startswith(author) and word.lower() in name.lower() and (not tag or tag in self.tags[name])
        ]
        return [{"id": name, "modelId": name, "tags": list(self.tags[name])} for name in names]

    def described(self, name: str) -> dict[str, Any]:
        """Return what the hub says of a model."""
        said = {"id": name, "sha": COMMIT, "tags": list(self.tags[name]), "cardData": {"license": "mit"}}
        number = self.parameters.get(name)
        files = [{"rfilename": path.name} for path in sorted(self.models[name].iterdir())]
        return (
            said
            | {"siblings": files}
            | ({} if number is None else {"safetensors": {"parameters": {"F32": number}, "total": number}})
        )


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path, query = unquote(urlsplit(self.path).path), parse_qs(urlsplit(self.path).query)
            hub.asked.append(f"{self.command} {path}")
            if path == "/":
                return self.reply(200, b"", body=body)
            if path == "/api/models":
                return self.reply(200, json.dumps(hub.listed(query)).encode(), body=body)
            name = next((each for each in hub.models if f"/{each}/" in f"{path.removeprefix('/api/models')}/"), None)
            if name is None:
                return self.reply(401, b"", {"X-Error-Code": "RepoNotFound"}, body=body)
            if name in hub.closed:
                return self.reply(403, b"", {"X-Error-Code": "GatedRepo"}, body=body)
            if path in (f"/api/models/{name}", f"/api/models/{name}/revision/main"):
                return self.reply(200, json.dumps(hub.described(name)).encode(), body=body)
            revision, _, rest = path.partition("/resolve/")[2].partition("/")
            file = hub.models[name] / rest
            if revision in ("main", COMMIT) and file.is_file():
                content = file.read_bytes()
                about = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
                return self.reply(200, content, about, body=body)
            return self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body=body)

        def reply(self, code: int, content: bytes, about: Mapping[str, str] = {}, *, body: bool) -> None:
            self.send_response(code)
            for key, value in {"Content-Length": str(len(content)), **about}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Let a hub answer on a port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
