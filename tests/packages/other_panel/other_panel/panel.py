"""The panel itself."""

import asyncio
import re
import sys

import jinja2
import pluggy
from tornado.escape import xhtml_escape
from tornado.web import Application, RequestHandler

from mailusers_plugin import Identity
from mailusers_plugin.hooks import adminpanel

STAFF = {"ada": "correct horse"}
LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of this panel. Whoever makes a link to the log-in could else lead to another server from there."""


class StaffHost:
    """Says who of the panel's own staff is calling; every one of them may do everything."""

    login_url = "/sign-in"

    def identify(self, handler: RequestHandler) -> Identity | None:
        """Read the panel's own signed cookie."""
        name = handler.get_signed_cookie("staff")
        return None if name is None else Identity(name.decode(), "cookie")

    def may(self, identity: Identity, permission: str) -> bool:
        """Allow it."""
        return identity.name in STAFF


class SignIn(RequestHandler):
    """The panel's own log-in."""

    def get(self) -> None:
        """Show the form."""
        way_back = self.get_argument("next", "/")
        self.finish(
            f'<form method="post">{self.xsrf_form_html()}<input name="name"><input name="password" type="password">'
            f'<input type="hidden" name="next" value="{xhtml_escape(way_back)}">'
            "<button>Sign in</button></form>"
        )

    def post(self) -> None:
        """Check the password and go back."""
        name = self.get_argument("name")
        if STAFF.get(name) != self.get_argument("password"):
            raise PermissionError
        self.set_signed_cookie("staff", name)
        way_back = self.get_argument("next")
        self.redirect(way_back if LOCAL_PATH.fullmatch(way_back) else "/panel/users")


def make_app(storage_root: str) -> Application:
    """Build the panel, in its running event loop."""
    modules = pluggy.PluginManager("adminpanel")
    modules.add_hookspecs(adminpanel)
    modules.load_setuptools_entrypoints("adminpanel")
    app = Application([("/sign-in", SignIn)], cookie_secret="the panel's own secret", xsrf_cookies=True)
    settings = {
        "storage_root": storage_root,
        "prefix": "/panel",
        "base_template": "base.html",
        "template_loader": jinja2.PackageLoader("other_panel", ""),
        "doveadm": (),
    }
    modules.hook.adminpanel_register_handlers(app=app, host=StaffHost(), settings=settings)
    app.settings["navigation"] = modules.hook.adminpanel_navigation(app=app)
    return app


async def main() -> None:
    """Listen until ended."""
    make_app(sys.argv[1]).listen(int(sys.argv[2]), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
