"""The routes of the API, each a few lines (docs/viewer-api.md)."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from tumorspread._version import __version__
from tumorspread.errors import TumorspreadError
from tumorspread.viewer.body import read_json
from tumorspread.viewer.case import Made, StaleError
from tumorspread.viewer.described import UPLOAD, described, move_parts
from tumorspread.viewer.edits import EditError, Redo, Undo, change_adapter, review_adapter, step_adapter
from tumorspread.viewer.export import TYPES as EXPORT_TYPES
from tumorspread.viewer.export import export_file
from tumorspread.viewer.guard import Access, Asgi, Guard
from tumorspread.viewer.images import IMAGES, image_file
from tumorspread.viewer.jobs import BusyError, Jobs, UnknownJobError
from tumorspread.viewer.places import place_of
from tumorspread.viewer.safe_file import own_file
from tumorspread.viewer.shelf import Shelf, UnknownCaseError
from tumorspread.viewer.upload import MOST_BYTES, Upload, judge_scan

STATIC = Path(__file__).resolve().parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
}


ExportName = Literal["mask.nii.gz", "lesions.nii.gz", "lesions.csv", "findings.json", "seg.dcm", "report-sr.dcm"]


def make_app(shelf: Shelf, jobs: Jobs, access: Access) -> Asgi:
    """The application behind its guard."""
    app = FastAPI(title="tumorspread viewer", version=__version__, docs_url=None, redoc_url=None)
    _add_pages(app)
    _add_cases(app, shelf)
    _add_edits(app, shelf)
    _add_export(app, shelf)
    _add_jobs(app, jobs)
    app.openapi = lambda: move_parts(app)  # type: ignore[method-assign]
    app.add_exception_handler(TumorspreadError, _refused)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    return Guard(app, access)


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return _static("index.html")

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        return _static(name)


def _static(name: str) -> Response:
    # By the names that are there, so that no name of a request is ever part of a path.
    known = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES or path.name == "NOTICE"}
    if name not in known or own_file(STATIC, known[name].name) is None:
        raise HTTPException(404, "there is no such page")
    return FileResponse(known[name], media_type=TYPES.get(known[name].suffix, TYPES[".txt"]))


def _add_cases(app: FastAPI, shelf: Shelf) -> None:
    @app.get("/api/cases")
    def cases() -> dict[str, Any]:
        return {"cases": [asdict(shelf.summary(case)) for case in shelf.ids()]}

    @app.get("/api/cases/{case}")
    def case_info(case: str) -> dict[str, Any]:
        known, opened = shelf.known(case), shelf.open(case)
        with opened.lock:
            history = opened.history
            return {
                "id": known.id,
                "name": known.name,
                "revision": history.revision,
                "can_undo": bool(history.undoable),
                "can_redo": bool(history.redoable),
                "has_probability": own_file(known.folder, "probability.nii.gz") is not None,
                "has_scan": True,
                "shape": list(opened.scan.shape[::-1]),
                "spacing_mm": list(opened.scan.spacing_mm[::-1]),
                "reviewed": history.reviewed,
                "accepted": sorted(history.accepted),
            }

    @app.get("/api/cases/{case}/findings")
    def findings(case: str) -> Response:
        opened = shelf.open(case)
        with opened.lock:
            text, revision = opened.findings.to_json(), opened.history.revision
        return Response(text, media_type="application/json", headers={"X-Revision": str(revision)})

    @app.get("/api/cases/{case}/lesions/{lesion}")
    def lesion_place(case: str, lesion: int) -> dict[str, Any]:
        return place_of(shelf.open(case), lesion)

    for name in IMAGES:
        _add_image(app, shelf, name)


def _add_image(app: FastAPI, shelf: Shelf, name: str) -> None:
    @app.get(f"/api/cases/{{case}}/{name}.nii.gz", name=name)
    def image(case: str) -> Response:
        path, revision = image_file(shelf, case, name)
        return FileResponse(path, media_type="application/gzip", headers={"X-Revision": str(revision)})


def _add_edits(app: FastAPI, shelf: Shelf) -> None:
    @app.post("/api/cases/{case}/edits", openapi_extra=described(change_adapter()))
    async def edit(case: str, request: Request) -> Response:
        shelf.known(case)
        change = await read_json(request, change_adapter())
        return _made(await run_in_threadpool(lambda: shelf.open(case).edit(change)))

    @app.post("/api/cases/{case}/undo", openapi_extra=described(step_adapter()))
    async def undo(case: str, request: Request) -> Response:
        shelf.known(case)
        step = await read_json(request, step_adapter())
        return _made(
            await run_in_threadpool(
                lambda: shelf.open(case).step_back(Undo(revision=step.revision, author=step.author))
            )
        )

    @app.post("/api/cases/{case}/redo", openapi_extra=described(step_adapter()))
    async def redo(case: str, request: Request) -> Response:
        shelf.known(case)
        step = await read_json(request, step_adapter())
        return _made(
            await run_in_threadpool(
                lambda: shelf.open(case).step_back(Redo(revision=step.revision, author=step.author))
            )
        )

    @app.get("/api/cases/{case}/edits")
    def log(case: str) -> dict[str, Any]:
        kept = ("revision", "author", "at", "kind", "changed", "volume_ml_before", "volume_ml_after", "of")
        entries = (asdict(entry) for entry in shelf.open(case).log() if entry.kind != "reviewed")
        return {"edits": [{name: entry[name] for name in kept} for entry in entries]}

    @app.put("/api/cases/{case}/reviewed", openapi_extra=described(review_adapter()))
    async def review(case: str, request: Request) -> dict[str, Any]:
        shelf.known(case)
        asked = await read_json(request, review_adapter())
        await run_in_threadpool(lambda: shelf.open(case).review(asked.reviewed, asked.author))
        return {"reviewed": asked.reviewed}


def _add_export(app: FastAPI, shelf: Shelf) -> None:
    @app.get("/api/cases/{case}/export/{name}")
    def export(case: str, name: ExportName) -> Response:
        opened = shelf.open(case)
        with tempfile.TemporaryDirectory(dir=shelf.served_folder(case)) as folder:
            content = export_file(opened, name, Path(folder))
        headers = {"Content-Disposition": f'attachment; filename="{shelf.known(case).id}-{name}"'}
        return Response(content, media_type=EXPORT_TYPES[name], headers=headers)


def _add_jobs(app: FastAPI, jobs: Jobs) -> None:
    @app.post("/api/cases", status_code=202, openapi_extra=UPLOAD)
    async def send_scan(request: Request) -> dict[str, str]:
        told = request.headers.get("content-length", "")
        if told.isdigit() and int(told) > MOST_BYTES:
            raise HTTPException(413, f"more than {MOST_BYTES // 2**30} GiB; analyse it with the command")
        job, folder = await run_in_threadpool(jobs.new_folder)
        with ExitStack() as undone:
            undone.callback(jobs.drop_folder, job)
            upload = Upload(request.headers.get("content-type", ""), folder)
            await upload.read(request.stream())
            await run_in_threadpool(judge_scan, upload.path)
            undone.pop_all()
        return {"job": jobs.start(job, upload.name).id}

    @app.get("/api/jobs/{job}")
    def job_state(job: str) -> dict[str, Any]:
        return asdict(jobs.get(job))

    @app.delete("/api/jobs/{job}")
    def cancel_job(job: str) -> dict[str, Any]:
        return asdict(jobs.cancel(job))


def _made(made: Made) -> Response:
    head = f'{{"revision":{made.revision},"changed":{list(made.changed)},"findings":'
    return Response(head + made.findings.to_json() + "}", media_type="application/json")


def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, StaleError):
        return JSONResponse({"error": str(error), "revision": error.current}, 409)
    status = (
        404
        if isinstance(error, UnknownCaseError | UnknownJobError)
        else 429
        if isinstance(error, BusyError)
        else 422
        if isinstance(error, EditError)
        else 409
    )
    return JSONResponse({"error": " ".join(str(error).split())}, status)


def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, StarletteHTTPException):
        raise error
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)


def _invalid(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)
