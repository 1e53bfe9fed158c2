"""Importing users: upload, preview, progress and result, each a page that works without a script."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

from tornado.httputil import HTTPInputError, parse_body_arguments
from tornado.web import HTTPError, stream_request_body

from mailusers_plugin import csv_text
from mailusers_plugin.errors import InvalidInputError, MailUsersError
from mailusers_plugin.handlers.base import Dependencies, requires
from mailusers_plugin.handlers.import_view import job_view
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.import_file import MAX_BYTES
from mailusers_plugin.import_models import Fault, Job, ResultLine
from mailusers_plugin.permissions import WRITE
from mailusers_plugin.texts import N_

MAX_ACCEPTED_BYTES: Final = 64 * 1024 * 1024
"""A larger file is taken in as well, and thrown away, so that its sender can be told; beyond this it is cut off."""
_FORM_BYTES: Final = 64 * 1024
"""What a form takes beside the file in it."""
_PASTED: Final = N_("Pasted lines")
_EXAMPLE: Final = (
    ("address", "password", "quota", "privilege"),
    ("anna@example.com", "a long password of her own", "5G", ""),
    ("bert@example.com", "", "", ""),
    ("chris@example.com", "", "500M", "admin"),
)
_WATCH_SECONDS: Final = 3


class ImportPageHandler(PageHandler):
    """Base of these pages."""

    def url_of(self, job_id: str) -> str:
        """Return the path of an import's page."""
        return self.url(f"/users/import/{job_id}")

    def name_of(self, job: Job) -> str:
        """Return what a file is called; others read it too, in languages of their own."""
        return self.gettext(_PASTED) if job.name == _PASTED else job.name

    def fault_text(self, fault: Fault) -> str:
        """Return what is wrong, in the reader's language."""
        return self.language.fill(fault.template, fault.values)


@stream_request_body
class ImportUpload(ImportPageHandler):
    """The form, and what it sends. Who sends it is asked before the file is taken in."""

    _size = 0
    _has_arrived = False

    def initialize(self, dependencies: Dependencies) -> None:
        """Begin with nothing."""
        super().initialize(dependencies)
        self._chunks: list[bytes] = []

    async def prepare(self) -> None:
        """Refuse strangers before they send much."""
        await super().prepare()
        if self.request.method == "POST":
            await self.permitted(self.needed())
            connection: Any = self.request.connection
            connection.set_max_body_size(MAX_ACCEPTED_BYTES)

    def data_received(self, chunk: bytes) -> None:
        """Keep what is not too much."""
        self._size += len(chunk)
        if self._is_too_large:
            self._chunks.clear()
        else:
            self._chunks.append(chunk)

    def on_connection_close(self) -> None:
        """Forget a request that never arrived in full."""
        super().on_connection_close()
        if not self._has_arrived:
            # Tornado does not finish it; nobody needs to wait for it.
            self.dependencies.requests.end(self)

    async def authorize(self, permission: str) -> None:
        """Read the form first: the page's token is in it."""
        self._has_arrived = True
        if self._is_too_large:
            # The token was thrown away with the rest. Nothing comes of the request but words.
            self.identity = await self.permitted(permission)
            return
        await self._read_form()
        await super().authorize(permission)

    @property
    def _is_too_large(self) -> bool:
        return self._size > MAX_BYTES + _FORM_BYTES

    def here(self) -> str:
        """Return the form's address: a file cannot be kept while somebody logs in."""
        return self.url("/users/import")

    @requires(WRITE)
    async def get(self) -> None:
        """Show the form."""
        await self._show("")

    head = get

    @requires(WRITE)
    async def post(self) -> None:
        """Check the file and go on to its preview."""
        try:
            name, content = self._file()
            job_id = await self.dependencies.imports.upload(self.caller.actor, name, content)
        except MailUsersError as error:
            self.set_status_of(error)
            await self._show(self.error_text(error))
            return
        self.redirect(self.url_of(job_id), status=303)

    async def _show(self, fault: str) -> None:
        imports = self.dependencies.imports
        self.render_page(
            "import.html",
            fault=fault,
            max_rows=imports.max_rows,
            max_bytes=MAX_BYTES,
            default_quota=self.service.default_quota,
            privileges=self.service.privileges,
            recent=await imports.recent(),
            import_url=self.url_of,
            name_of=self.name_of,
        )

    async def _read_form(self) -> None:
        """Read the body, once.

        :raises InvalidInputError: if it is no form
        """
        body, self._chunks = b"".join(self._chunks), []
        if not body:
            return
        request = self.request
        content_type = request.headers.get("Content-Type", "")
        try:
            await asyncio.to_thread(
                parse_body_arguments,
                content_type,
                body,
                request.body_arguments,
                request.files,
                request.headers,
            )
        except HTTPInputError:
            raise InvalidInputError(N_("The form could not be read. Send it again.")) from None
        for name, values in request.body_arguments.items():
            request.arguments.setdefault(name, []).extend(values)

    def _file(self) -> tuple[str, bytes]:
        """Return the name and content of what was sent."""
        if self._is_too_large:
            raise InvalidInputError(
                N_("The file is larger than %(limit)s MB. Split it into several files."),
                limit=MAX_BYTES // 1024**2,
            )
        for file in self.request.files.get("file", []):
            if file["filename"]:
                return file["filename"], file["body"]
        pasted = self.request.body_arguments.get("text", [b""])[-1]
        if not pasted.strip():
            raise InvalidInputError(N_("Choose a file, or paste its lines."))
        return _PASTED, pasted


