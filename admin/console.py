"""One console: its address, its pages and their place in the navigation, and who is looking at it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from admin.edge import Core, EdgeRequest, Guard
from core_service.schema import Method, method_named

if TYPE_CHECKING:
    from admin.page import Page


ACCOUNT = "account"
"""The group of families that stand in the menu under the viewer's name."""


@dataclass(frozen=True)
class Viewer:
    """Who is signed in, as of this request."""

    name: str
    """For greeting: name, else e-mail address."""
    email: str
    role: str
    """Such as SUPER_ADMIN; `role.SUPER_ADMIN` is its text."""
    csrf_token: str
    token: str
    session: Any
    """The whole answer of the session RPC."""


@dataclass(frozen=True)
class Family:
    """Pages about one thing. The first page is the one in the navigation, under the text `nav.<name>`."""

    name: str
    group: str
    """Text key below `nav.` of its heading; `account`: in the menu under the viewer's name; empty: in no list."""
    pages: tuple[type["Page"], ...]

    @property
    def path(self) -> str:
        return self.pages[0].path


class Console:
    """What the consoles for operators and for merchants do differently."""

    prefix: ClassVar[str]
    """First segment of every path, such as /admin."""
    name: ClassVar[str]
    """Text key of its name."""
    is_for_one_merchant: ClassVar[bool] = False
    """Lists have no column and no filter for the merchant."""
    families: ClassVar[tuple[Family, ...]]
    password_path: ClassVar[str]
    """Where somebody changes a password that was chosen by somebody else."""

    def __init__(self, core: Core, guard: Guard) -> None:
        self.core = core
        self.guard = guard

    @property
    def sign_in_path(self) -> str:
        return f"{self.prefix}/sign-in"

    def credentials(self, token: str) -> tuple[tuple[str, bytes], ...]:
        """The session as call metadata, as this console's people are known to the core."""
        raise NotImplementedError

    async def viewer(self, request: EdgeRequest, token: str) -> Viewer:
        """Whose session the token opens. Raises CoreError."""
        raise NotImplementedError

    def roles_of(self, method: Method) -> frozenset[str]:
        """The roles of this console's people that may call an RPC, as the protos declare them."""
        raise NotImplementedError

    def may(self, viewer: Viewer | None, rpc: str) -> bool:
        """Whether the viewer may call `Service.Name`."""
        return viewer is not None and viewer.role in self.roles_of(method_named(rpc))

    def navigation(self, viewer: Viewer) -> Sequence[tuple[str, list[Family]]]:
        """The families that the viewer may open, under their headings, in order."""
        groups: dict[str, list[Family]] = {}
        for family in self.families:
            if family.group not in ("", ACCOUNT) and self.may(viewer, family.pages[0].rpc):
                groups.setdefault(family.group, []).append(family)
        return list(groups.items())

    def first_path(self, viewer: Viewer) -> str:
        """Where somebody lands who asked for no page in particular."""
        return self.navigation(viewer)[0][1][0].path
