"""The page as a Starlette application: which route answers to which address, and errors as JSON."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hmaca_arch.messages import one_line
from hmaca_arch.page.guard import Refused
from hmaca_arch.page.routes import STATIC, Routes


def as_answer(request: Request, error: Exception) -> Awaitable[Response] | Response:
    """Answer an error with one line, as JSON."""
    if isinstance(error, Refused):
        headers = {key.decode(): value.decode() for key, value in error.headers}
        return JSONResponse({'detail': error.message}, error.status, headers)
    if isinstance(error, HTTPException):
        return JSONResponse({'detail': error.detail}, error.status_code, error.headers)
    return JSONResponse({'detail': one_line(error)[:1000]}, 400)


def build_app(routes: Routes) -> Starlette:
    """Return the application. It has to stand behind a `Guard`."""
    table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ('GET', '/', routes.page),
        ('GET', '/api/about', routes.about),
        ('POST', '/api/images', routes.add_image),
        ('GET', '/api/images/{id}/file', routes.image),
        ('GET', '/api/images/{id}/preview', routes.preview),
        ('GET', '/api/images/{id}/mask', routes.own_mask),
        ('POST', '/api/images/{id}/mask', routes.read_mask),
        ('POST', '/api/images/{id}/jobs', routes.add_job),
        ('POST', '/api/examples', routes.add_example),
        ('GET', '/api/examples/{name}.jpg', routes.thumbnail),
        ('GET', '/api/jobs/{id}', routes.job),
        ('DELETE', '/api/jobs/{id}', routes.cancel),
        ('GET', '/api/jobs/{id}/patch', routes.patch),
        ('GET', '/api/jobs/{id}/image', routes.result),
        ('POST', '/api/jobs/{id}/keep', routes.keep),
        ('POST', '/api/restore', routes.restore),
    ]
    app = Starlette(
        routes=[
            *(Route(path, call, methods=[method]) for method, path, call in table),
            Mount('/static', StaticFiles(directory=STATIC)),
        ],
        exception_handlers=dict.fromkeys(
            (Refused, HTTPException, ValueError, OSError, MemoryError), as_answer
        ),
    )
    app.router.redirect_slashes = False  # it would not know the path that a proxy serves
    return app
