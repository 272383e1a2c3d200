"""The page's HTTP interface: what each address answers. `app` makes it an application.

The page asks for an image, a mask and a restoration one after the other, and names them by ids that
belong to its session. Programs send image and mask in one request, POST api/restore.
"""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hmaca_arch.files.opening import readable
from hmaca_arch.files.reading import read_file
from hmaca_arch.inference import Restorer
from hmaca_arch.page import examples, work
from hmaca_arch.page.forms import attachment, file_of, notes_header, number_of, settings_of, text_of
from hmaca_arch.page.guard import Refused
from hmaca_arch.page.jobs import CANCELLED, DONE, PageJob, Queue, Settings
from hmaca_arch.page.sessions import Sessions
from hmaca_arch.page.uploads import LARGEST_FOLDER, LARGEST_UPLOAD, Upload, Uploads

STATIC = Path(__file__).parent / 'static'
MOST_DECODED = 2  # images at once, as each takes memory in proportion to its pixels
MOST_FIELDS, LARGEST_FIELD = 10, 4096  # of a form, besides files
CHECKS = 0.1  # seconds between looks at a job that a request waits for
Answer = TypeVar('Answer')


class Routes:
    """Answers to all requests.

    Args:
        restorer: what restores.
        folder: where images are kept.
        sessions: makes and reads the cookie.
    """

    def __init__(self, restorer: Restorer, folder: Path, sessions: Sessions) -> None:
        self.restorer, self.sessions = restorer, sessions
        self.uploads, self.queue = Uploads(folder), Queue(self._restore)
        self.decoding = asyncio.Semaphore(MOST_DECODED)
        self.arriving = 0  # bytes of requests under way

    def _restore(self, job: PageJob) -> None:
        work.restore(self.restorer, job)
        self.uploads.grow(job.upload, job.patch.stat().st_size)

    async def _decode(self, call: Callable[..., Answer], *arguments: Any, **more: Any) -> Answer:
        """Make a call that decodes or encodes an image, in another thread."""
        async with self.decoding:
            return await asyncio.to_thread(call, *arguments, **more)

    def _session(self, request: Request) -> str:
        session = self.sessions.of(request.scope)
        if session is None:
            raise Refused(403, 'no session: open the page first, and send its cookie')
        return session

    def _upload(self, request: Request) -> Upload:
        return self.uploads.get(self._session(request), request.path_params['id'])

    def _job(self, request: Request) -> PageJob:
        return self.queue.get(self._session(request), request.path_params['id'])

    def _result(self, request: Request) -> PageJob:
        job = self._job(request)
        if job.state != DONE:
            raise Refused(409, f'this restoration is {job.state}; it has no result')
        if not job.patch.exists():
            raise Refused(404, 'this result was deleted to make room; restore it again')
        return job

    @asynccontextmanager
    async def _form(self, request: Request) -> AsyncIterator[FormData]:
        """Read a form of limited size."""
        text = request.headers.get('content-length', '')
        if not re.fullmatch('[0-9]{1,15}', text):
            raise Refused(411, 'the request does not say how long it is (Content-Length)')
        length = int(text)
        if length > LARGEST_UPLOAD:
            got, most = length / (1 << 20), LARGEST_UPLOAD >> 20
            raise Refused(
                413,
                f'the request has {got:.1f} MiB; expected at most {most} MiB: send a smaller image',
            )
        if self.arriving + length > LARGEST_FOLDER:
            raise Refused(503, 'too many uploads at once: try again later')
        self.arriving += length
        try:
            async with request.form(
                max_files=2, max_fields=MOST_FIELDS, max_part_size=LARGEST_FIELD
            ) as form:
                yield form
        finally:
            self.arriving -= length

    async def page(self, request: Request) -> Response:
        """Return the page (GET /), with a new session if the browser has none."""
        answer = Response((STATIC / 'index.html').read_bytes(), media_type='text/html')
        if self.sessions.of(request.scope) is None:
            answer.headers['set-cookie'] = self.sessions.new_cookie()
        return answer

    async def about(self, request: Request) -> Response:
        """Say what the page needs to know of this server (GET api/about)."""
        return JSONResponse(
            {
                'formats': readable(),
                'largest': LARGEST_UPLOAD,
                'network': type(self.restorer.network).__name__,
                'device': str(self.restorer.device),
                'told': 'degradation' in self.restorer.adapter.takes,
                'examples': [
                    {'name': one.name, 'title': one.title, 'degradation': one.degradation}
                    for one in examples.PHOTOGRAPHS.values()
                ],
            }
        )

    async def add_image(self, request: Request) -> Response:
        """Open an image (POST api/images, a form with the file `image`)."""
        session = self._session(request)
        async with self._form(request) as form:
            data, name = await file_of(form, 'image')
        upload = await self._decode(self.uploads.add, session, data, name)
        return JSONResponse(upload.describe(), 201)

    async def add_example(self, request: Request) -> Response:
        """Open an example (POST api/examples, a form with name, degradation and strength)."""
        session = self._session(request)
        async with self._form(request) as form:
            name, kind = text_of(form, 'name', ''), text_of(form, 'degradation', '')
            strength = number_of(form, 'strength', 5, examples.STRONGEST)
        files = await self._decode(examples.make_example, name, kind, strength)
        upload = await self._decode(self.uploads.add, session, name=f'{name}.png', **files)
        return JSONResponse(upload.describe(), 201)

    async def thumbnail(self, request: Request) -> Response:
        """Show an example (GET api/examples/NAME.jpg)."""
        data = await self._decode(examples.thumbnail, request.path_params['name'])
        return Response(data, media_type='image/jpeg')

    async def preview(self, request: Request) -> Response:
        """Show an image that browsers do not show as we read it (GET api/images/ID/preview)."""
        return Response(
            await self._decode(work.preview, self._upload(request)), media_type='image/png'
        )

    async def image(self, request: Request) -> Response:
        """Return a file as it was uploaded (GET api/images/ID/file)."""
        upload = self._upload(request)
        return Response(
            await asyncio.to_thread(read_file, upload.path), media_type='application/octet-stream'
        )

    async def own_mask(self, request: Request) -> Response:
        """Return an example's mask (GET api/images/ID/mask), as `read_mask` does."""
        upload = self._upload(request)
        if not upload.mask.exists():
            raise Refused(404, 'this image has no mask')
        return await self._mask_answer(await asyncio.to_thread(read_file, upload.mask), '', upload)

    async def read_mask(self, request: Request) -> Response:
        """Read a mask (POST api/images/ID/mask, a form with the file `mask`).

        The answer has a byte a pixel, 1 = restore.
        """
        upload = self._upload(request)
        async with self._form(request) as form:
            data, name = await file_of(form, 'mask')
        return await self._mask_answer(data, name, upload)

    async def _mask_answer(self, data: bytes, name: str, upload: Upload) -> Response:
        mask, notes = await self._decode(work.read_upload_mask, data, name, upload)
        packed = await asyncio.to_thread(gzip.compress, mask.tobytes(), 1)
        headers = {'content-encoding': 'gzip', **notes_header(notes)}
        return Response(packed, 200, headers, 'application/octet-stream')

    async def add_job(self, request: Request) -> Response:
        """Start a restoration (POST api/images/ID/jobs, a form with `mask` and settings)."""
        upload = self._upload(request)
        async with self._form(request) as form:
            data, _ = await file_of(form, 'mask')
            settings = settings_of(form)
        job = await self._start(upload, data, 'the mask', settings)
        return JSONResponse(self.queue.describe(job), 202)

    async def _start(self, upload: Upload, data: bytes, name: str, settings: Settings) -> PageJob:
        mask, notes = await self._decode(work.read_upload_mask, data, name, upload)
        if not mask.any():
            raise ValueError('nothing is painted: paint over the region to restore, or open a mask')
        job = PageJob(upload, mask, settings, notes=notes)
        self.queue.submit(job)
        return job

    async def job(self, request: Request) -> Response:
        """Say how far a restoration is (GET api/jobs/ID)."""
        return JSONResponse(self.queue.describe(self._job(request)))

    async def cancel(self, request: Request) -> Response:
        """End a restoration (DELETE api/jobs/ID)."""
        job = self._job(request)
        self.queue.cancel(job)
        return JSONResponse(self.queue.describe(job))

    async def patch(self, request: Request) -> Response:
        """Show the restored box, transparent outside the mask (GET api/jobs/ID/patch)."""
        data = await self._decode(work.show_patch, self._result(request))
        return Response(data, media_type='image/png')

    async def result(self, request: Request) -> Response:
        """Return the restored image as a file (GET api/jobs/ID/image?format=png)."""
        ending = f'.{request.query_params.get("format", "png")}'
        return await self._file(self._result(request), ending, [])

    async def _file(self, job: PageJob, ending: str, said: list[str]) -> Response:
        """Answer with a file and notes: those that are given, then what the file does not hold."""
        data, notes = await self._decode(work.restored_file, job, ending)
        named = attachment(job.upload.file_name('restored', ending))
        headers = {**named, **notes_header([*said, *notes])}
        return Response(data, 200, headers, work.FORMATS[ending])

    async def keep(self, request: Request) -> Response:
        """Open the restored image, to go on from it (POST api/jobs/ID/keep)."""
        job = self._result(request)
        data, _ = await self._decode(work.restored_file, job, '.png')
        name = job.upload.file_name('restored', '.png')
        upload = await self._decode(self.uploads.add, job.upload.session, data, name)
        return JSONResponse(upload.describe(), 201)

    async def restore(self, request: Request) -> Response:
        """Restore an image in one request (POST api/restore, a form with image, mask and settings).

        It needs no session.
        """
        async with self._form(request) as form:
            settings = settings_of(form)
            ending = f'.{text_of(form, "format", "png")}'
            work.check_format(ending)
            data, name = await file_of(form, 'image')
            mask, mask_name = await file_of(form, 'mask')
        upload = await self._decode(self.uploads.add, f'request {token_hex(16)}', data, name)
        try:
            job = await self._start(upload, mask, mask_name, settings)
            await self._wait(request, job)
            if job.state == CANCELLED:
                raise Refused(503, 'the restoration was cancelled: the server ends')
            if job.state != DONE:
                raise ValueError(job.error)
            return await self._file(job, ending, job.notes)
        finally:
            self.uploads.discard(upload)

    async def _wait(self, request: Request, job: PageJob) -> None:
        """Wait until a job has ended, and cancel it if the client has gone."""
        try:
            while not job.ended:
                self.queue.get(job.upload.session, job.id)  # somebody still asks for it
                if await request.is_disconnected():
                    self.queue.cancel(job)
                await asyncio.sleep(CHECKS)
        finally:
            self.queue.cancel(job)
