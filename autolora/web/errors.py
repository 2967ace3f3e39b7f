"""Answers to requests that fail: a page for a browser, JSON for a program."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from autolora.errors import (
    AutoLoraError,
    FilterError,
    MissingArtifact,
    MissingLibrary,
    ReadingFailed,
    RefusedFile,
)
from autolora.extras import libraries_for
from autolora.lora.remedies import REMEDIES
from autolora.web.rendering import render

STATUS: dict[type[AutoLoraError], int] = {
    MissingArtifact: 404,
    MissingLibrary: 501,
    FilterError: 422,
    ReadingFailed: 500,
}
"""status of the library's errors; 422 of others, which the request's content has caused"""


def add_error_pages(app: FastAPI) -> None:
    """Make an application answer errors of the library, of the request and of routing."""

    @app.exception_handler(HTTPException)
    async def answer_http(request: Request, error: HTTPException) -> Response:
        return _answer(request, error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def answer_invalid(request: Request, error: RequestValidationError) -> Response:
        return _answer(request, 422, "; ".join(map(_describe, error.errors())))

    @app.exception_handler(ClientDisconnect)
    async def answer_nobody(request: Request, error: ClientDisconnect) -> Response:
        return _answer(request, 400, "the connection was closed before the request was complete")

    @app.exception_handler(AutoLoraError)
    async def answer_library(request: Request, error: AutoLoraError) -> Response:
        return _answer(request, STATUS.get(type(error), 422), _with_remedy(error))

    @app.exception_handler(ModuleNotFoundError)
    async def answer_without_library(request: Request, error: ModuleNotFoundError) -> Response:
        try:
            with libraries_for("this part of the page"):
                raise error
        except MissingLibrary as missing:
            return await answer_library(request, missing)


def _describe(error: dict[str, object]) -> str:
    """Return one invalid parameter as a phrase, without its value."""
    location = error["loc"]
    name = ".".join(str(part) for part in location[1:]) if isinstance(location, tuple) else ""
    if error["type"] == "string_too_long":
        limit = error["ctx"]["max_length"]  # type: ignore[index]  # pydantic gives it with this type
        return f"{name}: the text has more than {limit:,} characters: shorten it"
    return f"{name or 'the request'}: {error['msg']}"


def _with_remedy(error: AutoLoraError) -> str:
    """Return the message of an error, and of a refused file what to do about it."""
    remedy = REMEDIES.get(error.code) if isinstance(error, RefusedFile) else None
    return f"{error}. {remedy}" if remedy else str(error)


def _answer(request: Request, status: int, message: str) -> Response:
    path = request.url.path
    if path.startswith("/api/"):
        return JSONResponse({"error": message}, status_code=status)
    template = "parts/problem.html" if path.startswith("/parts/") else "problem.html"
    return render(request, template, status=status, message=message)
