"""One module for each group of targets; `ALL` is the order in which they run."""

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.harness import Result
from benchmarks.scenarios import cold, disk, listing, on_azurite, random_reads, resident, warm

ALL: dict[str, Callable[[Bench], list[Result]]] = {
    "seq512": cold.sequential,
    "seq512-15ms": cold.sequential_far,
    "seq512-paced": cold.sequential_paced,
    "first-byte": cold.first_byte,
    "small1000": cold.small_files,
    "small1000-15ms": cold.small_files_far,
    "warm": warm.warm,
    "random64k": random_reads.random64k,
    "random4k": random_reads.random4k,
    "list20000": listing.listing,
    "disk-second": disk.second_mount,
    "disk-beside": disk.beside_readers,
    "disk-index": disk.index,
    "azurite": on_azurite.azurite,
    "resident": resident.resident,
}
