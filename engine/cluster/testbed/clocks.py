"""Clocks of their own for nodes of one machine: a small library is loaded into whatever is started on a node.

It adds to the time of day what stands in a file that all programs of the node map, so that those that run see a move at
once. The monotonic clock and the times of files stay, as the monotonic clock does on a machine whose clock is set.
libfaketime was tried: with it, Python's `time.sleep` fails (EINVAL) as soon as the clock is moved.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from engine.cluster.testbed.programs import program_path
from engine.errors import InvalidInput, RunFailed

_VARIABLE = "PLUMBLINE_CLOCK"
_COMPILE_SECONDS = 60.0
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t none = 0, second = 1000000000;
static const volatile int64_t *offset = &none; /* nanoseconds */
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_timedwait)(sem_t *, const struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("PLUMBLINE_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *map = mmap(0, sizeof none, PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) offset = map;
    close(file);
}

static void add(struct timespec *moment, int64_t nanoseconds) {
    int64_t sum = moment->tv_nsec + nanoseconds % second;
    moment->tv_sec += nanoseconds / second + (sum >= second) - (sum < 0);
    moment->tv_nsec = sum < 0 ? sum + second : sum >= second ? sum - second : sum;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real_gettime) real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real_gettime(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) add(now, *offset);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    int failed = clock_gettime(CLOCK_REALTIME, &found);
    (void)zone;
    if (!failed) *now = (struct timeval){found.tv_sec, found.tv_nsec / 1000};
    return failed;
}

time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now) *now = found.tv_sec;
    return found.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    struct timespec real = *until;
    if (!real_timedwait) real_timedwait = dlsym(RTLD_NEXT, "sem_timedwait");
    add(&real, -*offset);
    return real_timedwait(semaphore, &real);
}
"""


def why_no_clocks() -> str | None:
    """Return why nodes cannot have clocks on this machine, as half a sentence; None if they can."""
    if sys.platform != "linux":
        return "clocks of their own need Linux"
    if program_path("cc") is None:
        return "there is no C compiler (Debian, Ubuntu: sudo apt-get install gcc libc6-dev)"
    return None


def build_clock(folder: Path) -> Path:
    """Compile the library into a folder and return its path.

    Raises:
        InvalidInput: if nothing can be loaded from such a folder.
        RunFailed: with what the compiler says.
    """
    if any(character in " :$" for character in str(folder)):  # ld.so(8), LD_PRELOAD
        raise InvalidInput("clocks need a folder without spaces, colons and dollars in its name.", where=str(folder))
    library = folder / "clock.so"
    command = [str(program_path("cc")), "-shared", "-fPIC", "-O2", "-x", "c", "-", "-o", str(library), "-ldl"]
    done = subprocess.run(command, input=_SOURCE, text=True, capture_output=True, timeout=_COMPILE_SECONDS, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:]
        raise RunFailed(f"the library that moves clocks cannot be compiled: {' '.join(said)}")
    return library


def clock_variables(library: Path, node_folder: Path) -> Mapping[str, str]:
    """Return the environment in which programs have the clock of a node."""
    return {"LD_PRELOAD": str(library), _VARIABLE: str(_file(node_folder))}


def move_clock(node_folder: Path, seconds: float) -> None:
    """Have the node's clock be off by so many seconds, whatever it was before; positive: it is fast."""
    descriptor = os.open(_file(node_folder), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # In place: running programs have mapped this very file.
        os.pwrite(descriptor, round(seconds * 1e9).to_bytes(8, sys.byteorder, signed=True), 0)
    finally:
        os.close(descriptor)


def _file(node_folder: Path) -> Path:
    return node_folder / "clock"
