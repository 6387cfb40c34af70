import platform
import resource
import subprocess
import sys

import pytest

from bottleneck.runtime.process.malloc import retain_freed_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")

# How many pages the system hands out for ten blocks of 50 MB, one after another; of 4 KiB each, a
# block has 12 207 of them. In a process of its own, whose memory nobody else has touched.
FAULTS = """
import resource
import numpy as np
from bottleneck.runtime.process.malloc import retain_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(50_000_000, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

found = [faults()]
with retain_freed_memory():
    np.ones(50_000_000, dtype=np.uint8)
    found += [faults(), resident()]
print(*found, resident(), faults())
"""


@glibc
def test_pages_are_kept_inside_and_given_back_after_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, timeout=60
    )
    before, inside, kept, left, after = map(int, done.stdout.split())
    block = 50_000_000 // resource.getpagesize()
    assert inside < before / 4
    assert kept - left > block / 2
    assert after > inside


IN_A_THREAD = """
import resource
from threading import Thread
import numpy as np
from bottleneck.runtime.process.malloc import retain_freed_memory

def pass_of_a_network():  # more than a heap of 64 MB holds
    return [np.ones(30_000_000, dtype=np.uint8) for _ in range(5)]

def work():
    pass_of_a_network()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        pass_of_a_network()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

with retain_freed_memory():
    thread = Thread(target=work)
    thread.start()
    thread.join()
"""


@glibc
def test_memory_of_other_threads_is_kept_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 30_000_000 // resource.getpagesize()  # one block's, not fifty's


AFTERWARDS = """
import resource
import numpy as np
from bottleneck.runtime.process.malloc import retain_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.ones(13_000_000, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
with retain_freed_memory():
    pass
faults()
print(before, faults())
"""


@glibc
def test_a_program_that_goes_on_is_as_fast_as_before() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AFTERWARDS], capture_output=True, text=True, check=True, timeout=60
    )
    before, after = map(int, done.stdout.split())
    assert after <= before + 13_000_000 // resource.getpagesize()  # one block's, not a hundred's


@glibc
def test_an_error_restores_the_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []

    class Libc:
        def mallopt(self, *arguments: int) -> None:
            calls.append(arguments)

        def malloc_trim(self, *arguments: int) -> None:
            calls.append(arguments)

    monkeypatch.setattr("bottleneck.runtime.process.malloc.ctypes.CDLL", lambda _: Libc())
    with pytest.raises(KeyError), retain_freed_memory():
        raise KeyError
    kept = [(-4, 0), (-1, 2**31 - 1), (-2, 2**27)]
    assert calls == [*kept, (-4, 65536), (-3, 2**25), (-1, 2**26), (-2, 2**17), (0,)]


def test_without_glibc_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("bottleneck.runtime.process.malloc.ctypes.CDLL", None)
    with retain_freed_memory():
        pass