class ImportJob(ImportPageHandler):
    """One import: what will happen, what happens, what happened."""

    def here(self) -> str:
        """Return the import's address, also where a button was pressed: it waits while somebody logs in."""
        return super().here() if self.request.method == "GET" else self.request.path

    @requires(WRITE)
    async def get(self, job_id: str) -> None:
        """Show it. A script asks for its progress only."""
        await self._show(job_id)

    head = get

    @requires(WRITE)
    async def post(self, job_id: str) -> None:
        """Import, cancel, or check once more."""
        imports, actor = self.dependencies.imports, self.caller.actor
        action = self.parameters.text("action")
        try:
            if action in ("import", "leave-out"):
                restore = {"yes": True, "no": False}.get(self.parameters.text("restore"))
                await imports.run(actor, job_id, leave_out=action == "leave-out", restore=restore)
            elif action == "cancel":
                await imports.cancel(job_id)
            elif action == "check":
                await imports.check_again(actor, job_id)
            else:
                raise HTTPError(400)
        except MailUsersError as error:
            self.set_status_of(error)
            await self._show(job_id, self.error_text(error))
            return
        self.redirect(self.url_of(job_id), status=303)

    async def _show(self, job_id: str, fault: str = "") -> None:
        imports = self.dependencies.imports
        view = await imports.view(job_id)
        if view is None:
            raise HTTPError(404)
        shown = await job_view(
            imports,
            view,
            self.caller.actor,
            only=self.parameters.text("show"),
            page=self.parameters.text("page"),
        )
        values = {
            "shown": shown,
            "fault": fault,
            "job_url": self.url_of(job_id),
            "fault_text": self.fault_text,
            "name_of": self.name_of,
        }
        if self.is_partial:
            self._show_part(values)
            return
        if self.parameters.text("watch") == "1" and shown.is_busy:
            # Only a reader without scripts finds the link to it.
            self.set_header("Refresh", str(_WATCH_SECONDS))
        self.render_page("import_job.html", watching=self.parameters.text("watch") == "1", **values)

    def _show_part(self, values: dict[str, Any]) -> None:
        """Answer the script of a page that shows the progress."""
        if values["shown"].is_busy:
            self.render_page("_import_bar.html", **values)
            return
        self.set_header("HX-Retarget", "#mu-import")
        self.set_header("HX-Reswap", "outerHTML")
        self.render_page("_import_over.html", watching=False, **values)


class ImportResult(ImportPageHandler):
    """What became of each line, with the passwords that were made up."""

    @requires(WRITE)
    async def get(self, job_id: str) -> None:
        """Send it to the one who imported the file."""
        result = await self.dependencies.imports.result(self.caller.actor, job_id)
        if result is None:
            raise HTTPError(404)
        name = f"import-{datetime.now(UTC).date().isoformat()}.csv"
        await _attach(
            self, name, ("line", "address", "result", "password", "error"), map(self._cells, result)
        )

    head = get

    def _cells(self, line: ResultLine) -> Sequence[object]:
        faults = " ".join(self.fault_text(fault) for fault in line.faults)
        return line.number, line.email, line.outcome.value, line.password, faults


class ImportExample(ImportPageHandler):
    """A file to begin with."""

    @requires(WRITE)
    async def get(self) -> None:
        """Send it."""
        await _attach(self, "mail-users-example.csv", _EXAMPLE[0], _EXAMPLE[1:])

    head = get


async def _attach(
    handler: PageHandler, name: str, head: Sequence[object], rows: Iterable[Sequence[object]]
) -> None:
    handler.set_header("Content-Type", csv_text.TYPE)
    handler.set_header("Content-Disposition", f'attachment; filename="{name}"')
    # Of many lines it takes a while.
    text = await asyncio.to_thread(csv_text.lines, chain([head], rows))
    handler.finish(csv_text.BYTE_ORDER_MARK + text)


ROUTES = [("/users/import", ImportUpload), ("/users/import/example.csv", ImportExample)]
PATTERNS = [("/users/import/{id}", ImportJob), ("/users/import/{id}/result.csv", ImportResult)]
"""Paths with an import's id in them."""
