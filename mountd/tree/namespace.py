"""The tree of one mount: names to nodes, over a store, with answers that expire.

Freshness: an answer may be used for `ttl_s` seconds from the moment its request was *sent*; 0 asks each time, infinity
never again. The newest answer about a name wins, be it a listing or a single question.

What a lookup costs in a directory that is not listed: one HEAD and one LIST of one entry, side by side. The third name
asked for starts the full listing, and one listing answers for all names, absent ones included. Listings and questions
are single-flight and run in the owner's nursery: a caller that goes away stops nobody else's.
"""

from collections.abc import Iterator

import trio

from mountd.aio.flight import SingleFlight
from mountd.errors import IsDirectoryError, MountdError, NotFoundError, UnavailableError
from mountd.observe.logs import get_logger
from mountd.stores.base import Page, Store
from mountd.stores.pages import each_page
from mountd.tree import names
from mountd.tree.base import Answer, Entries, Row
from mountd.tree.inodes import DirectoryNode, FileNode, InodeTable, Known
from mountd.tree.listing import A_DIRECTORY, Entry, Listing

log = get_logger("mountd.tree")

LIST_FROM = 3
"""The how-manieth name asked for starts the full listing of a directory."""
MOST_KNOWN = 10_000
"""Single answers kept for one directory; beyond it the oldest make room, and are asked for again when needed."""


