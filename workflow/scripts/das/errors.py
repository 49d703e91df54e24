"""The one exception that is shown to users as a single line."""


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one line that names the file or the setting, the value found and what is allowed.
    Scripts print it without a traceback and exit with status 1.
    """
