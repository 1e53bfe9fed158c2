"""Answers with the description of the API."""

from __future__ import annotations

import asyncio

from mailusers_plugin.api_document import api_document
from mailusers_plugin.handlers.api import APIHandler
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.page_examples import base_url
from mailusers_plugin.permissions import READ


class OpenAPIDocument(APIHandler):
    """The API in OpenAPI 3.1. For whoever may call it: strangers are not told what runs here, and which version."""

    @requires(READ)
    async def get(self) -> None:
        """Answer with the document, for the server as the caller knows it."""
        url = base_url(self.request.protocol, self.request.host, self.dependencies.settings)
        has_login = self.dependencies.has_own_login
        self.answer_json(await asyncio.to_thread(api_document, url, has_login=has_login))

    head = get


ROUTES = [("/mail/users/openapi.json", OpenAPIDocument)]
