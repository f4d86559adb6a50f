"""A small hub on this machine, to try publishing without a network and without an account.

It speaks as much of the Hugging Face hub's protocol as ``huggingface_hub`` needs to create models, commit files (large
ones by git-lfs), list, read revisions, and refuse private and gated models. It keeps all in memory, and listens on the
loopback interface alone. It is not a hub for real use: every user of this machine can read from it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["TOKEN", "LocalHub", "Repository"]

TOKEN = "hf_madeUpForTheLocalHub0123456789abcdef"
"""Of the only user, who may do anything. It opens nothing elsewhere."""


@dataclass
class Repository:
    """A model of the hub: its versions (commit, files), newest last, and who may see it."""

    versions: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    gated: bool = False
    private: bool = False

    def commit(self, files: dict[str, bytes]) -> str:
        """Add a version that has these files and no others, and return its commit."""
        number = f"{len(self.versions)} {sorted(files)}".encode()
        sha = hashlib.sha1(number + b"".join(files.values())).hexdigest()
        self.versions.append((sha, files))
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return a version by its commit, or the newest one by ``main``; None if there is none."""
        if revision == "main":
            return self.versions[-1] if self.versions else ("0" * 40, {})
        return next((each for each in self.versions if each[0] == revision), None)


class LocalHub:
    """The hub, which serves until it is closed; also a context manager.

    Attributes:
        endpoint: Its address, as ``HF_ENDPOINT`` takes it.
        repositories: The models by ``USER/NAME``.
        objects: Large files by their SHA-256.
        requests: What it was asked, as ``METHOD PATH``.
        tokens: With which tokens.
        broken: Whether it answers everything with an error.

    Example:
        >>> hub = LocalHub()
        >>> os.environ.update(hub.environment("hub-cache"))  # before huggingface_hub is imported
        >>> push("runs/1", "ada/digits")
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tokens: set[str] = set()
        self.broken = False
        hub = self

        class Handler(_Handler):
            def handle_any(self) -> None:
                hub.handle(self)

            do_GET = do_HEAD = do_POST = do_PUT = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Stop serving; what it holds is lost."""
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def environment(self, home: str | Path) -> dict[str, str]:
        """Return the environment variables with which ``huggingface_hub`` uses this hub, and caches below ``home``.

        It reads them once, when it is imported.
        """
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(Path(home).absolute()),
            "HF_TOKEN": TOKEN,
            # Large files go by git-lfs: xet's own protocol is not spoken here.
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }

    def info(self, name: str, revision: str = "main") -> dict[str, Any]:
        """Return what the hub says about a model at a version."""
        from huggingface_hub import ModelCard

        repository = self.repositories[name]
        version = repository.at(revision)
        assert version is not None
        sha, files = version
        card = files.get("README.md", b"").decode()
        front = ModelCard(card).data.to_dict() if card.startswith("---\n") else {}  # type: ignore[no-untyped-call]
        return {
            "id": name, "sha": sha, "private": repository.private, "gated": "manual" if repository.gated else False,
            "tags": front.get("tags", []), "cardData": front, "downloads": 3,
            "siblings": [{"rfilename": each, "size": len(content)} for each, content in files.items()],
        }  # fmt: skip

    def listed(self, name: str, query: dict[str, list[str]], known: bool) -> bool:
        """Return whether a model is among those that a query asks for."""
        info = self.info(name)
        mine = query.get("author", [""])[0] == name.partition("/")[0]
        tagged = set(query.get("filter", [])) <= set(info["tags"])
        return mine and tagged and (known or not info["private"])

    def handle(self, request: _Handler) -> None:
        """Answer one request."""
        url = urlsplit(request.path)
        path, body = unquote(url.path), request.body()
        self.requests.append(f"{request.command} {path}")
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.tokens.add(token)
        if self.broken:
            request.answer(418, b"no coffee")
        else:
            self._route(request, path, parse_qs(url.query), body, token == TOKEN)

    def _route(self, request: _Handler, path: str, query: dict[str, list[str]], body: bytes, known: bool) -> None:
        # Where a large file is put is a secret itself.
        if request.command == "POST" and path != "/api/validate-yaml" and not known:
            return request.answer(401, b'{"error": "who are you"}')
        if path == "/api/validate-yaml":
            from huggingface_hub import ModelCard

            ModelCard(json.loads(body)["content"])
            return request.json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            there = name in self.repositories
            private = asked.get("visibility") == "private" or asked.get("private", False)
            self.repositories.setdefault(name, Repository(private=private))
            return request.json({"url": f"{self.endpoint}/{name}"}, 409 if there else 200)
        if path == "/api/models":
            return request.json([self.info(name) for name in self.repositories if self.listed(name, query, known)])
        if found := re.fullmatch(r"/lfs/(\w+)", path):
            self.objects[found[1]] = body
            return request.answer(200)
        if found := re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+?)(?:\.git)?(/.*)?", path):
            return self._repository(request, found[1], found[2] or "", query, body, known)
        return request.answer(404)

    def _repository(
        self, request: _Handler, name: str, rest: str, query: dict[str, list[str]], body: bytes, known: bool
    ) -> None:
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not known):
            return request.answer(404, X_Error_Code="RepoNotFound")
        if repository.gated and (not rest.startswith("/revision") or "blobs" in query) and not known:
            return request.answer(403, X_Error_Code="GatedRepo")
        if rest == "/info/lfs/objects/batch":
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.endpoint}/lfs/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            return request.json({"objects": objects, "transfer": "basic"})
        parts = rest.split("/")
        version = repository.at(parts[2] if len(parts) > 2 else "main")
        if version is None:
            return request.answer(404, X_Error_Code="RevisionNotFound")
        sha, files = version
        if parts[1:2] == ["preupload"]:
            modes = [
                {"path": each["path"], "uploadMode": "lfs" if "safetensors" in each["path"] else "regular"}
                for each in json.loads(body)["files"]
            ]
            return request.json({"files": [{**each, "shouldIgnore": False, "oid": None} for each in modes]})
        if parts[1:2] == ["commit"]:
            new = dict(files)
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    new[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    new[value["path"]] = self.objects[value["oid"]]
            sha = repository.commit(new)
            address = f"{self.endpoint}/{name}/commit/{sha}"
            return request.json({"commitOid": sha, "commitUrl": address, "success": True})
        if parts[1:2] == ["resolve"]:
            content = files.get("/".join(parts[3:]))
            if content is None:
                return request.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
            etag = hashlib.sha256(content).hexdigest()
            return request.answer(200, content, ETag=f'"{etag}"', X_Repo_Commit=sha)
        return request.json(self.info(name, sha))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return body

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, content: object, status: int = 200) -> None:
        self.answer(status, json.dumps(content).encode(), Content_Type="application/json")