class Namespace:
    """The tree below one key of a store.

    Args:
        store: where to ask.
        root_key: the directory shown as root.
        nursery: owns listings and questions.
        ttl_s: how long answers are good for, seconds.
    """

    final = False

    def __init__(self, store: Store, root_key: str, nursery: trio.Nursery, *, ttl_s: float) -> None:
        self._store = store
        self._nursery = nursery
        self._ttl_s = ttl_s
        self.inodes = InodeTable(root_key)
        self._questions: SingleFlight[tuple[int, bytes, float], Known] = SingleFlight(nursery)
        self.hidden_names = 0
        self.answers = 0
        """Questions answered and pages listed since the start."""

    # ---- lookup

    async def lookup(self, directory: DirectoryNode, name: bytes) -> Answer:
        """Say what `name` stands for in `directory`.

        Raises:
            NameTooLongError: the name has more than 255 bytes.
            MountdError: the store could not be asked.
        """
        names.check(name)
        settled = self.settled(directory, name)
        if settled is not None:
            return settled
        if not self.doubted(directory, name) and self._ttl_s > 0:
            directory.asked += 1
            if directory.asked >= LIST_FROM or directory.loading is not None:
                await self._first_page(directory, name)
                settled = self.settled(directory, name)
                if settled is not None:
                    return settled
        while True:
            self._remember(directory, name, await self._question(directory, name))
            newest = self._newest(directory, name)
            assert newest is not None, "at the least what was just remembered"
            if not newest.doubtful:  # else the store was contradicted after the question was sent: it settles nothing
                return self._answer(directory, name, newest, self._valid_s(newest))

    def doubt(self, node: FileNode) -> None:
        """The store no longer has this node's version: ask again before anybody gets its name."""
        if not node.stale:
            self._remember(node.parent, node.name, Known(None, trio.current_time(), doubtful=True))
            self.inodes.detach(node)

    def doubted(self, directory: DirectoryNode, name: bytes) -> bool:
        """Whether the store contradicted what was known of `name`, and it was not asked again since."""
        known = directory.known.get(name)
        return known is not None and known.doubtful

    def settled(self, directory: DirectoryNode, name: bytes) -> Answer | None:
        """Return the answer if what is known of `name` is still good; None: it takes a `lookup`."""
        newest = self._newest(directory, name)
        if newest is None or newest.doubtful:
            return None
        valid_s = self._valid_s(newest)
        return self._answer(directory, name, newest, valid_s) if valid_s > 0 else None

    def _newest(self, directory: DirectoryNode, name: bytes) -> Known | None:
        """Return the newest of what was ever said about `name`, expired or not; None: nothing."""
        newest = directory.known.get(name)
        for listing in (directory.loading, directory.listing):
            if listing is None:
                continue
            index = listing.find(name)
            if index < 0 and not listing.complete:
                continue
            asked_at = listing.entry_asked_at(index)
            if newest is None or newest.asked_at < asked_at:
                newest = Known(listing.entry(index) if index >= 0 else None, asked_at)
        return newest

    def _valid_s(self, known: Known) -> float:
        return max(0.0, known.asked_at + self._ttl_s - trio.current_time())

    def _answer(self, directory: DirectoryNode, name: bytes, newest: Known, valid_s: float) -> Answer:
        if newest.entry is None:
            node = directory.children.get(name)
            if node is not None:
                self.inodes.detach(node)
            return Answer(None, valid_s)
        node = self.inodes.adopt(directory, name, newest.entry)
        if isinstance(node, FileNode):
            node.asked_at = max(node.asked_at, newest.asked_at)
        return Answer(node, valid_s)

    def current(self, node: FileNode) -> bool:
        """Whether the newest answer about the node's name is known to be this node, and is still good.

        Says no when in doubt: `settled` and `lookup` know. What it looks at costs a tenth of what they do.
        """
        asked_at, directory = node.asked_at, node.parent
        return (
            not node.stale
            and trio.current_time() < asked_at + self._ttl_s
            and (directory.listing is None or directory.listing.asked_at <= asked_at)
            and (directory.loading is None or directory.loading.asked_at <= asked_at)
        )

    def _remember(self, directory: DirectoryNode, name: bytes, known: Known) -> None:
        newest = directory.known.get(name)
        if newest is not None and newest.asked_at > known.asked_at:
            return
        directory.known.pop(name, None)
        if len(directory.known) >= MOST_KNOWN:
            del directory.known[next(iter(directory.known))]
        directory.known[name] = known

    async def _first_page(self, directory: DirectoryNode, name: bytes) -> None:
        """Wait until the directory's listing knows `name` or has its first page: most have no more than one."""
        listing = self._load(directory) if directory.loading is None else directory.loading
        try:
            await listing.wait_until(lambda it: it.pages > 0 or it.find(name) >= 0)
        except UnavailableError:
            raise  # so would the question about this one name, after as long a wait again
        except MountdError:
            return  # the question may still be answered: a SAS may allow to read and not to list

    async def _question(self, directory: DirectoryNode, name: bytes) -> Known:
        """Ask about one name; who asks while the same question is under way shares its answer.

        A question sent before a doubt arose cannot settle it, and nobody takes an answer that is older than the TTL
        allows: without a TTL, each asks for himself.
        """
        key = names.child_key(directory.key, names.decode(name))
        needed_at = trio.current_time()

        async def ask() -> Known:
            asked_at = trio.current_time()
            known = Known(await self._ask(key), asked_at)
            self.answers += 1
            return known

        if self._ttl_s <= 0:
            return await ask()
        while True:
            known = directory.known.get(name)
            doubted_at = known.asked_at if known is not None and known.doubtful else 0.0
            answer = await self._questions.run((directory.ino, name, doubted_at), ask)
            if needed_at < answer.asked_at + self._ttl_s:
                return answer

    async def _ask(self, key: str) -> Entry | None:
        answers: dict[str, Entry | None] = {}
        failure: MountdError | None = None

        async def ask(kind: str) -> None:
            answers[kind] = await (self._ask_object(key) if kind == "object" else self._ask_directory(key))

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "object")
                nursery.start_soon(ask, "directory")
        except* MountdError as failures:
            failure = _first(failures)
        if failure is not None:  # raised above, it would be in a group again: Python 3.11.2, that of Debian 12
            raise failure
        return answers["directory"] or answers["object"]

    async def _ask_object(self, key: str) -> Entry | None:
        try:
            info = await self._store.stat(key)
        except IsDirectoryError:
            return A_DIRECTORY
        except NotFoundError:
            return None
        return Entry(info.size, info.mtime_ns, info.etag)

    async def _ask_directory(self, key: str) -> Entry | None:
        return A_DIRECTORY if await self._store.is_directory(key) else None

    # ---- listings

    def place(self, node: FileNode) -> int | None:
        """Return the index of a file in the last complete listing of its directory."""
        listing = node.parent.listing
        index = -1 if listing is None else listing.find(node.name)
        return None if index < 0 else index

    def unread(self, directory: DirectoryNode, places: range) -> Iterator[tuple[int, bytes, Entry]]:
        """Yield index, name and version of the files at `places` of which the kernel has nothing.

        The listing may be too old to be believed: then a version is asked for that is gone, and nothing comes.
        """
        listing = directory.listing
        if listing is None:
            return
        for place in range(places.start, min(places.stop, len(listing))):
            name = listing.name(place)
            node = directory.children.get(name)
            if not (isinstance(node, FileNode) and (node.delivered or node.handles)):
                yield place, name, listing.entry(place)

    def listing(self, directory: DirectoryNode) -> Listing:
        """Return a listing that is good to read from, started now if need be; it may still be growing."""
        now = trio.current_time()
        for current in (directory.listing, directory.loading):
            if current is not None and now < current.asked_at + self._ttl_s:
                return current
        return self._load(directory)

    def rows(self, directory: DirectoryNode, listing: Entries, first: int) -> Iterator[Row]:
        """Yield the entries that are here from index `first` on, each with its node.

        What is known better about a name than the listing knows it is what is yielded; names that are gone are not.
        """
        children = directory.children
        known_names = directory.known
        # A handle may read on in a listing that was replaced.
        newest = listing is (directory.listing if directory.loading is None else directory.loading)
        good_for = self._ttl_s - trio.current_time()  # whoever takes the rows does so without a pause
        for index in range(first, len(listing)):
            name = listing.name(index)
            asked_at = listing.entry_asked_at(index)
            known = self._newest(directory, name) if not newest else known_names.get(name) if known_names else None
            if known is None or known.asked_at < asked_at:
                entry = listing.entry(index)
                node = children.get(name)
                # The same test as in `adopt`, which costs a call for each of a million entries.
                if node is None or not isinstance(node, FileNode) or node.etag != entry[2] or node.size != entry[0]:
                    node = self.inodes.adopt(directory, name, entry)
                if isinstance(node, FileNode):
                    node.asked_at = max(node.asked_at, asked_at)
                yield Row(index, name, node, max(asked_at + good_for, 0.0))
            elif known.doubtful:
                yield Row(index, name, self.inodes.adopt(directory, name, listing.entry(index)), 0.0)
            else:
                node, valid_s = self._answer(directory, name, known, self._valid_s(known))
                if node is not None:
                    yield Row(index, name, node, valid_s)

    def _load(self, directory: DirectoryNode) -> Listing:
        """Start a listing; one that is under way goes on for those who read it."""
        listing = directory.loading = Listing(directory.key, trio.current_time())
        self._nursery.start_soon(self._fill, directory, listing)
        return listing

    async def _fill(self, directory: DirectoryNode, listing: Listing) -> None:
        def add(page: Page, asked_at: float) -> None:
            listing.add_page(page.objects, page.directories, asked_at)
            self.answers += 1
            if page.next is None:
                self._complete(directory, listing)

        try:
            await each_page(self._store, directory.key, add)
        except MountdError as error:
            self._give_up(directory, listing, error)
        except Exception as error:  # it would end the nursery, and with it the mount
            log.exception("listing failed", directory=directory.key)
            message = f"list {directory.key}: internal error {type(error).__name__}, see the log"
            self._give_up(directory, listing, MountdError(message))
        except BaseException:
            self._give_up(directory, listing, UnavailableError(f"list {directory.key}: the mount is ending"))
            raise

    def _complete(self, directory: DirectoryNode, listing: Listing) -> None:
        """Its last page was added a moment ago: nobody has yet missed a name in it that is in none of them."""
        # no await: from one listing to the next without a moment in which neither is there
        listing.finish()
        before = directory.listing
        if directory.loading is listing:
            directory.loading = None
        if before is not None and before.asked_at > listing.asked_at:
            return  # a later one was faster
        directory.listing = listing
        directory.asked = 0
        directory.known = {name: known for name, known in directory.known.items() if known.asked_at >= listing.asked_at}
        self.hidden_names += listing.hidden - (before.hidden if before is not None else 0)

    def _give_up(self, directory: DirectoryNode, listing: Listing, error: MountdError) -> None:
        if listing.complete:
            return  # the mount ended just then
        if directory.loading is listing:
            directory.loading = None
        listing.fail(error)


def _first(group: BaseExceptionGroup[MountdError]) -> MountdError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
