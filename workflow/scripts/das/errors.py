"""The one exception that is shown to users as a single line."""


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one line that names the file or the setting, the value found and what is allowed.
    Scripts print it without a traceback and exit with status 1.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """The text as one line that can be printed: names of files may hold anything."""
    readable = text.encode("utf-8", "backslashreplace").decode()
    return readable.replace("\n", "\\n").replace("\r", "\\r")
