"""Compiled templates: one environment for each language, so that no page gets another's texts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import CodeType
from typing import Any, Final

import jinja2
from jinja2.runtime import Context
from markupsafe import Markup

from mailusers_plugin.languages import Language, isolated
from mailusers_plugin.validation import MIN_PASSWORD_LENGTH

Text = Callable[..., str]
_KEPT: Final = 32
"""Languages with their regions whose templates are kept; there may be a hundred, each with its own way of dates."""


class _Compiled(jinja2.BytecodeCache):
    """What was compiled once serves every language and every panel of the process: they differ in what it calls."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        """Give what is there."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        """Keep what is new."""
        if bucket.code is not None:
            # With the sum of the source: two hosts may have different templates by one name.
            self._codes[bucket.key, bucket.checksum] = bucket.code


_COMPILED: Final = _Compiled()


class Templates:
    """The templates of the package, and those of the host that are asked for first."""

    def __init__(
        self, loader: jinja2.BaseLoader | None = None, *, min_password: int = MIN_PASSWORD_LENGTH
    ) -> None:
        """Take where the host's templates come from.

        :param loader: of the host's, with the one that the setting ``base_template`` names
        :param min_password: least length of a new password, in characters
        """
        self._min_password = min_password
        own = jinja2.PackageLoader("mailusers_plugin")
        self._loader = jinja2.ChoiceLoader([loader, own]) if loader else own
        self._environments: OrderedDict[tuple[str, str], jinja2.Environment] = OrderedDict()

    def get(self, name: str, language: Language) -> jinja2.Template:
        """Return a template in a language; it is compiled at its first use.

        :param name: as in ``{% extends %}``
        """
        key = language.tag, str(language.locale)
        environment = self._environments.get(key)
        if environment is None:
            environment = self._environments[key] = self._environment(language)
            if len(self._environments) > _KEPT:
                self._environments.popitem(last=False)
        self._environments.move_to_end(key)
        return environment.get_template(name)

    def _environment(self, language: Language) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=self._loader,
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            # Otherwise every page looks at the files' times, in the event loop.
            auto_reload=False,
            bytecode_cache=_COMPILED,
            extensions=["jinja2.ext.i18n"],
        )
        environment.policies["ext.i18n.trimmed"] = True
        environment.newstyle_gettext = True  # type: ignore[attr-defined]
        environment.globals.update(
            language=language,
            min_password=self._min_password,
            gettext=_filled(language, 0, language.gettext),
            ngettext=_filled(language, 2, language.ngettext),
            pgettext=_filled(language, 0, language.pgettext),
            npgettext=_filled(language, 3, language.npgettext),
        )
        environment.filters.update(
            number=_late(language.number),
            filesize=_late(language.filesize),
            percent=_late(language.percent),
            date=_late(language.date),
            datetime=_late(_time_element(language)),
            datetime_text=_late(language.datetime),
        )
        return environment


def _filled(language: Language, number_at: int, translate: Text) -> Text:
    """Return what the templates call for a text: the translation, with escaped values in it.

    It is Jinja's own new style, but for the number that the form depends on: that is written in the language's way,
    as ``num`` and by whatever other name it was given. A value that runs the other way does not turn the words
    around it.

    :param number_at: which argument the number is, ``0`` for none
    """

    @jinja2.pass_context
    def call(context: Context, *arguments: Any, **values: Any) -> str:
        text = translate(*arguments)
        if number_at:
            number = arguments[number_at]
            shown = language.number(number)
            values = {name: shown if _is(value, number) else value for name, value in values.items()}
            values.setdefault("num", shown)
        values = {name: isolated(value) if type(value) is str else value for name, value in values.items()}
        if context.eval_ctx.autoescape:
            text = Markup(text)  # noqa: S704 (from our catalogues; the values are escaped)  # nosec B704
        return text % values

    return call


def _late(function: Text) -> Text:
    """Return a filter that is called when the page is made, also for constants: the code serves other languages too."""

    @jinja2.pass_context
    def call(context: Context, value: Any) -> str:
        return function(value)

    return call


def _is(value: object, number: int) -> bool:
    return type(value) is int and value == number


def _time_element(language: Language) -> Text:
    """Return the filter that shows a time; ``times.js`` brings it to the reader's own zone."""

    def element(time: Any) -> str:
        return Markup('<time datetime="{}" data-mu-time>{}</time>').format(
            time.isoformat(timespec="seconds"), language.datetime(time)
        )

    return element
