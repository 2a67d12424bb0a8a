"""What a path in a store is: an object, a directory, or both."""

from functools import partial

from mountd.errors import DeniedError, IsDirectoryError, NotDirectoryError, NotFoundError
from mountd.stores.base import ObjectInfo, Page, Store
from mountd.transfer.crew import run_together
from mountd.transfer.report import printable


async def look(store: Store, path: str) -> tuple[ObjectInfo | None, Page | None]:
    """Return the object that `path` names, and the first page of the directory that it names.

    At least one is not None; where the directory is None the object is alone. The page has something in it, unless it
    is the last one. Costs two requests side by side, and rarely a third.

    Raises:
        NotFoundError: there is neither, or no such container.
        DeniedError: the credential does not allow to look.
    """
    if not path:
        return None, await store.walk_page("")
    answers = _Answers()
    await run_together([partial(answers.ask_for_object, store, path), partial(answers.ask_for_directory, store, path)])
    info, page = answers.info, answers.page
    if page is not None and (page.objects or page.directories or answers.marked):
        return info, page
    if info is not None:
        return info, None
    if answers.denied is not None:
        raise answers.denied
    if await store.is_directory(path):
        return None, page
    raise NotFoundError(f"{store.name}/{printable(path)}: there is no such object or directory; check the path")


class _Answers:
    """What two questions brought in."""

    def __init__(self) -> None:
        self.info: ObjectInfo | None = None
        self.page: Page | None = None
        self.marked = False
        self.denied: DeniedError | None = None

    async def ask_for_object(self, store: Store, path: str) -> None:
        try:
            self.info = await store.stat(path)
        except IsDirectoryError:
            self.marked = True
        except (NotFoundError, NotDirectoryError):
            return

    async def ask_for_directory(self, store: Store, path: str) -> None:
        try:
            self.page = await store.walk_page(path)
            while self.page.next is not None and not (self.page.objects or self.page.directories):
                self.page = await store.walk_page(path, self.page.next)
        except NotDirectoryError:
            return
        except DeniedError as error:
            self.denied = error  # a SAS for one object may read it and list nothing
