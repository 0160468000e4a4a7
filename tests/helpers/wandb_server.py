"""A W&B server on the loopback interface: one that works as far as runs need it, or one that fails.

It takes runs and their history; of files and artifacts it only hears.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behaviour: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        # works, hangs, stalls (hangs after a greeting), fails (answers 500) or forbids (403)
        self.behaviour = behaviour
        self.requests: list[str] = []
        self.artifacts: list[dict[str, Any]] = []  # as they were created or used
        self.used: list[str] = []
        self.links: list[dict[str, Any]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.history: dict[str, dict[int, dict[str, Any]]] = {}
        self.exit_codes: dict[str, int] = {}
        self.sweeps: dict[str, str | None] = {}
        # What the client reads of runs: their configurations and summaries.
        self.finished: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has given up."""

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path.endswith("/graphql"):
            asked = json.loads(body)
            name = (
                asked["operationName"]
                or re.findall(r"(?:query|mutation) +(\w+)", asked["query"])[0]
            )
            self.requests.append(name)
            operation = getattr(self, name, None)
            if operation is None:
                return {"errors": [{"message": "not answered here"}]}
            return {"data": operation(asked.get("variables", {}))}
        self.requests.append(path)
        if path.endswith("/file_stream"):
            self.stream(path.split("/")[-2], json.loads(body))
        return {}

    def stream(self, run: str, sent: dict[str, Any]) -> None:
        part = sent.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        for line, row in enumerate(part["content"], part["offset"]):
            self.history.setdefault(run, {})[line] = json.loads(row)
        if sent.get("complete"):
            self.exit_codes[run] = sent["exitcode"]

    def Viewer(self, v: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "0", "entity": "team", "username": "me", "email": "", "flags": "{}"}
        return {"viewer": {**viewer, "teams": {"edges": []}}}

    def GetDefaultEntity(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "0", "entity": "team"}}

    def Runs(self, v: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {
                "id": name, "projectId": "2", "name": name, "tags": [], "displayName": name,
                "sweepName": None, "state": "finished", "config": json.dumps(config), "group": None,
                "jobType": "train", "commit": None, "readOnly": False, "createdAt": "2026-01-01",
                "heartbeatAt": None, "description": None, "notes": None, "systemMetrics": "{}",
                "summaryMetrics": json.dumps(summary), "historyLineCount": 1,
                "user": {"name": "me"}, "historyKeys": None,
            }
            for name, (config, summary) in self.finished.items()
        ]  # fmt: skip
        page = {"endCursor": None, "hasNextPage": False}
        runs = {"edges": [{"node": node, "cursor": ""} for node in nodes], "pageInfo": page}
        project = {"internalId": "2", "runCount": len(nodes), "readOnly": False, "runs": runs}
        return {"project": project}

    def View(self, v: dict[str, Any]) -> dict[str, Any]:
        """Return the saved view of a name."""
        views = [one for one in self.views.values() if one["name"] == v["viewName"]]
        return {"project": {"allViews": {"edges": [{"node": view} for view in views]}}}

    def UpsertView2(self, v: dict[str, Any]) -> dict[str, Any]:
        """Save a view, or the report of an id."""
        number = v.get("id") or f"Vmlldzo{len(self.views)}"
        new = number not in self.views
        where = {"name": v["projectName"], "entityName": v["entityName"], "id": "2"}
        self.views[number] = {**v, "id": number, "project": where, "updatedAt": None}
        return {"upsertView": {"view": self.views[number], "inserted": new}}

    upsertView = UpsertView2

    def ProjectViews(self, v: dict[str, Any]) -> dict[str, Any]:
        reports = [one for one in self.views.values() if one["type"] == v.get("viewType", "runs")]
        about = {"user": {"username": "me"}, "createdAt": "2026-01-01"}
        edges = [{"node": {**one, **about}, "cursor": ""} for one in reports]
        page = {"endCursor": None, "hasNextPage": False}
        return {"project": {"allViews": {"edges": edges, "pageInfo": page}}}

    def GetProjects(self, v: dict[str, Any]) -> dict[str, Any]:
        project = {
            "__typename": "Project", "id": "2", "name": "p", "entityName": "team",
            "createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False, "user": None,
        }  # fmt: skip
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": [{"node": project}]}}

    def ProjectInternalId(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "2", "internalId": "UHJvamVjdEludGVybmFsSWQ6Mg=="}}

    def SpecificReport(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"view": self.views[v["reportId"]]}

    def UpsertBucket(self, v: dict[str, Any]) -> dict[str, Any]:
        new = v["name"] not in self.runs
        self.sweeps.setdefault(v["name"], v["sweep"])
        run = self.runs.setdefault(v["name"], {})
        run.update({key: value for key, value in v.items() if value is not None})
        entity = {"id": "1", "name": v["entity"] or "team"}
        bucket = {
            "id": v["name"], "name": v["name"], "displayName": run.get("displayName"),
            "description": None, "config": run.get("config"), "sweepName": None,
            "historyLineCount": len(self.history.get(v["name"], {})),
            "project": {"id": "2", "name": v["project"], "entity": entity},
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def RunResumeStatus(self, v: dict[str, Any]) -> dict[str, Any]:
        if v["name"] not in self.runs:
            return {"model": {"name": v["project"], "entity": {"name": "team"}, "bucket": None}}
        rows = self.history.get(v["name"], {})
        last = [json.dumps(rows[max(rows)])] if rows else []
        bucket = {
            "name": v["name"], "displayName": self.runs[v["name"]].get("displayName"),
            "summaryMetrics": "{}", "logLineCount": 0, "historyLineCount": len(rows),
            "eventsLineCount": 0, "historyTail": json.dumps(last), "eventsTail": "[]",
            "config": self.runs[v["name"]].get("config", "{}"), "tags": [], "wandbConfig": "{}",
        }  # fmt: skip
        return {"model": {"name": v["project"], "entity": {"name": "team"}, "bucket": bucket}}

    def CreateRunFiles(self, v: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/put/{name}"} for name in v["files"]]
        return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}

    def CreateArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        self.artifacts.append(v["input"])
        sequence = {"latestArtifact": None}
        number = str(len(self.artifacts) - 1)
        artifact = {"id": number, "state": "COMMITTED", "artifactSequence": sequence}
        return {"createArtifact": {"artifact": artifact}}

    def UseArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        self.used.append(v["artifactID"] if "artifactID" in v else v["input"]["artifactID"])
        return {"useArtifact": {"artifact": {"id": self.used[-1], "digest": ""}}}

    def ArtifactByID(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"artifact": self.artifact(v["id"])}

    def artifact(self, number: str) -> dict[str, Any]:
        sent = self.artifacts[int(number)]
        where = {"id": "2", "internalId": "2", "name": "seglab", "entity": {"name": "team"}}
        name = {"name": sent["artifactCollectionName"], "project": where}
        known: dict[str, Any] = {
            "__typename": "Artifact", "id": number, "versionIndex": 0, "description": None,
            "artifactSequence": {"__typename": "ArtifactSequence", **name},
            "artifactType": {"name": sent["artifactTypeName"]}, "metadata": sent["metadata"],
            "ttlDurationSeconds": -2, "ttlIsInherited": True, "tags": [], "historyStep": None,
            "state": "COMMITTED", "size": 1, "digest": sent["digest"], "commitHash": None,
            "fileCount": 1, "createdAt": "2026-01-01", "updatedAt": None, "aliases": [],
        }  # fmt: skip
        return known

    def LinkArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        self.links.append(v["input"])
        artifact = self.artifact(v["input"]["artifactID"])
        portfolio = {**artifact["artifactSequence"], "name": v["input"]["artifactPortfolioName"]}
        membership = {
            "__typename": "ArtifactCollectionMembership", "id": "9", "versionIndex": 0,
            "createdAt": "2026-01-01", "aliases": [], "artifact": artifact,
            "artifactCollection": {**portfolio, "__typename": "ArtifactPortfolio"},
        }  # fmt: skip
        return {"result": {"versionIndex": 0, "artifactMembership": membership}}


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        behaviour = self.server.behaviour
        code = {"fails": 500, "forbids": 403}.get(behaviour, 200)
        if behaviour == "hangs" or (behaviour == "stalls" and self.command == "POST"):
            self.server.requests.append(self.path)
            self.server.released.wait(600)
            return
        answer = (
            self.server.answer(self.path, body) if code == 200 else {"errors": [{"message": "no"}]}
        )
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST


def close(server: Server) -> None:
    """Answer no more, on connections that are open or are still to come."""
    server.behaviour = "hangs"
    server.released.set()
    server.shutdown()
    server.server_close()


@contextmanager
def serving(behaviour: str = "works") -> Iterator[Server]:
    server = Server(behaviour)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        if thread.is_alive():
            close(server)
        thread.join()
