"""The errors a user can meet.

CiliateError                  something a user or operator can act on; `hint` says how
├── InvalidInput              a request, option, rule or setting is wrong; `path` names the field
├── NotFound                  the named thing does not exist
├── Conflict                  it collides with something that exists
├── Exhausted                 a pool, map or range is full
├── Unsupported               a feature that is not built or not possible here
└── Unavailable               a part ciliate depends on does not answer (store, kernel, Docker)
    └── Forbidden             it answers, and refuses who asks
"""


class CiliateError(Exception):
    """`message` is one sentence; `path` the field it is about ("" if none); `hint` what to do."""

    status = 500

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text} ({self.hint})" if self.hint else text


class InvalidInput(CiliateError):
    status = 400


class NotFound(CiliateError):
    status = 404


class Conflict(CiliateError):
    status = 409


class Exhausted(CiliateError):
    status = 507


class Unsupported(CiliateError):
    status = 501


class Unavailable(CiliateError):
    status = 503


class Forbidden(Unavailable):
    status = 403
