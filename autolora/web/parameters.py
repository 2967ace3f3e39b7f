"""Check of the query parameters of the API: a misspelled filter must not be a search without it."""

from difflib import get_close_matches

from fastapi import HTTPException, Request

API = "/api/"


def check_parameters(request: Request) -> None:
    """Answer 422 to a request to the API with a parameter that its route does not have. Pages ignore such ones."""
    path = request.scope["route"].path
    if not path.startswith(API):
        return
    operation = request.app.openapi()["paths"][path][request.method.lower()]
    known = [field["name"] for field in operation.get("parameters", ()) if field["in"] == "query"]
    if unknown := [name for name in request.query_params if name not in known]:
        raise HTTPException(422, "; ".join(_describe(name, known) for name in unknown))


def _describe(name: str, known: list[str]) -> str:
    """Return what to write instead of an unknown parameter."""
    near = get_close_matches(name, known, n=1)
    if near:
        return f"{name}: there is no such parameter: did you mean {near[0]}?"
    return f"{name}: there is no such parameter: give {', '.join(known) or 'none'}"
